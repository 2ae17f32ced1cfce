"""What VDLA refuses runs on the processor of its board: that code, emulated, between programs on the simulator."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import vdla
from benchmarks.guest import EMULATORS
from compiler.backend.cpu.platforms import PLATFORMS
from hw.config import Board
from runtime import executor
from runtime.artifact import Artifact, CpuStep
from runtime.executor import Executor

_DRIVER = """\
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
{declarations}
int main(int argc, char **argv) {{
  size_t size = {size};
  void *memory;
  FILE *file = fopen(argv[1], "r+b");
  if (argc != 3 || file == NULL || posix_memalign(&memory, 64, size) || fread(memory, 1, size, file) != size) return 1;
  uint8_t *arena = memory;
  switch (atoi(argv[2])) {{
{cases}
  default: return 2;
  }}
  rewind(file);
  return fwrite(memory, 1, size, file) != size || fclose(file) != 0;
}}
"""


class EmulatedCpuDevice:
    """As `runtime.linked_cpu.LinkedCpuDevice`, under an emulator: one program, which is given the arena as a file."""

    def __init__(self, artifact: Artifact, host: str, folder: Path) -> None:
        self.steps, self.threads, self.calls, self._host = artifact.steps, 1, 0, host
        self._arena, self._program = folder / "arena", folder / "program"
        assert artifact.cpu_code is not None
        cases, declarations = [], set()
        for i, step in enumerate(self.steps):
            if isinstance(step, CpuStep):
                declarations.add(f"void {step.symbol}({', '.join(['uint8_t *'] * len(step.args))});")
                arguments = ", ".join(f"arena + {offset}" for offset in step.args)
                cases.append(f"  case {i}: {step.symbol}({arguments}); break;")
        source, kernels = folder / "driver.c", folder / "cpu.o"
        text = {"declarations": "\n".join(sorted(declarations)), "cases": "\n".join(cases)}
        source.write_text(_DRIVER.format(size=artifact.arena_bytes, **text))
        kernels.write_bytes(artifact.cpu_code.image)
        command = [PLATFORMS[host].linker, "-O1", "-Wall", "-Werror", str(source), str(kernels), "-lm", "-lpthread"]
        subprocess.run([*command, "-o", str(self._program)], check=True)

    def execute(self, first: CpuStep, arena: np.ndarray, lent: Sequence[int] = ()) -> list[float]:
        assert not lent  # VDLA takes part: all lies in the arena
        start = next(i for i, step in enumerate(self.steps) if step is first)
        run = list(takewhile(lambda step: isinstance(step, CpuStep), self.steps[start:]))
        for i in range(start, start + len(run)):
            self._arena.write_bytes(arena.tobytes())
            command = [*EMULATORS[self._host], str(self._program), str(self._arena), str(i)]
            subprocess.run(command, check=True)
            arena[:] = np.frombuffer(self._arena.read_bytes(), np.uint8)
            self.calls += 1
        return [0.0] * len(run)


def network() -> onnx.ModelProto:
    """Two convolutions for VDLA with a function between them that it does not have, and one behind them."""
    rng = np.random.default_rng(2)
    weights = {"w0": (16, 3, 3, 3), "w1": (24, 16, 3, 3)}
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Sigmoid", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w1"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Softmax", ["c"], ["y"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "mixed",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 12, 12])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 24, 12, 12])],
        [
            numpy_helper.from_array(rng.normal(0, 0.3, shape).astype(np.float32), name)
            for name, shape in weights.items()
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("board", ["pynq-z1", "ultra96"])
def test_the_host_part_on_the_boards_processor(board: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = network()
    x = np.random.default_rng(3).normal(size=(1, 3, 12, 12)).astype(np.float32)
    expected = Executor(vdla.compile(model, target="vdla,cpu", config=board)).run({"x": x}).outputs["y"]
    artifact = vdla.compile(model, target="vdla,board", config=board)
    kinds = [isinstance(step, CpuStep) for step in artifact.steps]
    assert kinds.count(False) == 2 and any(kinds[kinds.index(False) : len(kinds) - kinds[::-1].index(False)])
    device = EmulatedCpuDevice(artifact, Board.load(board).host, tmp_path)
    monkeypatch.setattr(executor, "_cpu_device", lambda artifact, lent: device)
    got = Executor(artifact).run({"x": x}).outputs["y"]
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    assert device.calls == sum(kinds) and len(np.unique(expected)) > 100
