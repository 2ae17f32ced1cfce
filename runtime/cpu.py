"""The CPU device: kernels from a relocatable object, called through ctypes on the arena."""

from __future__ import annotations

import ctypes
import itertools
import time
from collections.abc import Sequence
from functools import cache

import llvmlite.binding as llvm
import numpy as np

from runtime.artifact import CpuCode, CpuStep
from runtime.errors import ArtifactError
from runtime.thread_pool import PARALLEL_FOR, default_threads, process_pool

_library_names = (f"artifact{i}" for i in itertools.count())


@cache
def _jit() -> llvm.LLJIT:
    """One linker for the process; initialising LLVM twice is harmless but not free."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(reloc="pic", codemodel="default")
    return llvm.create_lljit_compiler(machine, suppress_errors=True)


def check_processor(code: CpuCode) -> None:
    """Checks that this machine can execute the code.

    Raises:
        ArtifactError: for another architecture or missing processor features; running it would be a SIGILL.
    """
    here = llvm.get_process_triple()
    if code.triple.split("-")[0] != here.split("-")[0]:
        raise ArtifactError(f"the CPU code is for {code.triple}, this machine is {here}; compile it again here")
    features = llvm.get_host_cpu_features()
    missing = [name for name in code.features if not features.get(name, False)]
    if missing:
        raise ArtifactError(
            f"the CPU code needs {', '.join(missing)}, which this processor does not have; compile it again here"
        )


class CpuDevice:
    """Runs the `CpuStep`s of one artifact."""

    def __init__(self, code: CpuCode, steps: Sequence[CpuStep]) -> None:
        """Links the object and looks up every kernel the steps call.

        Raises:
            ArtifactError: when the code is for another processor or lacks a kernel.
        """
        check_processor(code)
        self._pool = process_pool()
        self.threads = default_threads()
        builder = llvm.JITLibraryBuilder().add_object_img(code.image).add_current_process()
        builder.import_symbol(PARALLEL_FOR, self._pool.address)
        symbols = sorted({step.symbol for step in steps})
        for symbol in symbols:
            builder.export_symbol(symbol)
        try:
            self._library = builder.link(_jit(), next(_library_names))
        except RuntimeError as error:
            raise ArtifactError(f"cpu.o cannot be linked: {' '.join(str(error).split())}") from error
        self._kernels = {
            step.symbol: ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(step.args))(self._library[step.symbol])
            for step in steps
        }

    def execute(self, step: CpuStep, arena: np.ndarray) -> float:
        """Calls the step's kernel on `arena` (uint8, one dimension); returns the seconds it took."""
        self._pool.use(self.threads)
        base = arena.ctypes.data
        started = time.perf_counter()
        self._kernels[step.symbol](*[base + offset for offset in step.args])
        return time.perf_counter() - started
