"""A transformer's encoder on the CPU and on VDLA: which of it becomes what kernel, and where."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

import vdla
from runtime.artifact import CpuStep, VdlaStep
from vdla.models import transformer

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
    assert [layer.op.split("+")[0] for layer in layers] == ["dense"] * 6 * LAYERS
    (got,) = artifact.run(x).values()
    noise = np.mean((got - expected) ** 2) / np.mean(expected**2)
    assert 10 * np.log10(1 / noise) > 20
