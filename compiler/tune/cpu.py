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

    def run(self) -> None:
        """Run it once; the outputs are in ``arrays``."""
        self._call(*self._pointers)

    def least_seconds(self, repeats: int, shortest: float) -> float:
        """The least time of a run; each of ``repeats`` timings is of enough runs to take ``shortest`` seconds."""
        runs, best = 1, float("inf")
        while repeats:
            start = time.perf_counter()
            for _ in range(runs):
                self.run()
            seconds = time.perf_counter() - start
            if seconds < shortest:
                runs *= 2
                continue
            best, repeats = min(best, seconds / runs), repeats - 1
        return best


@dataclass
class CpuTimer:
    """Seconds of kernels on this processor, drift taken out.

    Args:
        reference: the kernel that never changes.
        repeats: timings of each kernel; the least counts.
        shortest: seconds that a timing takes at least.
    """

    reference: Callable[[], PrimFunc]
    repeats: int = 5
    shortest: float = 1e-3
    _reference: LoadedKernel | None = field(default=None, init=False, repr=False)
    _best: float = field(default=float("inf"), init=False, repr=False)

    def __call__(self, func: PrimFunc) -> float:
        """Seconds of one run.  Raises MeasureError when the clock stands still."""
        if self._reference is None:
            self._reference = LoadedKernel(self.reference())
        kernel = LoadedKernel(func)
        before = self._reference.least_seconds(2, self.shortest)
        seconds = kernel.least_seconds(self.repeats, self.shortest)
        now = min(before, self._reference.least_seconds(2, self.shortest))
        if now <= 0:
            raise MeasureError("the clock is too coarse to time a kernel")
        self._best = min(self._best, now)
        return seconds * self._best / now
