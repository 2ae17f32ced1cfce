"""Converters of one's own, and operators that a model defines by others."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from benchmarks.onnx_coverage import evaluate
from compiler.errors import GraphError, UnsupportedModelError
from compiler.frontend import Context, NodeView, Reject, converter_names, from_onnx, register_converter
from compiler.frontend.onnx_registry import _CONVERTERS
from compiler.graph.ir import Value

X = np.random.default_rng(2).standard_normal((3, 4)).astype(np.float32)


def model_of(*nodes: onnx.NodeProto, functions: list[onnx.FunctionProto] | None = None) -> onnx.ModelProto:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, X.shape) for name in "xy")
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.acme", 1)]
    graph = helper.make_graph(list(nodes), "own", [x], [y])
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=functions or [])


@pytest.fixture
def registered():
    """Leaves the registry as it was."""
    before = dict(_CONVERTERS)
    yield
    _CONVERTERS.clear()
    _CONVERTERS.update(before)


def scaled_relu(context: Context, node: NodeView, operands: list[Value | None]) -> Value:
    factor = node.number("factor", 1.0)
    if factor < 0:
        raise Reject(f"a factor of {factor:g} is negative")
    x = operands[0]
    assert x is not None
    positive = context.emit(node, "relu", [x])
    return context.finish(node, "mul", [positive, context.number(node, factor, positive)])


@pytest.mark.usefixtures("registered")
def test_an_operator_of_ones_own() -> None:
    register_converter("ScaledRelu", domain="com.acme")(scaled_relu)
    node = helper.make_node("ScaledRelu", ["x"], ["y"], domain="com.acme", factor=2.5)
    np.testing.assert_allclose(evaluate(model_of(node), [X])[0], np.maximum(X, 0) * np.float32(2.5), rtol=1e-6)
    refused = helper.make_node("ScaledRelu", ["x"], ["y"], name="bad", domain="com.acme", factor=-1.0)
    with pytest.raises(UnsupportedModelError, match="ScaledRelu 'bad': a factor of -1 is negative"):
        from_onnx(model_of(refused))


@pytest.mark.usefixtures("registered")
def test_a_converter_is_replaced_only_when_told() -> None:
    assert "Relu" in converter_names()
    with pytest.raises(GraphError, match="'Relu' already has a converter"):
        register_converter("Relu")(scaled_relu)
    register_converter("Relu", replace=True)(scaled_relu)
    np.testing.assert_allclose(evaluate(model_of(helper.make_node("Relu", ["x"], ["y"])), [X])[0], np.maximum(X, 0))


def test_functions_of_the_model_and_of_onnx() -> None:
    body = [helper.make_node("Mish", ["a"], ["m"]), helper.make_node("Abs", ["m"], ["b"])]
    function = helper.make_function("com.acme", "AbsMish", ["a"], ["b"], body, [helper.make_opsetid("", 18)])
    model = model_of(helper.make_node("AbsMish", ["x"], ["y"], domain="com.acme"), functions=[function])
    model.opset_import[0].version = 18
    expected = np.abs(X * np.tanh(np.log1p(np.exp(X))))
    np.testing.assert_allclose(evaluate(model, [X])[0], expected, rtol=1e-5)


def test_inputs_that_must_be_constant_are_named_and_can_be_fixed() -> None:
    node = helper.make_node("Expand", ["x", "shape"], ["y"])
    model = model_of(node)
    model.graph.input.append(helper.make_tensor_value_info("shape", TensorProto.INT64, [3]))
    with pytest.raises(UnsupportedModelError, match="must be a constant") as caught:
        from_onnx(model)
    assert [item.needs for item in caught.value.items] == ["shape"]
    graph = from_onnx(model, constants={"shape": np.array([2, 3, 4])})
    assert graph.outputs[0].shape == (2, 3, 4)


@pytest.mark.parametrize("op", ["MaxPool", "ReduceMax", "Max", "Relu", "Min"])
def test_nan_is_never_lost(op: str) -> None:
    image = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    image[0, 0, 1, 1] = np.nan
    attrs = {"MaxPool": {"kernel_shape": [2, 2]}, "ReduceMax": {"axes": [2], "keepdims": 0}}.get(op, {})
    inputs = ["x", "x"] if op in ("Max", "Min") else ["x"]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, image.shape)
    y = onnx.ValueInfoProto(name="y")
    graph = helper.make_graph([helper.make_node(op, inputs, ["y"], **attrs)], "nan", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    found = evaluate(model, [image])[0]
    count = {"MaxPool": 4, "ReduceMax": 1}.get(op, 1)
    assert np.isnan(found).sum() == count
