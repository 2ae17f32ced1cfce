"""Measuring on the devices of a pool."""

from __future__ import annotations

import hashlib
import pickle
import time
from collections.abc import Sequence
from typing import Any

from distributed import Client, Future, wait
from distributed.security import Security

from compiler.tune.measure import Measure, Result
from compiler.tune.pool import settings
from compiler.tune.pool.device import resource, run
from compiler.tune.pool.errors import PoolError
from compiler.tune.pool.machine import Machine

LOOK_SECONDS = 0.5
"""How often devices and scheduler are looked at while jobs are under way."""


class PoolMeasurer:
    """Measures on whatever devices of a kind are in the pool; use it as a context manager.

    Two tuners that ask for the same job at the same time share one measurement.  A device that is lost gives its job to
    another; a scheduler that is restarted gets the open jobs again.

    Args:
        measure: picklable, importable on the devices; gets one job.
        address: the scheduler's, ``tls://HOST:PORT``.
        kind: of the devices.
        version: of the kit, which the devices must have too.
        keys: the pool's.
        timeout: seconds a job may take on a device.
        memory: bytes of address space a job may use; None: no limit.
        machine: what the devices must be beside; None: anything.
        patience: seconds without a scheduler, or without a device of the kind, before measuring is given up.
    """

    def __init__(
        self,
        measure: Measure,
        address: str,
        kind: str,
        version: str,
        keys: Security,
        *,
        timeout: float = 60.0,
        memory: int | None = None,
        machine: Machine | None = None,
        patience: float = 60.0,
    ) -> None:
        settings.apply()
        self._measure, self._timeout, self._memory = measure, timeout, memory
        self._address, self._keys, self._patience = address, keys, patience
        self._kind, self._version = kind, version
        self._wanted = {resource(kind, version): 1} | ({} if machine is None else {str(machine): 1})
        self._client: Client | None = None

    def __enter__(self) -> PoolMeasurer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the pool; jobs that nobody else waits for are dropped."""
        client, self._client = self._client, None
        if client is not None:
            client.close(timeout=5)

    def measure(self, jobs: Sequence[Any]) -> list[Result]:
        """All jobs, as many side by side as there are devices.

        Raises PoolError when there is no scheduler or no device for longer than ``patience``.
        """
        names = [self._name(job) for job in jobs]
        results: dict[str, Result] = {}
        seen = time.monotonic()  # when there were scheduler and devices last
        while len(results) < len(set(names)):
            client = self._connected()
            open_jobs = {name: job for name, job in zip(names, jobs, strict=True) if name not in results}
            futures = {name: self._submit(client, name, job) for name, job in open_jobs.items()}
            while futures:
                try:
                    wait(list(futures.values()), timeout=LOOK_SECONDS, return_when="FIRST_COMPLETED")
                except TimeoutError:
                    pass
                except Exception:  # cancelled, because the scheduler has gone: seen below
                    time.sleep(LOOK_SECONDS)
                for name, future in list(futures.items()):
                    found = _outcome(future)
                    if found is not None:
                        results[name] = found
                        del futures[name]
                if client.status != "running" or any(f.status in ("cancelled", "lost") for f in futures.values()):
                    self.close()
                    break
                if futures and self._devices(client):
                    seen = time.monotonic()
                elif futures and time.monotonic() - seen > self._patience:
                    raise PoolError(self._nobody(client))
        return [results[name] for name in names]

    # ------------------------------------------------------------------ inside

    def _name(self, job: Any) -> str:
        """Equal for equal jobs: Dask runs tasks of one name once."""
        content = pickle.dumps((self._measure, job, self._timeout, self._memory))
        return f"measure-{'-'.join(self._wanted)}-{hashlib.sha256(content).hexdigest()}"

    def _submit(self, client: Client, name: str, job: Any) -> Future:
        return client.submit(run, self._measure, job, self._timeout, self._memory, key=name, resources=self._wanted)

    def _connected(self) -> Client:
        until = time.monotonic() + self._patience
        while self._client is None:
            left = max(0.1, min(until - time.monotonic(), 10.0))
            try:
                self._client = Client(self._address, security=self._keys, timeout=left, set_as_default=False)
            except (OSError, TimeoutError, ValueError) as error:
                if time.monotonic() > until:
                    text = " ".join(str(error).split())
                    raise PoolError(
                        f"no scheduler of a pool at {self._address} that knows these keys ({text}); "
                        "start one with `vdla pool start`"
                    ) from error
                time.sleep(LOOK_SECONDS)
        return self._client

    def _devices(self, client: Client) -> int:
        """Devices of the kind that are in the pool."""
        workers = client.scheduler_info()["workers"].values()
        return sum(self._wanted.keys() <= worker["resources"].keys() for worker in workers)

    def _nobody(self, client: Client) -> str:
        workers = client.scheduler_info()["workers"].values()
        there = sorted({", ".join(worker["resources"]) for worker in workers})
        return nobody(self._address, self._kind, ", ".join(self._wanted), there)


def nobody(address: str, kind: str, wanted: str, there: Sequence[str]) -> str:
    """Says that a pool has no device of a kind, what it has, and what to do."""
    return (
        f"the pool at {address} has no device '{wanted}' (it has {'; '.join(there) or 'none at all'}); "
        f"add one with `vdla device --scheduler {address} --kind {kind}`"
    )


def _outcome(future: Future) -> Result | None:
    """The result of a job that is done, or None."""
    if future.status == "finished":
        return future.result()
    if future.status == "error":
        return Result(None, f"no device survived it: {' '.join(str(future.exception()).split())}")
    return None
