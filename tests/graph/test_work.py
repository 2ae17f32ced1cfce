"""Operations and bytes of groups, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.graph.fuse import fuse
from compiler.graph.ir import Graph, Value
from compiler.graph.work import group_work


def work(graph: Graph, output: Value) -> tuple[int, int]:
    """Of the only group."""
    graph.mark_output(output)
    (group,) = fuse(graph)
    return (found := group_work(group)).operations, found.bytes


def zeros(graph: Graph, *shape: int) -> Value:
    return graph.const(np.zeros(shape, np.float32), "w")


def test_transposed_convolution() -> None:
    graph = Graph("g")
    x = graph.input("x", (1, 3, 4, 4), "float32")
    attrs = {"strides": (2, 2), "pads": (1, 1), "dilations": (1, 1), "shape": (8, 8)}
    y = graph.op("conv_transpose", [x, zeros(graph, 3, 5, 4, 4)], attrs)
    # Each of 48 inputs is multiplied with 5 x 4 x 4 weights.
    assert work(graph, y) == (2 * 48 * 80, 4 * (48 + 240 + 320))


@pytest.mark.parametrize("op, gates, states", [("lstm", 4, 2), ("rnn", 1, 1)])
def test_recurrence(op: str, gates: int, states: int) -> None:
    graph = Graph("g")
    x = graph.input("x", (6, 2, gates * 8), "float32")
    kinds = tuple(("Tanh", 0.0, 0.0) for _ in range(3 if op == "lstm" else 1))
    inputs = [x, zeros(graph, gates * 8, 8), *(zeros(graph, 2, 8) for _ in range(states))]
    operations, _ = work(graph, graph.op(op, inputs, {"activations": kinds}))
    assert operations == 2 * 6 * 2 * gates * 8 * 8


def test_of_a_table_what_is_gathered() -> None:
    graph = Graph("g")
    at = graph.input("at", (3,), "int64")
    assert work(graph, graph.op("gather", [zeros(graph, 100, 10), at], {"axis": 0})) == (30, 3 * 8 + 2 * 30 * 4)
