"""Small clean-ups: identities vanish, chains of reshapes merge, an integer clip joins the producer's clip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from compiler.graph.ir import Graph, Node, Rewriter, Value, remove_dead, rewrite


def remove_identities(graph: Graph) -> Graph:
    """Drop identity (dropout included), reshapes to the same shape, unlimited clips, identity transposes; of reshapes
    in a row, and of transposes, one is left or none."""

    def visit(rewriter: Rewriter, node: Node, inputs: list[Value]) -> Value | None:
        x = inputs[0] if inputs else None
        if x is None:
            return None
        if node.op == "identity" or (node.op == "reshape" and x.shape == node.output.shape):
            return x
        if node.op == "clip" and x.dtype == "float32":
            return x if node.attrs["low"] == float("-inf") and node.attrs["high"] == float("inf") else None
        if node.op == "transpose" and tuple(node.attrs["perm"]) == tuple(range(len(x.shape))):
            return x
        before = x.producer
        if node.op == "reshape" and before is not None and before.op == "reshape":
            source = before.inputs[0]
            return source if source.shape == node.output.shape else rewriter.copy(node, [source])
        if node.op == "transpose" and before is not None and before.op == "transpose":
            source = before.inputs[0]
            perm = tuple(before.attrs["perm"][axis] for axis in node.attrs["perm"])
            if perm == tuple(range(len(perm))):
                return source
            return _in_place_of(node, rewriter, node, [source], perm=perm)
        return None

    return rewrite(graph, visit)


def _in_place_of(node: Node, rewriter: Rewriter, op: Node, inputs: Sequence[Value], **attrs: Any) -> Value:
    """Append `op` with other attributes; its output stands for the visited `node`'s."""
    out = node.output
    return rewriter.graph.op(
        op.op, inputs, {**op.attrs, **attrs}, name=op.name, output=out.name, origin=out.origin, quant=out.quant
    )


def fold_pads(graph: Graph) -> Graph:
    """A pad of height and width joins the convolution or maximum that reads it, if the fill value is the same."""

    def visit(rewriter: Rewriter, node: Node, inputs: list[Value]) -> Value | None:
        pad = inputs[0].producer if inputs else None
        if pad is None or pad.op != "pad" or node.op not in ("conv2d", "max_pool2d"):
            return None
        lowest = float("-inf") if inputs[0].dtype == "float32" else -128
        fill = node.attrs["pad_value"] if node.op == "conv2d" else lowest
        before, after = pad.attrs["before"], pad.attrs["after"]
        if pad.attrs["value"] != fill or any(before[:2]) or any(after[:2]):
            return None
        extra = (*before[2:], *after[2:])
        pads = tuple(a + b for a, b in zip(node.attrs["pads"], extra, strict=True))
        if node.op == "max_pool2d" and any(p >= k for p, k in zip(pads, node.attrs["kernel"] * 2, strict=True)):
            return None
        return _in_place_of(node, rewriter, node, [pad.inputs[0], *inputs[1:]], pads=pads)

    return rewrite(graph, visit)


def fold_integer_clip(graph: Graph) -> Graph:
    """clip on int8 moves into the limits of the requantize or qadd that alone feeds it: exact, both clip integers."""

    def visit(rewriter: Rewriter, node: Node, inputs: list[Value]) -> Value | None:
        producer = inputs[0].producer if inputs else None
        if node.op != "clip" or producer is None or producer.op not in ("requantize", "qadd"):
            return None
        low, high = (max(node.attrs["low"], producer.attrs["low"]), min(node.attrs["high"], producer.attrs["high"]))
        if rewriter.only_use(node.inputs[0]) is None or low > high:
            return None
        return _in_place_of(node, rewriter, producer, producer.inputs, low=low, high=high)

    return rewrite(graph, visit)


def eliminate_dead_code(graph: Graph) -> Graph:
    """Drop nodes whose output reaches no graph output."""
    remove_dead(graph)
    return graph
