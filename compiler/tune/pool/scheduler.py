"""The scheduler of a pool: gives jobs to devices of their kind, each once, whoever asks for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from distributed.scheduler import Scheduler
from distributed.security import Security

from compiler.tune.pool import settings
from compiler.tune.pool.errors import PoolError

DEFAULT_PORT = 8786


async def _serve(host: str, port: int, keys: Security, ready: Callable[[str], None]) -> None:
    scheduler = Scheduler(
        host=host, port=port, protocol="tls://", security=keys, dashboard=False, dashboard_address=settings.LOCAL_HTTP
    )
    async with scheduler:
        ready(scheduler.address)
        await scheduler.finished()


def serve(host: str, port: int, keys: Security, ready: Callable[[str], None]) -> None:
    """Schedule until interrupted.

    Args:
        host: address to listen at; "" is all of the machine's.
        port: 0 takes a free one.
        ready: told the address once the pool can be used.

    Raises PoolError when the address cannot be listened at.
    """
    settings.apply()
    try:
        asyncio.run(_serve(host, port, keys, ready))
    except OSError as error:
        raise PoolError(f"cannot listen at {host or 'all addresses'} port {port}: {error.strerror or error}") from error
