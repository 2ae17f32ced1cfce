"""The built-in networks in float32 on the CPU against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest

import vdla
from benchmarks.onnx_coverage import evaluate
from vdla.models import MODELS, tokens

SMALL: dict[str, dict[str, Any]] = {
    "resnet18": {"image": 32},
    "resnet50": {"image": 32},
    "mobilenet": {"image": 32},
    "dqn": {"image": 44},
    "dcgan": {"width": 4, "latent": 8},
    "lstm_lm": {"steps": 5, "batch": 2, "vocabulary": 50, "width": 12},
    "transformer": {"tokens": 17, "width": 24, "heads": 3, "layers": 2, "batch": 2},
}


def relative_error(name: str, sizes: dict[str, Any]) -> float:
    """The largest difference, of the largest magnitude, on one seeded input."""
    model = MODELS[name](**sizes)
    entry = model.graph.input[0]
    if name == "lstm_lm":
        (feeds,) = tokens(count=1, **{key: sizes[key] for key in ("steps", "batch", "vocabulary") if key in sizes})
    else:
        shape = [dim.dim_value for dim in entry.type.tensor_type.shape.dim]
        feeds = {entry.name: np.random.default_rng(0).standard_normal(shape).astype(np.float32)}
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = np.asarray(session.run(None, feeds)[0])
    (found,) = evaluate(model, list(feeds.values()))
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("name", SMALL)
def test_small_sizes(name: str) -> None:
    assert relative_error(name, SMALL[name]) <= 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_full_sizes(name: str) -> None:
    assert relative_error(name, {}) <= 1e-4


def test_language_model_compiles_to_an_artifact() -> None:
    sizes = {"steps": 4, "batch": 1, "vocabulary": 30}
    model = MODELS["lstm_lm"](**sizes, width=8)
    inputs = tokens(count=2, **sizes)
    artifact = vdla.compile(model, calibration=inputs, config="tiny")
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = np.asarray(session.run(None, inputs[0])[0])
    found = artifact.run(inputs[0]["tokens"])["logits"]
    assert np.abs(found - expected).max() <= 0.1 * np.abs(expected).max()  # dense layers are int8
