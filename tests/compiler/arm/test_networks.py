"""Whole networks compiled ahead of time, run by a C program: here and on emulated ARM processors.

The references are ONNX Runtime for float networks and the graph interpreter for int8 ones.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

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


def extremes(least: int) -> onnx.ModelProto:
    """Two convolutions and a dense layer, quantised, whose weights are the least and the greatest that there may be."""
    rng = np.random.default_rng(0)
    constants: dict[str, Any] = {"scale": np.float32(1.0), "zero": np.int8(0)}
    nodes: list[onnx.NodeProto] = []

    def node(op: str, inputs: list[str], **attributes: Any) -> str:
        nodes.append(helper.make_node(op, inputs, [f"{op}{len(nodes)}"], **attributes))
        return nodes[-1].output[0]

    def quantised(value: str, scale: float) -> str:
        constants[f"{value}.scale"] = np.float32(scale)
        integers = node("QuantizeLinear", [value, f"{value}.scale", "zero"])
        return node("DequantizeLinear", [integers, f"{value}.scale", "zero"])

    def weights(*shape: int) -> str:
        name = f"w{len(nodes)}"
        constants[name] = np.where(rng.random(shape) < 0.8, least, 127).astype(np.int8)
        return node("DequantizeLinear", [name, "scale", "zero"])

    x = quantised("x", 1.0)
    x = quantised(node("Conv", [x, weights(16, 3, 3, 3)], pads=[1, 1, 1, 1]), 4000.0)
    x = quantised(node("Conv", [x, weights(32, 16, 3, 3)], pads=[1, 1, 1, 1]), 4e7)
    x = node("Flatten", [quantised(node("GlobalAveragePool", [x]), 4e7)])
    y = quantised(node("Gemm", [x, weights(20, 32)], transB=1), 1e11)
    graph = helper.make_graph(
        nodes,
        "extremes",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info(y, onnx.TensorProto.FLOAT, [1, 20])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("platform", [*PLATFORMS, DOT_PRODUCT])
@pytest.mark.parametrize("least", [-127, -128])
def test_weights_at_the_limits(least: int, platform: str, tmp_path: Path) -> None:
    model = extremes(least)
    array = np.where(np.arange(192).reshape(1, 3, 8, 8) % 7, -128, 127).astype(np.float32)
    graph, _ = to_integer(from_onnx(model))
    expected = evaluate(graph, {"x": array})[graph.output_names[0]]
    deployed = deploy(model, tmp_path / "model.o", platform=platform)
    (got,) = Guest.of(deployed).run([array], [(expected.shape, expected.dtype.name)])
    np.testing.assert_array_equal(got, expected)
    assert len(np.unique(expected)) > 3
