"""Timing kernels, drift taken out; needs Python's own library alone, so that a board can do it.

Times vary with whatever else the machine does.  Each measurement is the least of several runs, and between them a
reference kernel that never changes is run; the cost is the ratio to it times its least time ever, so that a processor
that slows down slows both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from compiler.tune.errors import MeasureError
from compiler.tune.measure import Cost


def least_seconds(run: Callable[[], float], repeats: int, shortest: float) -> float:
    """The least time of a run; each of ``repeats`` turns is of enough runs to take ``shortest`` seconds."""
    best = float("inf")
    for _ in range(repeats):
        spent = 0.0
        while spent < shortest:
            seconds = run()
            spent += max(seconds, 1e-7)
            best = min(best, seconds)
    return best


@dataclass
class CpuTimer:
    """Seconds of kernels on this processor, drift taken out: before and after a kernel one that never changes is run.

    Args:
        repeats: timings of each kernel; the least counts.
        shortest: seconds that a timing takes at least.
    """

    repeats: int = 5
    shortest: float = 1e-3
    _best: float = field(default=float("inf"), init=False, repr=False)

    def __call__(self, run: Callable[[], float], reference: Callable[[], float]) -> float:
        """Seconds of one run.  ``run``, ``reference``: run a kernel once and say how long it took.

        Raises MeasureError when the clock stands still.
        """
        before = least_seconds(reference, 2, self.shortest)
        seconds = least_seconds(run, self.repeats, self.shortest)
        now = min(before, least_seconds(reference, 2, self.shortest))
        if now <= 0:
            raise MeasureError("the clock is too coarse to time a kernel")
        self._best = min(self._best, now)
        return seconds * self._best / now


class Timed(Protocol):
    """A kernel that can be run."""

    def run(self) -> float:
        """Run it once; seconds."""
        ...


@dataclass(frozen=True)
class Refused:
    """A candidate that could not be compiled, in the place of its kernel."""

    reason: str
    turn: int = 0


@dataclass
class KernelSeconds:
    """The measure function of kernels: the cost of one is in seconds.

    Args:
        reference: a kernel that never changes.
        load: brings a kernel into this process; importable where it is measured.
    """

    reference: Any
    load: Callable[[Any], Timed]
    timer: CpuTimer = field(default_factory=CpuTimer)
    _reference: Timed | None = field(default=None, init=False, repr=False)

    def __reduce__(self) -> tuple[type[KernelSeconds], tuple[Any, ...]]:
        """As it was made: what a process has loaded and timed stays there, and tells equal functions not apart."""
        return KernelSeconds, (self.reference, self.load, replace(self.timer))

    def __call__(self, job: Any) -> Cost:
        if isinstance(job, Refused):
            raise MeasureError(job.reason)
        if self._reference is None:
            self._reference = self.load(self.reference)
        return Cost(self.timer(self.load(job).run, self._reference.run))
