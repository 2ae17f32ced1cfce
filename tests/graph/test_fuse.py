"""Fusion by class: what joins, what must not, and that the groups can run in their order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.frontend.onnx_import import from_onnx
from compiler.graph.fuse import FusedGroup, fuse, pattern_of, post_dominators
from compiler.graph.ir import Graph, Value, remove_dead
from compiler.graph.pipeline import to_integer
from compiler.ops import Pattern
from vdla.models import resnet_tiny

SHAPE = (1, 4, 6, 6)


def start() -> tuple[Graph, Value]:
    graph = Graph("g")
    return graph, graph.input("x", SHAPE, "float32")


def conv(graph: Graph, x: Value) -> Value:
    weight = graph.const(np.zeros((4, 4, 1, 1), np.float32), "w")
    return graph.op("conv2d", [x, weight], {"strides": (1, 1)})


def texts(graph: Graph, **options) -> list[str]:
    return [" ".join(node.op for node in group.nodes) for group in fuse(graph, **options)]


def check(graph: Graph, groups: list[FusedGroup]) -> None:
    """Every node once; one output a group; each group reads only what is there when it runs; never two operators of
    the classes above injective, but for reductions along rows."""
    assert sorted(map(id, (n for g in groups for n in g.nodes))) == sorted(map(id, graph.nodes))
    ready = set(graph.inputs)
    for group in groups:
        assert len(group.outputs) == 1
        assert all(value.const is not None or value in ready for value in group.inputs)
        assert len({node.target for node in group.nodes}) == 1
        heavy = [node for node in group.nodes if pattern_of(node) is not Pattern.INJECTIVE]
        assert len(heavy) <= 1 or all(pattern_of(node) is Pattern.REDUCTION for node in heavy)
        ready.add(group.output)
    assert ready >= set(graph.outputs)


def test_a_residual_network_fuses_to_one_kernel_a_layer() -> None:
    graph, _ = to_integer(from_onnx(resnet_tiny()))
    groups = fuse(graph)
    check(graph, groups)
    assert [str(group) for group in groups][:5] == [
        "x.quantize: quantize",
        "conv1: conv2d + requantize",
        "maxpool: max_pool2d",
        "layer1.0.conv1: conv2d + requantize",
        "layer1.0.conv2: conv2d + requantize + qadd",
    ]
    block = groups[4]
    assert block.anchor.op == "conv2d" and block.pattern is Pattern.COMPLEX
    assert [value.name for value in block.inputs if value.const is None] == ["layer1.0.relu1.q", "maxpool.int8"]
    assert block.output.name == "layer1.0.relu.q"


def test_fusion_can_be_switched_off() -> None:
    graph, _ = to_integer(from_onnx(resnet_tiny()))
    groups = fuse(graph, enabled=False)
    check(graph, groups)
    assert [group.nodes for group in groups] == [[node] for node in graph.nodes]


def test_injective_operators_join_across_a_diamond() -> None:
    graph, x = start()
    a = graph.op("tanh", [x])
    graph.mark_output(graph.op("add", [graph.op("exp", [a]), graph.op("sigmoid", [a])]))
    assert texts(graph) == ["tanh exp sigmoid add"]


def test_a_branch_with_a_convolution_keeps_the_diamond_apart() -> None:
    graph, x = start()
    a = graph.op("tanh", [x])
    graph.mark_output(graph.op("add", [conv(graph, a), graph.op("exp", [a])]))
    groups = fuse(graph)
    check(graph, groups)
    # The convolution takes the sum; tanh is read by both branches, and exp cannot join a kernel with an anchor.
    assert sorted(" ".join(n.op for n in g.nodes) for g in groups) == ["conv2d add", "exp", "tanh"]


def test_two_convolutions_never_share_a_kernel() -> None:
    graph, x = start()
    graph.mark_output(graph.op("relu", [graph.op("add", [conv(graph, x), conv(graph, x)])]))
    assert sorted(texts(graph)) == ["conv2d", "conv2d add relu"]


def test_a_convolution_does_not_take_its_input_maps() -> None:
    graph, x = start()
    graph.mark_output(conv(graph, graph.op("relu", [x])))
    assert texts(graph) == ["relu", "conv2d"]


def test_a_graph_output_is_not_swallowed() -> None:
    graph, x = start()
    y = conv(graph, x)
    graph.mark_output(graph.op("relu", [y]))
    graph.mark_output(y)
    assert texts(graph) == ["conv2d", "relu"]


def test_a_reduction_takes_the_maps_before_it_but_none_after() -> None:
    graph, x = start()
    y = graph.op("reduce_sum", [graph.op("exp", [graph.op("tanh", [x])])], {"axes": (1,)})
    graph.mark_output(graph.op("sqrt", [y]))
    assert texts(graph) == ["tanh exp reduce_sum", "sqrt"]


def layer_norm(graph: Graph, x: Value) -> Value:
    mean = graph.op("reduce_mean", [x], {"axes": (3,)})
    centred = graph.op("sub", [x, mean])
    variance = graph.op("reduce_mean", [graph.op("mul", [centred, centred])], {"axes": (3,)})
    return graph.op("div", [centred, graph.op("sqrt", [variance])])


def test_reductions_along_rows_are_one_kernel_where_that_is_asked_for() -> None:
    graph, x = start()
    total = graph.op("add", [x, graph.op("relu", [layer_norm(graph, graph.op("exp", [x]))])])
    graph.mark_output(total)
    apart = texts(graph)
    assert apart == ["exp", "reduce_mean", "sub", "mul reduce_mean", "sqrt div relu add"]
    assert texts(graph, rows=lambda _: False) == apart
    # Each step of the growth is asked about, the nodes that it would have in their order.
    whole = "exp reduce_mean sub mul reduce_mean sqrt div relu add"
    assert texts(graph, rows=lambda _: True) == [whole]
    assert texts(graph, rows=lambda _: True, allow=lambda group: len(group.nodes) < 5) == [
        "exp reduce_mean sub", "mul reduce_mean", "sqrt div relu add",
    ]  # fmt: skip


def test_a_mean_that_is_a_graph_output_stays_alone() -> None:
    graph, x = start()
    graph.mark_output(layer_norm(graph, x))
    graph.mark_output(graph.nodes[0].output)
    assert texts(graph, rows=lambda _: True)[0] == "reduce_mean"


def test_opaque_operators_stay_alone() -> None:
    graph, x = start()
    ramp = graph.op("cumulative", [graph.op("tanh", [x])], {"axis": 1})
    graph.mark_output(graph.op("exp", [ramp]))
    assert texts(graph) == ["tanh", "cumulative", "exp"]


@pytest.mark.parametrize("op", ["reshape", "transpose"])
def test_moves_do_not_follow_a_convolution(op: str) -> None:
    graph, x = start()
    attrs = {"shape": (4, 36)} if op == "reshape" else {"perm": (0, 1, 3, 2)}
    graph.mark_output(graph.op(op, [conv(graph, x)], attrs))
    assert texts(graph) == ["conv2d", op]


def test_groups_never_span_targets() -> None:
    graph, x = start()
    graph.mark_output(graph.op("relu", [graph.op("exp", [conv(graph, x)])]))
    for node, target in zip(graph.nodes, ("fast", "fast", "slow"), strict=True):
        node.target = target
    assert texts(graph) == ["conv2d exp", "relu"]


def test_a_veto_stops_a_group_where_it_is() -> None:
    graph, x = start()
    graph.mark_output(graph.op("exp", [graph.op("relu", [conv(graph, x)])]))
    assert texts(graph, allow=lambda group: len(group.nodes) <= 2) == ["conv2d relu", "exp"]


def test_post_dominators_of_a_diamond() -> None:
    graph, x = start()
    a = graph.op("tanh", [x])
    b, c = graph.op("exp", [a]), graph.op("relu", [a])
    d = graph.op("add", [b, c])
    graph.mark_output(d)
    found = {node.op: end and end.op for node, end in post_dominators(graph).items()}
    assert found == {"tanh": "add", "exp": "add", "relu": "add", "add": None}


@settings(max_examples=80)
@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 99), st.integers(0, 99)), min_size=1, max_size=14), st.data()
)
def test_random_graphs_fuse_to_groups_that_can_run(steps: list[tuple[int, int, int]], data: st.DataObject) -> None:
    graph, x = start()
    values = [x]
    for kind, first, second in steps:
        a, b = values[first % len(values)], values[second % len(values)]
        if kind == 0:
            values.append(conv(graph, a))
        elif kind == 1:
            values.append(graph.op("softmax", [a], {"axis": 1}))
        elif kind == 6:
            values.append(graph.op("add", [a, graph.op("reduce_mean", [b], {"axes": (3,)})]))
        elif kind == 2:
            values.append(graph.op("relu", [a]))
        else:
            values.append(graph.op("add", [a, b]))
    graph.mark_output(values[-1])
    if data.draw(st.booleans()):
        graph.mark_output(data.draw(st.sampled_from(values[1:])), "extra")
    for node in graph.nodes:
        node.target = data.draw(st.sampled_from(["a", "a", "b"]))
    remove_dead(graph)
    check(graph, fuse(graph))
    check(graph, fuse(graph, rows=lambda group: data.draw(st.booleans())))
