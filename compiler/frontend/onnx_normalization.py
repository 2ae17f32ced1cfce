"""Converters of ONNX operators that normalise over axes: mean and deviation first, then scale and bias."""

from __future__ import annotations

import math
from collections.abc import Sequence

from compiler.frontend.onnx_node import Context, NodeView, Reject, axis_of, need, optional
from compiler.frontend.onnx_registry import register_converter
from compiler.graph.ir import Value

Operands = list[Value | None]
_EPSILON = 1e-5


def _inverse_deviation(context: Context, node: NodeView, x: Value, axes: Sequence[int], output: int) -> Value:
    """1 / sqrt(mean(x^2) + epsilon) over axes that stay with extent 1; the node's output of that number if it asks."""
    square = context.emit(node, "mul", [x, x])
    variance = context.emit(node, "reduce_mean", [square], {"axes": tuple(axes), "keepdims": True})
    epsilon = context.number(node, node.number("epsilon", _EPSILON), x)
    deviation = context.emit(node, "sqrt", [context.emit(node, "add", [variance, epsilon])])
    return _output(context, node, "reciprocal", [deviation], output)


def _output(
    context: Context,
    node: NodeView,
    op: str,
    inputs: Sequence[Value],
    output: int,
    attrs: dict[str, object] | None = None,
) -> Value:
    """A step whose result is an output of the node, if the node has that one."""
    if output < len(node.outputs) and node.outputs[output]:
        return context.finish(node, op, inputs, attrs, output=output)
    return context.emit(node, op, inputs, attrs)


def _scaled(context: Context, node: NodeView, x: Value, scale: Value, bias: Value | None) -> Value:
    """The node's first output: x * scale + bias."""
    if bias is None:
        return context.finish(node, "mul", [x, scale])
    return context.finish(node, "add", [context.emit(node, "mul", [x, scale]), bias])


def _normalised(context: Context, node: NodeView, x: Value, axes: Sequence[int]) -> Value:
    """Mean 0 and deviation 1 over axes."""
    mean = context.emit(node, "reduce_mean", [x], {"axes": tuple(axes), "keepdims": True})
    centred = context.emit(node, "sub", [x, mean])
    return context.emit(node, "mul", [centred, _inverse_deviation(context, node, centred, axes, len(node.outputs))])


@register_converter("LayerNormalization")
def _layer_norm(context: Context, node: NodeView, operands: Operands) -> tuple[Value, ...]:
    """Over the axes from `axis` on; the outputs are y, the means and the inverse deviations."""
    x, scale = need(operands, 0, "the input"), need(operands, 1, "the scale")
    axes = range(axis_of(node.integer("axis", -1), len(x.shape)), len(x.shape))
    _check_stash(node)
    mean = _output(context, node, "reduce_mean", [x], 1, {"axes": tuple(axes), "keepdims": True})
    centred = context.emit(node, "sub", [x, mean])
    inverse = _inverse_deviation(context, node, centred, axes, 2)
    normal = context.emit(node, "mul", [centred, inverse])
    return _scaled(context, node, normal, scale, optional(operands, 2)), mean, inverse


@register_converter("RMSNormalization")
def _rms_norm(context: Context, node: NodeView, operands: Operands) -> Value:
    """Over the axes from `axis` on, without a mean."""
    x, scale = need(operands, 0, "the input"), need(operands, 1, "the scale")
    axes = range(axis_of(node.integer("axis", -1), len(x.shape)), len(x.shape))
    _check_stash(node)
    normal = context.emit(node, "mul", [x, _inverse_deviation(context, node, x, axes, 1)])
    return _scaled(context, node, normal, scale, None)


@register_converter("InstanceNormalization")
def _instance_norm(context: Context, node: NodeView, operands: Operands) -> Value:
    """Over everything behind the channels, for each channel alone."""
    x, scale, bias = (need(operands, i, "an operand") for i in range(3))
    rank = len(x.shape)
    normal = _normalised(context, node, x, range(2, rank))
    return _scaled(context, node, normal, *(_by_channel(context, node, v, rank) for v in (scale, bias)))


@register_converter("GroupNormalization")
def _group_norm(context: Context, node: NodeView, operands: Operands) -> Value:
    """Over the channels of a group and everything behind them; scale and bias are a group's before opset 21."""
    x, scale, bias = (need(operands, i, "an operand") for i in range(3))
    groups, rank = node.integer("num_groups"), len(x.shape)
    if rank < 2 or groups < 1 or x.shape[1] % groups:
        raise Reject(f"{groups} groups do not divide the channels of {x.shape}")
    _check_stash(node)
    size = math.prod(x.shape[1:]) // groups
    per_group = context.emit(node, "reshape", [x], {"shape": (x.shape[0], groups, size)})
    normal = _normalised(context, node, per_group, (2,))
    if scale.shape == (groups,) != (x.shape[1],):
        column = {"shape": (groups, 1)}
        scale, bias = (context.emit(node, "reshape", [v], column) for v in (scale, bias))
        total = context.emit(node, "add", [context.emit(node, "mul", [normal, scale]), bias])
        return context.finish(node, "reshape", [total], {"shape": x.shape})
    normal = context.emit(node, "reshape", [normal], {"shape": x.shape})
    return _scaled(context, node, normal, *(_by_channel(context, node, v, rank) for v in (scale, bias)))


def _by_channel(context: Context, node: NodeView, value: Value, rank: int) -> Value:
    """[C] so that it goes with the second of `rank` axes."""
    return context.emit(node, "reshape", [value], {"shape": (*value.shape, *(1,) * (rank - 2))})


def _check_stash(node: NodeView) -> None:
    if node.integer("stash_type", 1) != 1:
        raise Reject("a stash_type other than float32 is not implemented")
