"""Compiled networks on the RTL, in lock-step with the cycle simulator: every instruction, every byte of DRAM."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import vdla
from hw.config import Config
from hw.isa import decode_program
from runtime.artifact import Artifact, VdlaStep
from runtime.errors import InputError
from runtime.vdla_sim import LayerWave
from sim.rtl.lockstep import Case, check
from sim.rtl.machine import Machine
from vdla.models.builder import ModelBuilder
from vdla.models.digits import load_split

BOARD = Config.load("pynq-z1")
SMALLER = BOARD.with_(block_in=8, block_out=8)
"""A quarter of the multipliers, which is sooner built."""


@lru_cache(maxsize=1)
def machine(cfg: Config) -> Machine:
    return Machine(cfg)


def check_artifact(artifact: Artifact) -> int:
    """Every program of the artifact, on random bytes for activations; the cycles that they take."""
    cfg = artifact.config
    arena = artifact.initial_arena()
    arena[:] = np.random.default_rng(0).integers(0, 256, arena.size)
    artifact.write_constants(arena)
    before = machine(cfg).cycles
    for step in artifact.steps:
        if isinstance(step, VdlaStep):
            program = decode_program(artifact.program(step), cfg)
            check(machine(cfg), Case(cfg, arena, program, step.program_addr))
    return machine(cfg).cycles - before


def conv(size: int, inputs: int, outputs: int, kernel: int, stride: int) -> onnx.ModelProto:
    b = ModelBuilder("conv", 0)
    y = b.relu(b.conv(b.input("x"), "conv", (inputs, outputs), kernel, stride), "y")
    side = -(-size // stride)
    return b.model({"x": (1, inputs, size, size)}, {y: (1, outputs, side, side)})


def pool() -> onnx.ModelProto:
    b = ModelBuilder("pool", 0)
    y = b.conv(b.input("x"), "conv", (16, 64), 1)
    y = b.node("MaxPool", [y], "y", 1.0, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    return b.model({"x": (1, 16, 40, 40)}, {"y": (1, 64, 20, 20)})


def residual() -> onnx.ModelProto:
    b = ModelBuilder("residual", 0)
    x = b.relu(b.conv(b.input("x"), "first", (16, 32), 1), "relu")
    y = b.relu(b.add(b.conv(x, "second", (32, 32), 3), x, "add"), "y")
    return b.model({"x": (1, 16, 28, 28)}, {y: (1, 32, 28, 28)})


def dense() -> onnx.ModelProto:
    b = ModelBuilder("dense", 0)
    y = b.classifier(b.relu(b.conv(b.input("x"), "conv", (16, 512), 1), "relu"), "y", (512, 1000))
    return b.model({"x": (1, 16, 7, 7)}, {y: (1, 1000)})


LAYERS: dict[str, Callable[[], onnx.ModelProto]] = {
    "C1": lambda: conv(224, 3, 64, 7, 2),
    "C2": lambda: conv(56, 64, 64, 3, 1),
    "C5": lambda: conv(56, 64, 128, 1, 2),
    "C12": lambda: conv(7, 512, 512, 3, 1),
    "max pooling": pool,
    "residual add": residual,
    "average pooling and dense": dense,
}
"""Convolutions of the TVM paper's table 2, and the other kinds of layers that ResNet has."""


@pytest.mark.parametrize("name", LAYERS)
def test_layer(name: str) -> None:
    assert check_artifact(vdla.compile(LAYERS[name](), config=SMALLER)) > 1000


def test_digits() -> None:
    artifact = vdla.compile("digits", config=SMALLER)
    assert check_artifact(artifact) > 1000
    image = load_split().held_out_images[:1]
    timed, found = (vdla.simulate(artifact, image, sim=sim) for sim in ("cycle", "rtl"))
    np.testing.assert_array_equal(found.outputs["y"], timed.outputs["y"])
    on_machine = [[layer for layer in d.document["layers"] if layer["target"] == "vdla"] for d in (timed, found)]
    assert on_machine[0] == on_machine[1] and len(on_machine[0]) > 5
    assert found.document["sim"] == "rtl"


@pytest.mark.parametrize(
    "sim, layer, message",
    [("cycle", "conv1", "only the RTL has waveforms"), ("rtl", "con", "'con' is no layer on VDLA; did you mean")],
)
def test_waves_that_cannot_be(sim: Any, layer: str, message: str, tmp_path: Path) -> None:
    artifact = vdla.compile("digits", config=SMALLER)
    with pytest.raises(InputError, match=message):
        vdla.simulate(artifact, load_split().held_out_images[:1], sim=sim, wave=LayerWave(layer, tmp_path / "x.vcd"))


@pytest.mark.slow
def test_resnet18() -> None:
    assert check_artifact(vdla.compile("resnet18", config=BOARD)) > 1_000_000
