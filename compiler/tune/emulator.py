"""Programs for ARM under QEMU's user-mode emulation, their instructions counted by a plug-in of the emulator.

Counts are the same on every machine and every time; they say how much work code is, not how fast a processor does it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from compiler.tune.errors import MeasureError
from compiler.tune.measure import Cost
from compiler.tune.timing import Refused

PLUGIN = Path(__file__).with_name("count_instructions.c")
PROGRAM = Path(__file__).with_name("run_kernel.c")
EMULATORS: Mapping[str, tuple[str, ...]] = {
    "cpu": (),
    "arm64": ("qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"),
    "armv7": ("qemu-arm", "-L", "/usr/arm-linux-gnueabihf"),
}
"""Platform -> what a program for it is started with here."""

_COUNT = re.compile(r"^instructions: (\d+)$", re.MULTILINE)


def run_tool(command: Sequence[str | Path], package: str) -> str:
    """Runs a program that a package of Debian has; what it wrote to stderr.

    Raises MeasureError when it is not installed, or fails.
    """
    if shutil.which(str(command[0])) is None:
        raise MeasureError(f"{command[0]} is not installed (Debian package {package})")
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        said = " ".join(done.stderr.split())[-300:]
        raise MeasureError(f"{Path(command[0]).name} ended with exit code {done.returncode}: {said}")
    return done.stderr


def build_plugin(folder: Path) -> Path:
    """The plug-in, compiled for this machine.  Raises MeasureError without a C compiler."""
    made = folder / "count_instructions.so"
    run_tool(["gcc", "-O2", "-shared", "-fPIC", "-Wall", PLUGIN, "-o", made], "gcc")
    return made


def counting(platform: str, plugin: Path, root: Path | None = None) -> list[str]:
    """What starts a program for a platform, so that its instructions are counted; `root`: where its libraries are."""
    emulator = list(EMULATORS[platform.partition(":")[0]])
    if root is not None:
        emulator[-1] = str(root)
    return [*emulator, "-d", "plugin", "-plugin", str(plugin)]


def counted(said: str) -> int:
    """The instructions, from what a counted program and the emulator said.  Raises MeasureError: there is no count."""
    found = _COUNT.search(said)
    if found is None:
        raise MeasureError(f"the emulator counted nothing: {' '.join(said.split())[-300:]}")
    return int(found.group(1))


class Library(Protocol):
    """A kernel as a shared library, and the bytes that it runs on."""

    @property
    def image(self) -> bytes:
        """The library."""
        ...

    @property
    def arena_bytes(self) -> int:
        """What `run_0` is given."""
        ...


@dataclass(frozen=True)
class KernelInstructions:
    """The measure function of kernels that are counted: a job is a library for the platform (anything with `image` and
    `arena_bytes`, see `runtime.kernel_library.KernelLibrary`), its cost the instructions of one run on one thread.

    plugin, program: made by :meth:`of`.
    """

    platform: str
    plugin: Path
    program: Path

    @staticmethod
    def of(platform: str, linker: str, package: str, folder: Path) -> KernelInstructions:
        """Compiles the plug-in, and the program that runs a kernel, in a folder that stays as long as it is used.

        Raises MeasureError when a compiler or the emulator is missing.
        """
        emulator = EMULATORS[platform.partition(":")[0]][0]
        if shutil.which(emulator) is None:
            raise MeasureError(f"{emulator} is not installed (Debian package qemu-user)")
        program = folder / "run_kernel"
        run_tool([linker, "-std=c11", "-O1", "-Wall", "-Wextra", PROGRAM, "-o", program, "-ldl"], package)
        return KernelInstructions(platform, build_plugin(folder), program)

    def __call__(self, job: Library | Refused) -> Cost:
        if isinstance(job, Refused):
            raise MeasureError(job.reason)
        start = counting(self.platform, self.plugin)
        with tempfile.NamedTemporaryFile(prefix="vdla-kernel-", suffix=".so") as stream:
            stream.write(job.image)
            stream.flush()
            # The first run also binds functions and takes memory.
            once, twice = (
                counted(run_tool([*start, self.program, stream.name, str(job.arena_bytes), str(runs)], "qemu-user"))
                for runs in (1, 2)
            )
        return Cost(float(twice - once))
