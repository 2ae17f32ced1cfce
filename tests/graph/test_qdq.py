"""QDQ models made by ONNX Runtime: the integer graph against the literal QDQ semantics, tensor by tensor."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import QuantType

from compiler.frontend.onnx_import import from_onnx
from compiler.graph.interpreter import evaluate
from compiler.graph.ir import Graph, Value
from compiler.graph.pipeline import to_integer
from compiler.graph.verify import verify
from compiler.ops import get_op
from tests.graph.helpers import normal_inputs, quantized_by_ort, run_ort
from vdla.models import mlp, mobile_tiny, resnet18, resnet_tiny

INT8, UINT8 = QuantType.QInt8, QuantType.QUInt8
FLOAT_OPS = {"conv2d", "dense", "add", "relu", "clip", "max_pool2d", "avg_pool2d", "reshape", "batch_norm"}


@lru_cache
def quantized(name: str, activations: QuantType, symmetric: bool = False) -> onnx.ModelProto:
    build = {
        "resnet_tiny": lambda: resnet_tiny(image=96),
        "mobile_tiny": lambda: mobile_tiny(image=96),
        "mlp": lambda: mlp(),
        "resnet18": lambda: resnet18(image=64),
    }[name]
    return quantized_by_ort(build(), activations, symmetric=symmetric)


def literal(model: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every quantised tensor of the model as ONNX Runtime computes it."""
    return run_ort(model, inputs, [n.output[0] for n in model.graph.node if n.op_type == "QuantizeLinear"])


def model_integers(value: Value, array: np.ndarray) -> np.ndarray:
    """A value in the model's own integers: uint8 tensors were shifted at import."""
    return array.astype(np.int32) + (value.quant.offset if value.quant is not None else 0)


def assert_integer(graph: Graph) -> None:
    verify(graph)
    floats = [node.op for node in graph.nodes if node.op in FLOAT_OPS and node.inputs[0].dtype == "float32"]
    assert floats == []


CASES = [
    ("resnet_tiny", INT8, False),
    ("resnet_tiny", UINT8, False),
    ("resnet_tiny", INT8, True),
    ("mobile_tiny", UINT8, False),
    ("mobile_tiny", INT8, False),
    ("resnet18", UINT8, False),
]


@pytest.mark.parametrize(("name", "activations", "symmetric"), CASES)
def test_every_layer_agrees_on_the_models_own_inputs(name: str, activations: QuantType, symmetric: bool) -> None:
    """Each operator, fed what ONNX Runtime feeds it, is at most 1 off, and equal for 99.5 % of a tensor (the
    multipliers have 17 bits; a network amplifies each difference, so whole-network equality is tested apart)."""
    model = quantized(name, activations, symmetric)
    graph, _ = to_integer(from_onnx(model))
    assert_integer(graph)
    inputs = normal_inputs(model)
    tensors = literal(model, inputs)
    known = {value.name: value for value in graph.values()}
    arrays: dict[str, np.ndarray] = dict(inputs)
    compared = 0
    for node in graph.nodes:
        operands = [value.const if value.const is not None else arrays[value.name] for value in node.inputs]
        result = get_op(node.op).reference(operands, node.attrs)
        value = known[node.output.name]
        if value.dtype == "int8":
            assert value.origin is not None
            expected = tensors[value.origin].astype(np.int32)
            difference = np.abs(model_integers(value, result) - expected)
            assert difference.max() <= 1, node.name
            assert (difference == 0).mean() >= 0.995 or np.count_nonzero(difference) <= 1, node.name
            result = (expected - (value.quant.offset if value.quant is not None else 0)).astype(np.int8)
            compared += 1
        arrays[value.name] = result
    assert compared == len({value.origin for value in known.values() if value.dtype == "int8" and value.producer})
    assert compared >= 9


@pytest.mark.parametrize("activations", [INT8, UINT8])
@pytest.mark.parametrize("name", ["resnet_tiny", "mobile_tiny"])
def test_a_whole_network_agrees(name: str, activations: QuantType) -> None:
    model = quantized(name, activations)
    graph, _ = to_integer(from_onnx(model))
    inputs = normal_inputs(model)
    tensors = literal(model, inputs)
    got = evaluate(graph, inputs, keep=True)
    equal = total = 0
    for value in graph.values():
        if value.producer is None or value.dtype != "int8":
            continue
        difference = np.abs(model_integers(value, got[value.name]) - tensors[value.origin or ""].astype(np.int32))
        assert difference.max() <= 1, value.name
        equal += int((difference == 0).sum())
        total += difference.size
    assert equal / total >= 0.99


@pytest.mark.parametrize("activations", [INT8, UINT8])
def test_dense_layers_with_a_float_softmax(activations: QuantType) -> None:
    model = quantized("mlp", activations)
    graph, _ = to_integer(from_onnx(model))
    assert sum(node.op == "requantize" for node in graph.nodes) == 2
    inputs = normal_inputs(model)
    assert np.abs(evaluate(graph, inputs)["y"] - run_ort(model, inputs)["y"]).max() <= 2 / 255


def test_output_names_are_the_models() -> None:
    model = quantized("resnet_tiny", UINT8)
    graph, _ = to_integer(from_onnx(model))
    assert graph.output_names == [output.name for output in model.graph.output]


def test_asymmetric_weights_stay_float_with_the_reason_and_the_right_result() -> None:
    model = quantized_by_ort(resnet_tiny(), UINT8, UINT8, per_channel=False)
    graph, _ = to_integer(from_onnx(model))
    floats = [node for node in graph.nodes if node.op == "conv2d" and node.inputs[0].dtype == "float32"]
    assert floats and all("not symmetric" in (node.reason or "") for node in floats)
    inputs = normal_inputs(model)
    expected = run_ort(model, inputs)["y"]
    assert np.abs(evaluate(graph, inputs)["y"] - expected).max() <= 0.02 * np.abs(expected).max()
