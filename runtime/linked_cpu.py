"""The CPU device of a computer without LLVM, a board as a rule: kernels linked by its C compiler."""

from __future__ import annotations

import ctypes
import platform
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from runtime.artifact import CpuCode, CpuStep, Step
from runtime.errors import ArtifactError
from runtime.thread_pool import SET_THREADS, default_threads

_COMPILERS = ("cc", "gcc", "clang")
# LLVM's names of features -> the kernel's in /proc/cpuinfo, one of which says that the processor has it.
_FEATURES = {"neon": {"neon", "asimd"}, "vfp3": {"vfpv3", "asimd"}, "dotprod": {"asimddp"}}


class LinkedCpuDevice:
    """As `runtime.cpu.CpuDevice`, for code that brings its thread pool along: that of other platforms than "cpu".

    threads: how many a kernel may use, the caller's included ($VDLA_NUM_THREADS, or all processors).
    """

    def __init__(self, code: CpuCode, steps: Sequence[Step], lent: Sequence[int] = ()) -> None:
        """Links the object and looks up every kernel that the steps call.

        Args:
            lent: arena offsets in whose place `execute` is given addresses.

        Raises:
            ArtifactError: when the code is for another processor, lacks a kernel, or there is no C compiler.
        """
        _check_processor(code)
        self.threads = default_threads()
        self._lent = tuple(lent)
        library = _link(code)
        runs = [list(run) for cpu, run in groupby(steps, lambda step: isinstance(step, CpuStep)) if cpu]
        self._runs = {id(run[0]): [step for step in run if isinstance(step, CpuStep)] for run in runs}
        try:
            self._set_threads = library[SET_THREADS]
            self._kernels = {
                step.symbol: ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(step.args))((step.symbol, library))
                for run in self._runs.values()
                for step in run
            }
        except AttributeError as error:
            raise ArtifactError(f"cpu.o cannot be linked: {error}") from error

    def execute(self, first: CpuStep, arena: np.ndarray, lent: Sequence[int] = ()) -> list[float]:
        """Runs `first`, a step at which a run begins, and the CPU steps that follow it; the seconds that each took.

        Args:
            arena: uint8, one dimension.
            lent: addresses of what lies elsewhere than in the arena, in the order of the device's.
        """
        self._set_threads(self.threads)
        base = arena.ctypes.data
        elsewhere = dict(zip(self._lent, lent, strict=True))
        seconds = []
        for step in self._runs[id(first)]:
            started = time.perf_counter()
            self._kernels[step.symbol](*[elsewhere.get(offset, base + offset) for offset in step.args])
            seconds.append(time.perf_counter() - started)
        return seconds


def _check_processor(code: CpuCode) -> None:
    arch, here = code.triple.partition("-")[0], platform.machine()
    if arch != here and not (arch.startswith("arm") and here.startswith("arm")):
        raise ArtifactError(f"the CPU code is for {code.triple}, this machine is {here}; compile it again for it")
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return
    found = re.search(r"^(?:Features|flags)\s*:(.*)$", text, re.MULTILINE)
    there = set(found.group(1).split()) if found else set()
    missing = [name for name in code.features if not _FEATURES.get(name, {name}) & there]
    if missing:
        raise ArtifactError(f"the CPU code needs {', '.join(missing)}, which this processor does not have")


def _link(code: CpuCode) -> ctypes.CDLL:
    """The object as a library of this process; its file is gone afterwards."""
    tool = next(filter(None, map(shutil.which, _COMPILERS)), None)
    if tool is None:
        raise ArtifactError(
            f"the artifact has steps on the CPU ({code.triple}), and this computer cannot link them: install a C "
            f"compiler (gcc) or llvmlite, or compile the model so that all of it runs on VDLA"
        )
    with tempfile.TemporaryDirectory(prefix="vdla-cpu-") as name:
        kernels, library = Path(name) / "cpu.o", Path(name) / "cpu.so"
        kernels.write_bytes(code.image)
        options = ["-shared", "-Wl,-z,nodelete,--no-undefined", "-o", str(library), str(kernels), "-lm", "-lpthread"]
        done = subprocess.run([tool, *options], capture_output=True, text=True, check=False)
        if done.returncode:
            raise ArtifactError(f"cpu.o cannot be linked: {' '.join(done.stderr.split())[-300:]}")
        return ctypes.CDLL(str(library))
