"""Folds what follows a convolution, its transpose or a dense layer linearly into weight and bias: batch norm, constant
add."""

from __future__ import annotations

import numpy as np

from compiler.graph.ir import Graph, Node, Rewriter, Value, rewrite

_LINEAR = ("conv2d", "conv_transpose", "dense")


def _linear(rewriter: Rewriter, old: Value, new: Value) -> Node | None:
    """The float layer with constant operands that alone feeds the visited node."""
    producer = new.producer
    if producer is None or producer.op not in _LINEAR or rewriter.only_use(old) is None:
        return None
    return producer if all(value.const is not None for value in producer.inputs[1:]) else None


def _rebuild(rewriter: Rewriter, linear: Node, node: Node, weight: np.ndarray, bias: np.ndarray) -> Value:
    """Append the layer with another weight and bias; its output takes the visited node's name."""
    graph, out = rewriter.graph, node.output
    w = graph.const(weight.astype(np.float32, copy=False), f"{linear.name}.weight.folded")
    b = graph.const(bias.astype(np.float32), f"{linear.name}.bias.folded")
    inputs = [linear.inputs[0], w, b]
    return graph.op(linear.op, inputs, linear.attrs, name=linear.name, output=out.name, origin=out.origin)


def _weight_and_bias(linear: Node) -> tuple[np.ndarray, np.ndarray]:
    weight = linear.inputs[1].const
    assert weight is not None
    bias = linear.inputs[2].const if len(linear.inputs) == 3 else None
    if bias is None:
        bias = np.zeros(linear.output.shape[1], dtype=np.float32)
    return weight, bias.astype(np.float64)


def _scaled(linear: Node, weight: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """The weight that gives every output channel `gain` times as much."""
    if linear.op != "conv_transpose":
        return weight * gain.reshape(-1, *[1] * (weight.ndim - 1))
    # [C, O/groups, ...]: the output channels of a group lie beside its input channels.
    groups = linear.attrs["groups"]
    grouped = weight.reshape(groups, -1, *weight.shape[1:])
    return (grouped * gain.reshape(groups, 1, -1, *[1] * (weight.ndim - 2))).reshape(weight.shape)


def fold_batch_norm(graph: Graph) -> Graph:
    """y = (conv(x) - mean) * g + beta becomes one convolution with weight * g and bias (b - mean) * g + beta."""

    def visit(rewriter: Rewriter, node: Node, inputs: list[Value]) -> Value | None:
        if node.op != "batch_norm":
            return None
        linear = _linear(rewriter, node.inputs[0], inputs[0])
        params = [value.const.astype(np.float64) for value in inputs[1:] if value.const is not None]
        if linear is None or len(params) != 4:
            return None
        scale, beta, mean, variance = params
        gain = scale / np.sqrt(variance + node.attrs["epsilon"])
        weight, bias = _weight_and_bias(linear)
        weight = _scaled(linear, weight, gain.astype(np.float32))
        return _rebuild(rewriter, linear, node, weight, (bias - mean) * gain + beta)

    return rewrite(graph, visit)


def fold_bias(graph: Graph) -> Graph:
    """conv(x) + c with a constant c that has one element per channel (or one) becomes the layer's bias."""

    def visit(rewriter: Rewriter, node: Node, inputs: list[Value]) -> Value | None:
        if node.op != "add":
            return None
        for layer, other in ((0, 1), (1, 0)):
            linear = _linear(rewriter, node.inputs[layer], inputs[layer])
            addend = inputs[other].const
            if linear is None or addend is None or inputs[layer].shape != node.output.shape:
                continue
            weight, bias = _weight_and_bias(linear)
            rank, channels = len(node.output.shape), node.output.shape[1]
            aligned = addend.reshape([1] * (rank - addend.ndim) + list(addend.shape))
            if aligned.size != aligned.shape[1] or aligned.shape[1] not in (1, channels):
                continue
            return _rebuild(rewriter, linear, node, weight, bias + aligned.reshape(-1))
        return None

    return rewrite(graph, visit)
