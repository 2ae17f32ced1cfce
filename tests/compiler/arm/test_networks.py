"""Whole networks compiled ahead of time, run by a C program: here and on emulated ARM processors.

The references are ONNX Runtime for float networks and the graph interpreter for int8 ones.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from benchmarks.guest import Guest
from compiler.frontend.onnx_import import from_onnx
from compiler.graph.interpreter import evaluate
from compiler.graph.pipeline import Calibration, to_integer
from vdla import models
from vdla.deploy import deploy

PLATFORMS = ("cpu", "arm64", "armv7")
DOT_PRODUCT = "arm64:cortex-a76"


@cache
def network(name: str) -> onnx.ModelProto:
    return models.MODELS[name]()


def image(model: onnx.ModelProto) -> tuple[str, np.ndarray]:
    """The name of a network's only input, and a seeded array for it."""
    entry = model.graph.input[0]
    shape = [dim.dim_value for dim in entry.type.tensor_type.shape.dim]
    return entry.name, np.random.default_rng(5).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("name", ["mlp", "digits", "resnet_tiny", "mobile_tiny"])
def test_float_networks(name: str, platform: str, tmp_path: Path) -> None:
    model = network(name)
    feed, array = image(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = np.asarray(session.run(None, {feed: array})[0])
    guest = Guest.of(deploy(model, tmp_path / "model.so", platform=platform))
    (got,) = guest.run([array], [(expected.shape, "float32")])
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4 * float(np.abs(expected).max()))


@pytest.mark.parametrize("platform", [*PLATFORMS, DOT_PRODUCT])
@pytest.mark.parametrize("name", ["digits", "resnet_tiny", "mobile_tiny"])
def test_integer_networks_to_the_bit(name: str, platform: str, tmp_path: Path) -> None:
    model = network(name)
    feed, array = image(model)
    samples = [{feed: array}]
    graph, _ = to_integer(from_onnx(model), Calibration(samples=samples))
    expected = evaluate(graph, {feed: array})[graph.output_names[0]]
    deployed = deploy(model, tmp_path / "model.o", platform=platform, integer=True, calibration=samples)
    (got,) = Guest.of(deployed).run([array], [(expected.shape, expected.dtype.name)], "-a")
    np.testing.assert_array_equal(got, expected)
    assert len(np.unique(expected)) > 3
