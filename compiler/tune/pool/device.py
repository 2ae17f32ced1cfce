"""A device of a pool: registers with its kind and measures one job at a time.

Each job runs in a process of its own below this one, so what hangs, crashes or takes all the memory is a result with
its reason and the device stays.  A device that loses its scheduler looks for it again until it is told to end.
"""

from __future__ import annotations

import asyncio
import pickle
import sys
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from distributed.security import Security
from distributed.worker import Worker

from compiler.tune.measure import Measure, ProcessMeasurer, Result
from compiler.tune.pool import settings
from compiler.tune.pool.machine import Machine

RETRY_SECONDS = 2.0
"""Between two attempts to find the scheduler."""

KEPT = 4
"""Measuring processes that wait for the next job of their tuner."""

_processes: OrderedDict[bytes, ProcessMeasurer] = OrderedDict()


def resource(kind: str, version: str) -> str:
    """The name under which Dask knows a kind of device: those of another version of the kit are another kind."""
    return f"{kind}@{version}"


def run(measure: Measure, job: Any, timeout: float, memory: int | None) -> Result:
    """Measure one job on this device, in a process that is kept for the next job of the same measure function."""
    if memory is not None:
        memory = min(memory, sys.maxsize)  # of which a processor of 32 bits has no more
    name = pickle.dumps((measure, timeout, memory))
    measurer = _processes.pop(name, None) or ProcessMeasurer(measure, 1, timeout, memory)
    _processes[name] = measurer
    while len(_processes) > KEPT:
        _processes.popitem(last=False)[1].close()
    return measurer.measure([job])[0]


def _end_processes() -> None:
    while _processes:
        _processes.popitem()[1].close()


async def _serve(
    address: str, names: Sequence[str], keys: Security, label: str | None, tell: Callable[[str], None]
) -> None:
    reason = ""
    while True:
        try:
            worker = Worker(
                address, nthreads=1, resources=dict.fromkeys(names, 1), security=keys, name=label, dashboard=False,
                dashboard_address=settings.LOCAL_HTTP, memory_limit=0,
            )  # fmt: skip
            async with worker:
                tell(f"registered at {address}")
                reason = ""
                await worker.finished()
            tell("the scheduler has gone; looking for it")
        except (OSError, TimeoutError, ValueError) as error:
            if str(error) != reason:
                reason = str(error)
                tell(f"no scheduler at {address} yet: {' '.join(reason.split())}")
        await asyncio.sleep(RETRY_SECONDS)


def serve(
    address: str,
    kind: str,
    version: str,
    keys: Security,
    tell: Callable[[str], None],
    machine: Machine,
    label: str | None = None,
) -> None:
    """Be a device until interrupted.

    Args:
        address: the scheduler's, as ``tls://HOST:PORT``.
        kind: what tuners ask for, such as ``vdla-pynq-z1`` or ``cpu``.
        version: of the kit; jobs come from tuners of the same one only.
        tell: told what happens, in words.
        machine: what this device is to those who time kernels.
        label: the device's name in the pool; must be unique. Default: its address.
    """
    settings.apply()
    try:
        asyncio.run(_serve(address, (resource(kind, version), str(machine)), keys, label, tell))
    finally:
        _end_processes()
