"""Partition by target, with reasons; layouts around the targets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from compiler.errors import LayoutError, TargetError
from compiler.frontend.onnx_import import from_onnx
from compiler.graph.fuse import FusedGroup
from compiler.graph.interpreter import evaluate
from compiler.graph.ir import Graph, Node
from compiler.graph.partition import fuse_on_targets, partition
from compiler.graph.passes.layout import insert_layout_transforms
from compiler.graph.pipeline import to_integer
from compiler.graph.verify import verify
from compiler.target import NodeLayouts, Target, get_target, register_target, target_names
from tests.graph.helpers import normal_inputs
from vdla.models import mlp, resnet_tiny

PACKED = "NCHW1n16c"


class Anything(Target):
    """Takes every operator, in the default layout."""

    name = "anything"

    def supports(self, node: Node) -> str | None:
        return None

    def compile(self, group: FusedGroup, **options: Any) -> str:
        return str(group)


class Integers(Anything):
    """Takes int8 convolutions and what follows them, on packed tensors; refuses groups of more than `limit` nodes."""

    name = "integers"

    def __init__(self, limit: int = 9, refuse: str = "") -> None:
        self.limit, self.refuse = limit, refuse

    def supports(self, node: Node) -> str | None:
        if node.op in ("conv2d", "requantize", "qadd", "max_pool2d"):
            return None
        return f"{node.op} is not a convolution"

    def supports_group(self, group: FusedGroup) -> str | None:
        if group.name == self.refuse:
            return "it does not fit"
        if group.nodes[0].op == "requantize" or group.nodes[-1].output.dtype == "int32":
            return "it has no 32-bit tensors"
        return f"more than {self.limit} nodes" if len(group.nodes) > self.limit else None

    def preferred_layouts(self, node: Node) -> NodeLayouts:
        inputs = tuple(None if value.const is not None else PACKED for value in node.inputs)
        return NodeLayouts(inputs, PACKED)


def integer_graph() -> Graph:
    return to_integer(from_onnx(resnet_tiny()))[0]


def test_nodes_go_to_the_first_target_that_takes_them_with_reasons() -> None:
    graph = integer_graph()
    groups = partition(graph, [Integers(), Anything()])
    by_op = {node.op: (node.target, node.reason) for node in graph.nodes}
    assert by_op["conv2d"] == ("integers", None) and by_op["qadd"] == ("integers", None)
    assert by_op["dense"] == ("anything", "integers: dense is not a convolution")
    assert all(group.target == group.anchor.target for group in groups)


def test_a_refused_group_moves_on_with_the_reason_that_stopped_it() -> None:
    """The convolution alone would leave 32-bit results; the user is told why it is alone."""
    graph = integer_graph()
    groups = partition(graph, [Integers(refuse="layer1.0.conv2"), Anything()])
    moved = [node for node in graph.nodes if node.reason == "integers: it does not fit"]
    assert [node.op for node in moved] == ["conv2d", "requantize"]
    (group,) = (group for group in groups if group.name == "layer1.0.conv2")
    assert (str(group), group.target) == ("layer1.0.conv2: conv2d + requantize", "anything")
    (add,) = (node for node in graph.nodes if node.name == "layer1.0.add")
    assert add.target == "integers"


def test_a_target_limits_how_far_a_group_grows() -> None:
    graph = integer_graph()
    groups = partition(graph, [Integers(limit=2), Anything()])
    assert all(len(group.nodes) <= 2 for group in groups if group.target == "integers")
    assert all(node.target == "integers" for node in graph.nodes if node.op in ("conv2d", "qadd"))


def test_the_conversions_reason_is_kept_beside_the_targets() -> None:
    graph, _ = to_integer(from_onnx(mlp()))
    partition(graph, [Integers(), Anything()])
    (softmax,) = (node for node in graph.nodes if node.op == "softmax")
    assert softmax.reason == "integers: softmax is not a convolution"


def test_no_target_takes_a_node() -> None:
    with pytest.raises(TargetError, match="no target takes quantize 'x.quantize' .*not a convolution"):
        partition(integer_graph(), [Integers()])


def test_the_registry_of_targets() -> None:
    register_target(Anything(), replace=True)
    assert get_target("anything").name in target_names()
    with pytest.raises(TargetError, match="already registered"):
        register_target(Anything())
    with pytest.raises(TargetError, match="no target 'nothing'; registered are: .*anything"):
        get_target("nothing")


def laid_out() -> tuple[Graph, Graph]:
    graph = integer_graph()
    targets = [Integers(), Anything()]
    partition(graph, targets)
    return graph, insert_layout_transforms(graph, {target.name: target for target in targets})


def test_layouts_convert_only_at_the_borders_between_targets() -> None:
    graph, packed = laid_out()
    verify(packed)
    transforms = [node for node in packed.nodes if node.op == "layout_transform"]
    assert [(node.attrs["source"], node.attrs["target"]) for node in transforms] == [("NCHW", PACKED), (PACKED, "NCHW")]
    inputs = normal_inputs(resnet_tiny())
    np.testing.assert_array_equal(evaluate(packed, inputs)["y"], evaluate(graph, inputs)["y"])
    (pool,) = (node for node in packed.nodes if node.op == "max_pool2d")
    assert pool.output.layout == PACKED and pool.output.storage_shape == (1, 1, 8, 8, 1, 16)
    assert pool.output.nbytes == 16 * 64


def test_fusing_again_after_layout_keeps_the_targets_limits() -> None:
    graph = integer_graph()
    targets = [Integers(limit=2), Anything()]
    first = partition(graph, targets)
    packed = insert_layout_transforms(graph, {target.name: target for target in targets})
    again = fuse_on_targets(packed, targets)
    expected = [str(group) for group in first if group.target == "integers"]
    assert [str(group) for group in again if group.target == "integers" and "layout" not in str(group)] == expected


def test_an_output_of_the_graph_is_converted_and_its_readers_are_not() -> None:
    graph = Graph("g")
    x = graph.input("x", (1, 3, 4, 4), "int8")
    window = {"kernel": (2, 2), "strides": (1, 1)}
    y = graph.op("max_pool2d", [x], window)
    graph.mark_output(y, "first")
    graph.mark_output(graph.op("max_pool2d", [y], window), "second")
    targets = [Integers()]
    partition(graph, targets)
    packed = insert_layout_transforms(graph, {"integers": targets[0]}, transform_target="host")
    assert [node.op for node in packed.nodes].count("layout_transform") == 3
    assert all(value.layout == "NCHW" for value in packed.outputs)
    pools = [node for node in packed.nodes if node.op == "max_pool2d"]
    assert pools[1].inputs[0] is pools[0].output
    assert {node.target for node in packed.nodes if node.op == "layout_transform"} == {"host"}


def test_constants_are_laid_out_at_compile_time() -> None:
    class Tiled(Integers):
        def preferred_layouts(self, node: Node) -> NodeLayouts:
            weight = "OIHW16o16i" if node.op == "conv2d" else None
            return NodeLayouts((PACKED, weight)[: len(node.inputs)], PACKED)

    graph = Graph("g")
    x = graph.input("x", (1, 3, 4, 4), "int8")
    w = graph.const(np.arange(60, dtype=np.int8).reshape(20, 3, 1, 1), "w")
    graph.mark_output(graph.op("conv2d", [x, w], {"strides": (1, 1)}), "y")
    target = Tiled()
    graph.nodes[0].target = target.name
    packed = insert_layout_transforms(graph, {"integers": target})
    (node,) = (node for node in packed.nodes if node.op == "conv2d")
    stored = node.inputs[1].storage()
    assert stored.shape == (2, 1, 1, 1, 16, 16)
    assert stored[1, 0, 0, 0, 3, 2] == w.storage()[19, 2, 0, 0] and not stored[1, 0, 0, 0, 4:].any()


def test_a_layout_that_does_not_fit_the_rank_is_refused() -> None:
    class Wrong(Integers):
        def preferred_layouts(self, node: Node) -> NodeLayouts:
            return NodeLayouts(("NC16c",), "NC16c")

    graph = Graph("g")
    x = graph.input("x", (1, 3, 4, 4), "int8")
    graph.mark_output(graph.op("max_pool2d", [x], {"kernel": (1, 1), "strides": (1, 1)}))
    partition(graph, [Wrong()])
    with pytest.raises(LayoutError, match="has 2 axes"):
        insert_layout_transforms(graph, {"integers": Wrong()})
