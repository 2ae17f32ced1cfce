"""Who is in a pool, and what it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from distributed import Client
from distributed.security import Security

from compiler.tune.pool import settings
from compiler.tune.pool.errors import PoolError


@dataclass(frozen=True)
class Member:
    """A device: its name and address, what it is (kind and kit version), jobs that it has or waits for."""

    name: str
    address: str
    kind: str
    version: str
    jobs: int


def members(address: str, keys: Security, timeout: float = 10.0) -> list[Member]:
    """The devices of a pool.  Raises PoolError when there is no scheduler at the address that knows the keys."""
    settings.apply()
    try:
        with Client(address, security=keys, timeout=timeout, set_as_default=False) as client:
            workers = client.scheduler_info()["workers"]
            processing: Any = client.processing()
    except (OSError, TimeoutError, ValueError) as error:
        raise PoolError(f"no scheduler at {address} that knows these keys: {' '.join(str(error).split())}") from error
    found = []
    for at, worker in workers.items():
        kind, _, version = next(iter(worker["resources"]), "").partition("@")
        found.append(Member(str(worker["name"]), at, kind, version, len(processing.get(at, ()))))
    return sorted(found, key=lambda member: (member.kind, member.name))
