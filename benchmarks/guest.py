"""Deployed networks as C programs, on this computer or under QEMU's user-mode emulation, with instructions counted.

The program is examples/deploy_c/run_model.c. How they are counted: compiler/tune/emulator.py.
"""

from __future__ import annotations

import atexit
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from compiler.backend.cpu.platforms import PLATFORMS, platform_of
from compiler.backend.llvm import compile_functions
from compiler.ir import PrimFunc
from compiler.tune import emulator
from compiler.tune.emulator import EMULATORS, counted
from vdla.deploy import Deployed

_ROOT = Path(__file__).parents[1]
PROGRAM = _ROOT / "examples" / "deploy_c" / "run_model.c"


class GuestError(Exception):
    """A program of the guest that failed: its exit code and what it said."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"exit code {code}: {message}")
        self.code, self.message = code, message


@dataclass(frozen=True)
class Guest:
    """A deployed network, linked into the example program."""

    deployed: Deployed
    program: Path

    @staticmethod
    def of(deployed: Deployed) -> Guest:
        """Compiles the program beside the network's library or object."""
        path = deployed.path.resolve()
        program = path.with_name(f"{path.stem}.program")
        tool = PLATFORMS[_base(deployed.platform)].linker
        link = [str(path), f"-Wl,-rpath,{path.parent}", "-lm", "-lpthread", "-o", str(program)]
        strict = ["-std=c11", "-O1", "-Wall", "-Wextra", "-Werror"]
        subprocess.run([tool, *strict, "-include", str(deployed.header.resolve()), str(PROGRAM), *link], check=True)
        return Guest(deployed, program)

    def run(
        self, inputs: Sequence[np.ndarray], outputs: Sequence[tuple[tuple[int, ...], str]], *options: str
    ) -> list[np.ndarray]:
        """One inference (with `options` of the program); outputs are described by shape and dtype.

        Raises:
            GuestError: the program failed.
        """
        return self._run(inputs, outputs, options, EMULATORS[_base(self.deployed.platform)])[0]

    def instructions(self, inputs: Sequence[np.ndarray], outputs: Sequence[tuple[tuple[int, ...], str]]) -> int:
        """Guest instructions of one inference: those of two runs in a program less those of one."""
        start = counting(self.deployed.platform)
        once, twice = (counted(self._run(inputs, outputs, ("-n", runs), start)[1]) for runs in ("1", "2"))
        return twice - once

    def _run(
        self,
        inputs: Sequence[np.ndarray],
        outputs: Sequence[tuple[tuple[int, ...], str]],
        options: Sequence[str],
        start: Sequence[str],
    ) -> tuple[list[np.ndarray], str]:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            files = [folder / f"input{i}" for i in range(len(inputs))]
            for file, array in zip(files, inputs, strict=True):
                file.write_bytes(np.ascontiguousarray(array).tobytes())
            results = [folder / f"output{i}" for i in range(len(outputs))]
            command = [*start, str(self.program), *options, *map(str, files + results)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise GuestError(done.returncode, done.stderr.strip())
            arrays = [
                np.frombuffer(file.read_bytes(), dtype).reshape(shape)
                for file, (shape, dtype) in zip(results, outputs, strict=True)
            ]
            return arrays, done.stderr


def counting(platform: str, root: Path | None = None) -> list[str]:
    """What starts a program for a platform, so that its instructions are counted; `root`: where its libraries are."""
    return emulator.counting(platform, _plugin(), root)


def _base(platform: str) -> str:
    """The platform without its processor."""
    return platform.partition(":")[0]


@cache
def _plugin() -> Path:
    """The emulator's plug-in, compiled for this process and removed with it."""
    folder = tempfile.mkdtemp(prefix="vdla-plugin-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return emulator.build_plugin(Path(folder))


_DRIVER = """\
#include <stdio.h>
#include <stdlib.h>
void {name}({parameters});
static char data[{total}] __attribute__((aligned(64)));
int main(int argc, char **argv) {{
  FILE *file = fopen(argv[2], "r+b");
  if (argc != 3 || file == NULL || fread(data, 1, sizeof data, file) != sizeof data) return 1;
  for (int i = 0; i < atoi(argv[1]); i++) {name}({arguments});
  rewind(file);
  return fwrite(data, 1, sizeof data, file) != sizeof data || fclose(file) != 0;
}}
"""


def run_kernel(
    func: PrimFunc, arrays: Sequence[np.ndarray], platform: str, folder: Path, opt: int = 3
) -> tuple[list[np.ndarray], int]:
    """Calls a lowered function on arrays, one for each parameter: what they hold afterwards, and its instructions.

    Raises:
        CodegenError: it cannot be compiled.  GuestError: its program failed.
    """
    kind = platform_of(platform)
    sizes = [-(-array.nbytes // 64) * 64 for array in arrays]
    offsets = [sum(sizes[:i]) for i in range(len(sizes))]
    source, kernel, program, data = (folder / f"{func.name}.{end}" for end in ("c", "o", "program", "data"))
    source.write_text(
        _DRIVER.format(
            name=func.name,
            parameters=", ".join(["void *"] * len(arrays)),
            arguments=", ".join(f"data + {offset}" for offset in offsets),
            total=sum(sizes),
        )
    )
    kernel.write_bytes(compile_functions([func], target_triple=kind.triple, cpu=kind.cpu, opt=opt))
    subprocess.run([kind.linker, "-O1", str(source), str(kernel), "-lm", "-o", str(program)], check=True)
    content = bytearray(sum(sizes))
    for offset, array in zip(offsets, arrays, strict=True):
        content[offset : offset + array.nbytes] = np.ascontiguousarray(array).tobytes()
    counts = []
    for runs in ("2", "1"):  # the last one's results are read
        data.write_bytes(content)
        done = subprocess.run(
            [*counting(platform), str(program), runs, str(data)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise GuestError(done.returncode, done.stderr.strip())
        counts.append(counted(done.stderr))
    after = data.read_bytes()
    results = [
        np.frombuffer(after, array.dtype, array.size, offset).reshape(array.shape)
        for offset, array in zip(offsets, arrays, strict=True)
    ]
    return results, counts[0] - counts[1]
