"""Schedules drawn from a group's expressions: all of them compute the same, and the default is the first."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from compiler.backend.cpu import CpuTarget
from compiler.graph.fuse import FusedGroup, fuse
from compiler.graph.interpreter import evaluate
from compiler.graph.ir import Graph
from compiler.tune.space import ConfigSpace
from tests.compiler.cpu.harness import execute
from tests.compiler.cpu.test_spaces import One

Case = tuple[str, list[tuple[int, ...]], dict[str, Any]]
_CONVOLUTION = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1)}
CASES: dict[str, Case] = {
    "softmax": ("softmax", [(3, 5, 37)], {"axis": 2}),
    "softmax of columns": ("softmax", [(2, 12, 32)], {"axis": 1}),
    "mean of rows": ("reduce_mean", [(6, 4, 75)], {"axes": (2,), "keepdims": False}),
    "mean of columns": ("reduce_mean", [(5, 9, 48)], {"axes": (1,), "keepdims": True}),
    "maximum of planes": ("reduce_max", [(4, 16, 3, 70)], {"axes": (2, 3), "keepdims": False}),
    "elements": ("exp", [(6, 15, 48)], {}),
    "broadcast": ("add", [(6, 40, 32), (40, 1)], {}),
    "joined": ("concat", [(70, 24), (70, 40)], {"axis": 1}),
    "grouped": ("conv2d", [(1, 6, 6, 8), (12, 3, 3, 3)], {**_CONVOLUTION, "groups": 2}),
}


def drawn(case: str) -> tuple[Graph, dict[str, np.ndarray], FusedGroup, ConfigSpace]:
    """A graph of one group, its inputs, and the group's space."""
    op, shapes, attrs = CASES[case]
    rng = np.random.default_rng(0)
    graph = Graph(op)
    feeds = {f"x{k}": rng.normal(size=shape).astype(np.float32) for k, shape in enumerate(shapes)}
    values = [graph.input(name, array.shape, "float32") for name, array in feeds.items()]
    result = graph.op(op, values, attrs)
    graph.mark_output(graph.op("relu", [result]) if op == "conv2d" else result)
    for node in graph.nodes:
        node.target = "cpu"
    (group,) = fuse(graph)
    space = CpuTarget().space(group)
    assert space is not None
    return graph, feeds, group, space


@pytest.mark.parametrize("case", CASES)
def test_every_schedule_computes_the_same(case: str) -> None:
    graph, feeds, group, space = drawn(case)
    points = space.valid_indices()
    assert points[0] == 0 and 20 < len(points) < 5000
    (want,) = evaluate(graph, feeds).values()
    # Each value of each knob but the tile at least once, and two more.
    order = np.random.default_rng(1).permutation(points).tolist()
    chosen, seen = order[:2], set()
    for point in order:
        values = {(name, value) for name, value in space.values(point).items() if name != "tile"}
        if not values <= seen:
            chosen.append(point)
            seen |= values
    for point in chosen:
        kernel = CpuTarget(tuned=One(group, space.entity(point))).compile(group)
        (got,) = execute([kernel], graph, feeds)
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5, err_msg=str(space.values(point)))


@pytest.mark.parametrize("case", CASES)
def test_the_first_point_is_the_default(case: str) -> None:
    _, _, group, space = drawn(case)
    assert space.values(0)["schedule"] == "general rules"
    first = CpuTarget(tuned=One(group, space.entity(0))).compile(group)
    assert repr(first.func) == repr(CpuTarget().compile(group).func)
