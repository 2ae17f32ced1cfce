"""The CPU device: kernels from a relocatable object, called through ctypes on the arena."""

from __future__ import annotations

import ctypes
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import groupby, pairwise

import llvmlite.binding as llvm
import numpy as np

from runtime.artifact import CpuCode, CpuStep, Step
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
    if _architecture(code.triple) != _architecture(here):
        raise ArtifactError(f"the CPU code is for {code.triple}, this machine is {here}; compile it again here")
    features = llvm.get_host_cpu_features()
    missing = [name for name in code.features if not features.get(name, False)]
    if missing:
        raise ArtifactError(
            f"the CPU code needs {', '.join(missing)}, which this processor does not have; compile it again here"
        )


def _architecture(triple: str) -> str:
    """ "x86_64", "aarch64", "armv7" of an LLVM triple (a system may call itself armv7l)."""
    first = triple.split("-")[0]
    return "armv7" if first.startswith("armv7") else first


class CpuDevice:
    """Runs the `CpuStep`s of one artifact, those that follow each other in one call.

    threads: how many a kernel may use, the caller's included ($VDLA_NUM_THREADS, or all processors).
    """

    def __init__(self, code: CpuCode, steps: Sequence[Step], lent: Sequence[int] = ()) -> None:
        """Links the object with a function for every run of CPU steps among an artifact's.

        Args:
            lent: arena offsets in whose place `execute` is given addresses.

        Raises:
            ArtifactError: when the code is for another processor or lacks a kernel.
        """
        check_processor(code)
        self._pool = process_pool()
        self.threads = default_threads()
        self._arena: np.ndarray | None = None  # the one of the last call, whose address is known
        self._arena_address = 0
        runs: dict[str, list[CpuStep]] = {}
        for cpu, run in groupby(steps, lambda step: isinstance(step, CpuStep)):
            if cpu:
                runs[f"run_{len(runs)}"] = [step for step in run if isinstance(step, CpuStep)]
        kernels = llvm.JITLibraryBuilder().add_object_img(code.image).add_current_process()
        kernels.import_symbol(PARALLEL_FOR, self._pool.address)
        symbols = sorted({step.symbol for run in runs.values() for step in run})
        for symbol in symbols:
            kernels.export_symbol(symbol)
        try:
            self._kernels = kernels.link(_jit(), next(_library_names))
        except RuntimeError as error:
            raise ArtifactError(f"cpu.o cannot be linked: {' '.join(str(error).split())}") from error
        callers = llvm.JITLibraryBuilder().add_ir(runs_ir(runs, lent=lent)).add_current_process()
        for symbol in symbols:
            callers.import_symbol(symbol, self._kernels[symbol])
        for name in runs:
            callers.export_symbol(name)
        self._library = callers.link(_jit(), next(_library_names))
        call = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * (2 + len(lent)))
        self._entries: dict[int, tuple[Callable[..., None], np.ndarray, int]] = {}
        for name, run in runs.items():
            clock = np.zeros((len(run) + 1, 2), np.int64)
            self._entries[id(run[0])] = call(self._library[name]), clock, clock.ctypes.data

    def execute(self, first: CpuStep, arena: np.ndarray, lent: Sequence[int] = ()) -> list[float]:
        """Runs `first`, a step at which a run begins, and the CPU steps that follow it; the seconds that each took.

        Args:
            arena: uint8, one dimension.
            lent: addresses of what lies elsewhere than in the arena, in the order of the device's.
        """
        self._pool.use(self.threads)
        if arena is not self._arena:
            self._arena, self._arena_address = arena, arena.ctypes.data
        entry, clock, address = self._entries[id(first)]
        entry(self._arena_address, address, *lent)
        times = [seconds * 1_000_000_000 + nanoseconds for seconds, nanoseconds in clock.tolist()]
        return [(after - before) * 1e-9 for before, after in pairwise(times)]


def runs_ir(runs: Mapping[str, Sequence[CpuStep]], word_bytes: int = 8, lent: Sequence[int] = ()) -> str:
    """A function for each run: void name(uint8_t *arena, struct timespec clock[steps + 1], ...), the time between
    steps; one pointer more for each of the arena's offsets `lent`, which stands for it.

    word_bytes: half of a struct timespec, a C long.
    """
    symbols = {step.symbol: len(step.args) for run in runs.values() for step in run}
    lines = ["declare i32 @clock_gettime(i32, ptr)"]
    lines += [f"declare void @{symbol}({', '.join(['ptr'] * count)})" for symbol, count in symbols.items()]
    for name, run in runs.items():
        lines.append(f"define void @{name}(ptr %arena, ptr %clock{''.join(f', ptr %lent{i}' for i in lent)}) {{")
        for i, step in enumerate(run):
            lines += _tick(i, word_bytes)
            pointers = []
            for j, offset in enumerate(step.args):
                if offset in lent:
                    pointers.append(f"ptr %lent{offset}")
                    continue
                lines.append(f"  %a{i}.{j} = getelementptr i8, ptr %arena, i64 {offset}")
                pointers.append(f"ptr %a{i}.{j}")
            lines.append(f"  call void @{step.symbol}({', '.join(pointers)})")
        lines += [*_tick(len(run), word_bytes), "  ret void", "}"]
    return "\n".join(lines)


def _tick(i: int, word_bytes: int) -> list[str]:
    return [
        f"  %t{i} = getelementptr i8, ptr %clock, i64 {2 * word_bytes * i}",
        f"  %r{i} = call i32 @clock_gettime(i32 {time.CLOCK_MONOTONIC}, ptr %t{i})",
    ]
