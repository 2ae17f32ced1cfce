"""How much a fused group computes and moves, by its operators' definitions: what a roofline is drawn from."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from compiler.graph.fuse import FusedGroup
from compiler.graph.ir import Node, Value


@dataclass(frozen=True)
class Work:
    """Arithmetic operations (a multiply-accumulate is two), and bytes of everything read and written once."""

    operations: int
    bytes: int


def _convolution(node: Node) -> int:
    """Of the definition, whichever algorithm computes it."""
    window = math.prod(node.inputs[1].shape[1:])
    return 2 * math.prod(node.output.shape) * window


def _transposed(node: Node) -> int:
    return 2 * math.prod(node.inputs[0].shape) * math.prod(node.inputs[1].shape[1:])


def _product(node: Node) -> int:
    return 2 * math.prod(node.output.shape) * node.inputs[0].shape[-1]


def _recurrence(node: Node) -> int:
    """The products with the recurrent weight; gates are few beside them."""
    steps, batch, _ = node.inputs[0].shape
    return 2 * steps * batch * math.prod(node.inputs[1].shape)


def _window(node: Node) -> int:
    return math.prod(node.output.shape) * math.prod(node.attrs["kernel"])


def _reduction(node: Node) -> int:
    return math.prod(node.inputs[0].shape)


_OPERATIONS: dict[str, Callable[[Node], int]] = {
    "conv2d": _convolution,
    "conv_nd": _convolution,
    "conv_transpose": _transposed,
    "dense": _product,
    "matmul": _product,
    "lstm": _recurrence,
    "gru": _recurrence,
    "rnn": _recurrence,
    "max_pool2d": _window,
    "max_pool_nd": _window,
    "sum_pool_nd": _window,
    "avg_pool2d": _window,
    "avg_pool2d_sum": _window,
    "reduce_sum": _reduction,
    "reduce_max": _reduction,
    "reduce_mean": _reduction,
}
_MOVES = frozenset(("reshape", "transpose", "pad", "concat", "slice", "layout_transform", "identity"))


def group_work(group: FusedGroup) -> Work:
    """The work of a group.  Operators without a rule count one operation an element of their output, those that only
    move data none."""
    operations = 0
    for node in group.nodes:
        if node.op not in _MOVES:
            count = _OPERATIONS.get(node.op)
            operations += math.prod(node.output.shape) if count is None else count(node)
    return Work(operations, sum(value.nbytes for value in group.outputs) + sum(_read(group, v) for v in group.inputs))


def _read(group: FusedGroup, value: Value) -> int:
    """Bytes of an input that are read: of a table from which elements are gathered no more than those."""
    users = [node for node in group.nodes if value in node.inputs]
    if any(node.op != "gather" or node.inputs[0] is not value for node in users):
        return value.nbytes
    return min(value.nbytes, sum(node.output.nbytes for node in users))
