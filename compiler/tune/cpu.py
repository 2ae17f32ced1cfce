"""Kernels of this processor in the process that measures: compiled, loaded, run on arrays that can be looked at."""

from __future__ import annotations

import ctypes
import time

import llvmlite.binding as llvm
import numpy as np

from compiler.backend.llvm import compile_functions
from compiler.ir import PrimFunc

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
