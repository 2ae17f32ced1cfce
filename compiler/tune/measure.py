"""Measuring candidates: in this process, or in processes of their own with time-outs.

A measure function takes one job and returns its :class:`Cost`; it is given from above (it may run a simulator, a kernel
on this machine, a board).  Whatever becomes of a job - it takes too long, crashes its process, runs out of memory - is
a :class:`Result` with the reason; it never ends the tuning.
"""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

from compiler.tune.errors import MeasureError

START_SECONDS = 120.0
"""How long a worker process may take to come up."""


@dataclass(frozen=True)
class Cost:
    """What a candidate costs, and its schedule as printable Python."""

    cost: float
    trace: str = ""


@dataclass(frozen=True)
class Result:
    """What became of a job: its cost, or None and the reason. ``seconds``: wall time."""

    cost: float | None
    error: str = ""
    trace: str = ""
    seconds: float = 0.0


Measure = Callable[[Any], Cost]


class Measurer(Protocol):
    """Measures jobs."""

    def measure(self, jobs: Sequence[Any]) -> list[Result]:
        """The results in the order of the jobs."""
        ...


def attempt(measure: Measure, job: Any) -> Result:
    """Run one job here; an exception becomes its result's error."""
    start = time.perf_counter()
    try:
        found = measure(job)
    except MemoryError:
        return Result(None, "out of memory", seconds=time.perf_counter() - start)
    except Exception as error:  # a candidate may fail in any way; the reason is kept and the tuning goes on
        text = " ".join(str(error).split())
        return Result(None, f"{type(error).__name__}: {text}", seconds=time.perf_counter() - start)
    return Result(found.cost, trace=found.trace, seconds=time.perf_counter() - start)


class InlineMeasurer:
    """Measures in this process: no time-out, and a crash takes the tuner with it."""

    def __init__(self, measure: Measure) -> None:
        self._measure = measure

    def measure(self, jobs: Sequence[Any]) -> list[Result]:
        """One job after the other."""
        return [attempt(self._measure, job) for job in jobs]


def _serve(connection: Connection, measure: Measure, memory: int | None) -> None:
    """A worker's life: jobs in, results out, until the other end closes."""
    if memory is not None:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    connection.send(None)  # up
    while True:
        try:
            job = connection.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            connection.send(attempt(measure, job))
        except (BrokenPipeError, KeyboardInterrupt):
            return


class _Worker:
    """One process, and the job it works on."""

    def __init__(self, measure: Measure, memory: int | None) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=_serve, args=(theirs, measure, memory), daemon=True)
        self.process.start()
        theirs.close()
        self.job: int | None = None
        self.started = 0.0

    def wait_until_up(self) -> None:
        try:
            if self.connection.poll(START_SECONDS):
                self.connection.recv()
                return
            why = f"took longer than {START_SECONDS:g} s"
        except EOFError:
            # It is about to end, and its own exit code says more than that of being killed on the way.
            self.process.join(START_SECONDS)
            why = f"exit code {self.process.exitcode}"
        self.stop()
        raise MeasureError(f"a measuring process did not start ({why})")

    def give(self, index: int, job: Any) -> None:
        self.job, self.started = index, time.monotonic()
        self.connection.send(job)

    def stop(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.join()


class ProcessMeasurer:
    """Measures in worker processes that live from call to call; use it as a context manager.

    Args:
        measure: picklable; each worker gets a copy.
        workers: how many processes.
        timeout: seconds a job may take; then its process is killed and replaced.
        memory: bytes of address space a worker may use; None: no limit.
    """

    def __init__(self, measure: Measure, workers: int = 1, timeout: float = 60.0, memory: int | None = None) -> None:
        self._measure, self._timeout, self._memory = measure, timeout, memory
        self._count = workers
        self._workers: list[_Worker] = []

    def __enter__(self) -> ProcessMeasurer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers."""
        while self._workers:
            self._workers.pop().stop()

    def _start(self, count: int) -> None:
        new = [_Worker(self._measure, self._memory) for _ in range(count - len(self._workers))]
        for position, worker in enumerate(new):
            try:
                worker.wait_until_up()
            except MeasureError:
                for other in new[position + 1 :]:
                    other.stop()
                raise
            self._workers.append(worker)

    def measure(self, jobs: Sequence[Any]) -> list[Result]:
        """All jobs, as many side by side as there are workers.

        Raises MeasureError when no worker process comes up.
        """
        results: list[Result | None] = [None] * len(jobs)
        waiting = list(range(len(jobs)))[::-1]
        died: set[int] = set()
        while waiting or any(worker.job is not None for worker in self._workers):
            if waiting:
                busy = sum(worker.job is not None for worker in self._workers)
                self._start(min(self._count, busy + len(waiting)))
            for worker in self._workers:
                if worker.job is None and waiting:
                    index = waiting.pop()
                    worker.give(index, jobs[index])
            for index in self._collect(results):
                # Once may be the system's doing, which says nothing about the candidate; twice is the candidate's.
                if index not in died:
                    died.add(index)
                    waiting.append(index)
        return [result or Result(None, "not measured") for result in results]

    def _collect(self, results: list[Result | None]) -> list[int]:
        """Wait for the next result or time-out, and take what is there; returns the jobs whose process died."""
        died: list[int] = []
        busy = [worker for worker in self._workers if worker.job is not None]
        until = min(worker.started for worker in busy) + self._timeout
        ready = wait([worker.connection for worker in busy], max(0.0, until - time.monotonic()))
        for worker in busy:
            index, seconds = worker.job, time.monotonic() - worker.started
            assert index is not None
            if worker.connection in ready:
                try:
                    results[index], worker.job = worker.connection.recv(), None
                    continue
                except (EOFError, OSError):
                    worker.process.join()
                    error = f"its process died (exit code {worker.process.exitcode})"
                    died.append(index)
            elif seconds >= self._timeout:
                error = f"took longer than {self._timeout:g} s"
            else:
                continue
            results[index] = Result(None, error, seconds=seconds)
            self._workers.remove(worker)
            worker.stop()
        return died
