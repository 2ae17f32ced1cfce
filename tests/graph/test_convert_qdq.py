"""The QDQ conversion on single patterns: each against the float graph it replaces, at most one step apart."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from compiler.graph.interpreter import evaluate
from compiler.graph.ir import Graph, Value
from compiler.graph.pipeline import to_integer
from tests.graph.qdq_builder import QdqBuilder

SHAPE = (2, 6, 8, 8)
STEP = 0.05


def window(kernel: int, stride: int, pad: int = 0) -> dict:
    return {"kernel": (kernel, kernel), "strides": (stride, stride), "pads": (pad,) * 4}


def check(build: Callable[[QdqBuilder, Value, Value], Value], step: float = STEP) -> Graph:
    """Convert build(builder, a, b) on two float inputs and compare with the unconverted graph."""
    builder = QdqBuilder()
    a, b = builder.graph.input("a", SHAPE, "float32"), builder.graph.input("b", SHAPE, "float32")
    graph = builder.done(build(builder, a, b))
    rng = np.random.default_rng(7)
    inputs = {name: rng.standard_normal(SHAPE, dtype=np.float32) * 2 for name in ("a", "b")}
    expected = evaluate(graph, inputs)["y0"]
    converted, _ = to_integer(graph)
    got = evaluate(converted, inputs)["y0"]
    assert np.abs(got - expected).max() <= step * 1.001
    assert (np.abs(got - expected) < step / 2).mean() >= 0.995
    return converted


def ops(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes]


def test_add_with_relu_becomes_one_qadd() -> None:
    def build(t: QdqBuilder, a: Value, b: Value) -> Value:
        total = t.graph.op("add", [t.q(a, 0.03, 5), t.q(b, 0.04713, -20)])
        return t.q(t.graph.op("relu", [total]), STEP, -100)

    graph = check(build)
    assert ops(graph) == ["quantize", "quantize", "qadd", "dequantize"]
    (node,) = (node for node in graph.nodes if node.op == "qadd")
    assert node.inputs[0].producer is not None and node.inputs[0].producer.inputs[0].name == "b"  # larger scale first
    assert node.attrs["low"] == -100 and node.attrs["high"] == 127
    assert abs(node.attrs["m2"]) < 1 << 17 and 0 <= node.attrs["k"] <= 21


@pytest.mark.parametrize(("scale_a", "scale_b"), [(0.04, 0.04), (0.04, 0.0001), (1e-4, 0.04), (0.021713, 0.039071)])
def test_add_of_any_pair_of_scales(scale_a: float, scale_b: float) -> None:
    check(lambda t, a, b: t.q(t.graph.op("add", [t.q(a, scale_a, 0), t.q(b, scale_b, 3)]), STEP, 1))


def test_add_of_a_tensor_to_itself() -> None:
    def build(t: QdqBuilder, a: Value, b: Value) -> Value:
        x = t.q(a, 0.03, 5)
        return t.q(t.graph.op("add", [x, x]), STEP, 0)

    check(build)


@pytest.mark.parametrize("low", [0.0, -1.0])
def test_convolution_with_padding_bias_and_clip(low: float) -> None:
    rng = np.random.default_rng(3)
    w = rng.integers(-127, 128, (4, 3, 3, 3))

    def build(t: QdqBuilder, a: Value, b: Value) -> Value:
        weight = t.weight(w, rng.uniform(0.001, 0.003, 4))
        bias = t.graph.const(rng.standard_normal(4, dtype=np.float32), "bias")
        attrs = {"strides": (2, 1), "pads": (1, 2, 0, 1), "groups": 2}
        conv = t.graph.op("conv2d", [t.q(a, 0.03, 17), weight, bias], attrs)
        return t.q(t.graph.op("clip", [conv], {"low": low, "high": 3.0}), STEP, -60)

    graph = check(build)
    assert ops(graph) == ["quantize", "conv2d", "requantize", "dequantize"]
    assert graph.nodes[1].attrs["pad_value"] == 17
    assert (graph.nodes[2].attrs["low"], graph.nodes[2].attrs["high"]) == (-60 + int(low / STEP), 0)


def test_averages_divide_in_the_requantisation() -> None:
    def build(t: QdqBuilder, a: Value, b: Value) -> Value:
        attrs = {**window(3, 2, 1), "count_include_pad": True}
        return t.q(t.graph.op("avg_pool2d", [t.q(a, 0.03, 17)], attrs), STEP, 4)

    assert ops(check(build)) == ["quantize", "avg_pool2d_sum", "requantize", "dequantize"]


def test_an_average_that_does_not_count_its_padding_stays_float() -> None:
    def build(t: QdqBuilder, a: Value, b: Value) -> Value:
        return t.q(t.graph.op("avg_pool2d", [t.q(a, 0.03, 17)], window(3, 2, 1)), STEP, 4)

    graph = check(build)
    (node,) = (node for node in graph.nodes if node.op == "avg_pool2d")
    assert node.reason is not None and "border" in node.reason


def test_moves_work_on_the_integers_as_they_are() -> None:
    def build(t: QdqBuilder, a: Value, b: Value) -> Value:
        x = t.graph.op("max_pool2d", [t.q(a, STEP, 9)], window(3, 2, 1))
        x = t.graph.op("transpose", [x], {"perm": (0, 2, 3, 1)})
        return t.q(t.graph.op("reshape", [x], {"shape": (2, 96)}), STEP, 9)

    assert ops(check(build)) == ["quantize", "max_pool2d", "transpose", "reshape", "dequantize"]


@pytest.mark.parametrize("flat", [False, True])
def test_a_change_of_scale_goes_through_int32(flat: bool) -> None:
    def build(t: QdqBuilder, a: Value, b: Value) -> Value:
        x = t.q(a, 0.03, 9)
        if flat:
            x = t.graph.op("reshape", [x], {"shape": (2, 384)})
        return t.q(t.graph.op("relu", [x]), STEP, -128)

    graph = check(build)
    assert "requantize" in ops(graph) and "relu" not in ops(graph)


def test_relu_on_equal_scales_joins_the_producers_clip() -> None:
    def build(t: QdqBuilder, a: Value, b: Value) -> Value:
        total = t.q(t.graph.op("add", [t.q(a, 0.03, 0), t.q(b, 0.03, 0)]), STEP, 2)
        return t.q(t.graph.op("relu", [total]), STEP, 2)

    graph = check(build)
    assert ops(graph) == ["quantize", "quantize", "qadd", "dequantize"]
    assert graph.nodes[2].attrs["low"] == 2


def test_relu_on_equal_scales_is_a_clip_when_the_producer_has_other_readers() -> None:
    def build(t: QdqBuilder, a: Value, b: Value) -> Value:
        total = t.q(t.graph.op("add", [t.q(a, 0.03, 0), t.q(b, 0.03, 0)]), STEP, 2)
        limited = t.q(t.graph.op("relu", [total]), STEP, 2)
        return t.q(t.graph.op("add", [limited, total]), STEP, 0)

    assert "clip" in ops(check(build))


def test_concat_brings_its_operands_to_one_scale() -> None:
    def build(t: QdqBuilder, a: Value, b: Value) -> Value:
        return t.q(t.graph.op("concat", [t.q(a, 0.03, 0), t.q(b, STEP, 2)], {"axis": 1}), STEP, 2)

    assert ops(check(build)).count("requantize") == 1


def test_operators_without_an_integer_form_stay_between_their_pairs() -> None:
    graph = check(lambda t, a, b: t.q(t.graph.op("sigmoid", [t.q(a, 0.03, 0)]), STEP, 0))
    assert ops(graph) == ["quantize", "dequantize", "sigmoid", "quantize", "dequantize"]


def test_a_float_reader_keeps_the_float_value() -> None:
    def build(t: QdqBuilder, a: Value, b: Value) -> Value:
        total = t.graph.op("add", [t.q(a, 0.03, 0), t.q(b, 0.03, 0)])
        return t.graph.op("mul", [t.graph.op("tanh", [total]), t.q(total, STEP, 0)])

    graph = check(build)
    assert "add" in ops(graph) and "qadd" in ops(graph)


def test_padding_moves_into_the_convolution() -> None:
    rng = np.random.default_rng(3)
    w = rng.integers(-127, 128, (4, 6, 3, 3))

    def build(t: QdqBuilder, a: Value, b: Value) -> Value:
        spread = {"before": (0, 0, 1, 0), "after": (0, 0, 1, 2), "value": 0.0}
        x = t.q(t.graph.op("pad", [t.q(a, 0.03, 17)], spread), 0.03, 17)
        conv = t.graph.op("conv2d", [x, t.weight(w, rng.uniform(0.001, 0.003, 4))], {"strides": (1, 1)})
        return t.q(conv, STEP, 0)

    graph = check(build)
    assert ops(graph) == ["quantize", "conv2d", "requantize", "dequantize"]
    assert (graph.nodes[1].attrs["pads"], graph.nodes[1].attrs["pad_value"]) == ((1, 0, 1, 2), 17)


def test_a_padding_that_is_no_integer_stays_float() -> None:
    def build(t: QdqBuilder, a: Value, b: Value) -> Value:
        spread = {"before": (0, 0, 1, 0), "after": (0, 0, 1, 2), "value": 0.011}
        return t.q(t.graph.op("pad", [t.q(a, 0.03, 17)], spread), 0.03, 17)

    assert "dequantize" in ops(check(build))[1]
