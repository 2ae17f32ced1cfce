"""Who is in a pool, and what it does."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from distributed import Client
from distributed.security import Security

from compiler.tune.pool import settings
from compiler.tune.pool.device import resource
from compiler.tune.pool.errors import PoolError
from compiler.tune.pool.machine import Machine
from compiler.tune.pool.measurer import LOOK_SECONDS, nobody


@dataclass(frozen=True)
class Member:
    """A device: its name and address, what it is (kind, kit version, processor and threads), jobs that it has or waits
    for."""

    name: str
    address: str
    kind: str
    version: str
    machine: Machine
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
    found = [_member(at, worker, len(processing.get(at, ()))) for at, worker in workers.items()]
    return sorted(found, key=lambda member: (member.kind, member.name))


def _member(address: str, worker: Mapping[str, Any], jobs: int) -> Member:
    kind, version, machine = "", "", Machine("", 0)
    for name in worker["resources"]:
        as_machine = Machine.of(name)
        if as_machine is not None:
            machine = as_machine
        else:
            kind, _, version = name.partition("@")
    return Member(str(worker["name"]), address, kind, version, machine, jobs)


def machines(address: str, kind: str, version: str, keys: Security, patience: float = 60.0) -> list[Machine]:
    """What the devices of a kind are, each once; waits for the first one.

    Raises PoolError when there is no scheduler, or no such device for `patience` seconds.
    """
    until = time.monotonic() + patience
    while True:
        there = members(address, keys)
        found = sorted({member.machine for member in there if (member.kind, member.version) == (kind, version)})
        if found:
            return found
        if time.monotonic() > until:
            kinds = sorted({resource(member.kind, member.version) for member in there})
            raise PoolError(nobody(address, kind, resource(kind, version), kinds))
        time.sleep(LOOK_SECONDS)
