"""Measuring schedules on this processor: compiled, loaded and timed in the process that measures.

Times vary with whatever else the machine does.  Each measurement is the least of several runs, and between them a
reference kernel that never changes is run; the cost is the ratio to it times its least time ever, so that a processor
that slows down slows both.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import llvmlite.binding as llvm
import numpy as np

from compiler.backend.llvm import compile_functions
from compiler.ir import PrimFunc
from compiler.tune.errors import MeasureError

_SYMBOL = "tuned_kernel"


class LoadedKernel:
    """A kernel in this process' memory, with seeded arguments of its own."""

    def __init__(self, func: PrimFunc, seed: int = 0) -> None:
        named = PrimFunc(_SYMBOL, func.params, func.body, func.attrs)
        code = compile_functions([named])
        self._jit = llvm.create_lljit_compiler()
        builder = llvm.JITLibraryBuilder().add_object_img(code).add_current_process().export_symbol(_SYMBOL)
        self._library = builder.link(self._jit, _SYMBOL)
        self._call = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(func.params))(self._library[_SYMBOL])
        rng = np.random.default_rng(seed)
        self.arrays: list[np.ndarray] = []
        for buffer in func.params:
            drawn = rng.integers(-8, 8, buffer.shape)
            self.arrays.append(np.ascontiguousarray(drawn.astype(buffer.dtype)))
        self._pointers = [array.ctypes.data for array in self.arrays]

    def run(self) -> float:
        """Run it once; the outputs are in ``arrays``. Returns seconds."""
        start = time.perf_counter()
        self._call(*self._pointers)
        return time.perf_counter() - start


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
