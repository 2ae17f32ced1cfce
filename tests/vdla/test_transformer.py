"""A transformer's encoder on the CPU and on VDLA: which of it becomes what kernel, and where."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest

import vdla
import vdla.target.graph_passes
from hw.config import Config
from runtime.artifact import CpuStep, VdlaStep
from vdla.models import transformer
from vdla.models.builder import ModelBuilder

LAYERS = 2
MODEL = transformer(tokens=24, width=32, heads=2, layers=LAYERS)


@pytest.fixture(scope="module")
def case() -> tuple[np.ndarray, np.ndarray]:
    """An input, and what ONNX Runtime makes of it."""
    x = np.random.default_rng(6).standard_normal((1, 24, 32), dtype=np.float32)
    session = onnxruntime.InferenceSession(MODEL.SerializeToString(), providers=["CPUExecutionProvider"])
    return x, np.asarray(session.run(None, {"x": x})[0])


def test_on_the_cpu(case: tuple[np.ndarray, np.ndarray]) -> None:
    x, expected = case
    artifact = vdla.compile(MODEL, target="cpu")
    (got,) = artifact.run(x).values()
    np.testing.assert_allclose(got, expected, atol=1e-5 * np.abs(expected).max())
    kernels = [step.op for step in artifact.steps if isinstance(step, CpuStep)]
    assert sum(op.startswith("dense") for op in kernels) == 6 * LAYERS
    assert sum(op == "dense+div+erf+add+mul+mul" for op in kernels) == LAYERS
    # Each normalisation is one kernel: two means, and everything between and behind them.
    assert sum(op.count("reduce_mean") == 2 for op in kernels) == 2 * LAYERS


def test_on_vdla(case: tuple[np.ndarray, np.ndarray]) -> None:
    """All products with constant matrices run on the accelerator; int8 stays near the floats."""
    x, expected = case
    artifact = vdla.compile(MODEL, config="pynq-z1")
    layers = [layer for step in artifact.steps if isinstance(step, VdlaStep) for layer in step.layers]
    assert [layer.op.split("+")[0] for layer in layers] == ["conv2d"] * 6 * LAYERS
    (got,) = artifact.run(x).values()
    noise = np.mean((got - expected) ** 2) / np.mean(expected**2)
    assert 10 * np.log10(1 / noise) > 20


@pytest.mark.parametrize("name", ["tiny", "pynq-z1"])
@pytest.mark.parametrize("batch", [1, 2, 4])
def test_rows_that_are_pixels_give_the_same_bits_sooner(
    case: tuple[np.ndarray, np.ndarray], name: str, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(Config.load(name), batch=batch)
    as_pixels = vdla.Executor(vdla.compile(MODEL, config=config), sim="cycle").run(case[0])
    monkeypatch.setattr(vdla.target.graph_passes, "rows_as_pixels", lambda cfg, graph: graph)
    as_images = vdla.Executor(vdla.compile(MODEL, config=config), sim="cycle").run(case[0])
    assert np.array_equal(as_pixels.outputs["y"], as_images.outputs["y"])
    sooner, later = as_pixels.profile.cycles, as_images.profile.cycles
    assert sooner is not None and later is not None and sooner < later


@pytest.mark.parametrize(
    ("rows", "batch", "ops"), [(6, 1, "conv2d"), (6, 2, "conv2d"), (6, 4, "dense"), (2, 2, "dense")]
)
def test_layers_in_a_row_stay_on_the_accelerator(rows: int, batch: int, ops: str) -> None:
    """Between two dense layers nothing moves; rows that do not fill whole images stay rows."""
    b = ModelBuilder("rows", 3)
    hidden = b.relu(b.gemm(b.input("x"), "first", (32, 48)), "relu")
    model = b.model({"x": (rows, 32)}, {b.gemm(hidden, "second", (48, 16)): (rows, 16)})
    x = np.random.default_rng(7).standard_normal((rows, 32), dtype=np.float32)
    config = replace(Config.load("tiny"), batch=batch)
    artifact = vdla.compile(model, config=config, calibration=[{"x": x}])
    (step,) = (step for step in artifact.steps if isinstance(step, VdlaStep))
    assert [layer.op.split("+")[0] for layer in step.layers] == [ops, ops]
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = np.asarray(session.run(None, {"x": x})[0])
    assert np.abs(artifact.run(x)["second"] - expected).max() < 0.05 * np.abs(expected).max()
