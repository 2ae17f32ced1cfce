"""Reshapes behind element-wise operators: what moves, what stays, and that nothing changes in value."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from compiler.frontend.onnx_import import from_onnx
from compiler.graph.fuse import fuse
from compiler.graph.interpreter import evaluate
from compiler.graph.ir import Graph, Value
from compiler.graph.pass_manager import PassManager
from compiler.graph.passes.sink_reshapes import sink_reshapes
from compiler.graph.pipeline import float_passes
from compiler.graph.verify import verify
from tests.graph.test_passes import assert_equal, ops, randoms


def flat(graph: Graph) -> tuple[Value, Value]:
    """An input [6,4], and it as [2,3,4]."""
    x = graph.input("x", (6, 4), "float32")
    return x, graph.op("reshape", [x], {"shape": (2, 3, 4)})


def test_a_bias_and_an_activation_come_first() -> None:
    graph = Graph("g")
    _, y = flat(graph)
    y = graph.op("add", [graph.const(randoms(4), "bias"), y])
    gate = graph.op("sigmoid", [graph.op("mul", [y, graph.const(np.full((1, 1, 1), 1.7, np.float32), "c")])])
    graph.mark_output(graph.op("mul", [y, gate]), "y")
    after = sink_reshapes(graph)
    verify(after)
    assert ops(after) == ["add", "mul", "sigmoid", "mul", "reshape"]
    assert_equal(graph, after)


@pytest.mark.parametrize("shape", [(3, 1), (2, 1, 1), (2, 3, 4), (3, 4)])
def test_constants_of_other_axes_keep_the_reshape(shape: tuple[int, ...]) -> None:
    graph = Graph("g")
    _, y = flat(graph)
    graph.mark_output(graph.op("add", [y, graph.const(randoms(*shape), "c")]))
    assert ops(sink_reshapes(graph)) == ["reshape", "add"]


def test_a_last_axis_that_changes_keeps_the_reshape() -> None:
    graph = Graph("g")
    x = graph.input("x", (6, 4), "float32")
    y = graph.op("reshape", [x], {"shape": (12, 2)})
    graph.mark_output(graph.op("add", [y, graph.const(randoms(2), "c")]))
    graph.mark_output(graph.op("relu", [y]))
    assert ops(sink_reshapes(graph)) == ["reshape", "add", "relu", "reshape"]


def test_different_origins_and_broadcasts_keep_the_reshape() -> None:
    graph = Graph("g")
    x, y = flat(graph)
    other = graph.op("reshape", [graph.op("reshape", [x], {"shape": (24,)})], {"shape": (2, 3, 4)})
    row = graph.op("reshape", [graph.input("r", (4,), "float32")], {"shape": (1, 1, 4)})
    graph.mark_output(graph.op("mul", [graph.op("add", [y, other]), row]))
    assert ops(sink_reshapes(graph)) == ops(graph)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=10))
def test_random_graphs(steps: list[tuple[int, int, int]]) -> None:
    graph = Graph("g")
    values = list(flat(graph))
    shapes = [(6, 4), (2, 3, 4), (8, 3), (1, 6, 4)]
    for index, (kind, first, second) in enumerate(steps):
        a = values[first % len(values)]
        alike = [value for value in values if value.shape == a.shape]
        if kind == 0:
            values.append(graph.op("reshape", [a], {"shape": shapes[second % len(shapes)]}))
        elif kind == 1:
            values.append(graph.op("tanh", [a]))
        elif kind == 2:
            values.append(graph.op("sub", [a, alike[second % len(alike)]]))
        else:
            constant = randoms(*a.shape[second % (len(a.shape) + 1) :], seed=index)
            values.append(graph.op("mul", [graph.const(constant, f"c{index}"), a]))
    for index, value in enumerate(values[2:]):
        graph.mark_output(value, f"y{index}")
    after = sink_reshapes(graph)
    verify(after)
    assert [value.shape for value in after.outputs] == [value.shape for value in graph.outputs]
    assert_equal(graph, after)


def test_a_product_of_a_batch_is_one_kernel_with_its_bias_and_activation() -> None:
    """MatMul [2,5,8] x [8,6], Add, Relu, as a transformer has it: a dense layer, its bias folded."""
    weight, bias = randoms(8, 6, seed=1), randoms(6, seed=2)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Add", ["b", "m"], ["a"]),
        helper.make_node("Relu", ["a"], ["y"]),
    ]
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", (2, 5, 8)), ("y", (2, 5, 6)))
    )
    constants = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")]
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], constants), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    before = from_onnx(model)
    after = PassManager(float_passes()).run(before)
    assert [" ".join(node.op for node in group.nodes) for group in fuse(after)] == ["reshape", "dense relu", "reshape"]
    assert_equal(before, after)
    given_x = randoms(2, 5, 8, seed=9)
    np.testing.assert_allclose(evaluate(after, {"x": given_x})["y"], np.maximum(given_x @ weight + bias, 0), atol=1e-5)
