"""Converters of ONNX activations that are put together from simpler operators."""

from __future__ import annotations

import math

from compiler.frontend.onnx_node import Context, NodeView, Reject, need
from compiler.frontend.onnx_registry import register_converter
from compiler.graph.ir import Value

Operands = list[Value | None]

# Klambauer et al., "Self-Normalizing Neural Networks", 2017.
_SELU_ALPHA, _SELU_GAMMA = 1.67326319217681884765625, 1.05070102214813232421875


def _expression(context: Context, node: NodeView, x: Value):
    """Appends a step on values and numbers of the input's element type."""

    def emit(op: str, *operands: Value | float, **attrs: object) -> Value:
        values = [v if isinstance(v, Value) else context.number(node, v, x) for v in operands]
        return context.emit(node, op, values, attrs)

    return emit


def _finish(context: Context, node: NodeView, op: str, a: Value, b: Value | float, like: Value) -> Value:
    return context.finish(node, op, [a, b if isinstance(b, Value) else context.number(node, b, like)])


@register_converter("LeakyRelu")
def _leaky(context: Context, node: NodeView, operands: Operands) -> Value:
    x = need(operands, 0, "the input")
    return _negative_slope(context, node, x, context.number(node, node.number("alpha", 0.01), x))


@register_converter("PRelu")
def _prelu(context: Context, node: NodeView, operands: Operands) -> Value:
    return _negative_slope(context, node, need(operands, 0, "the input"), need(operands, 1, "the slope"))


def _negative_slope(context: Context, node: NodeView, x: Value, slope: Value) -> Value:
    negative = context.emit(node, "less", [x, context.number(node, 0, x)])
    return context.finish(node, "where", [negative, context.emit(node, "mul", [x, slope]), x])


@register_converter("Elu", "Celu", "Selu")
def _elu(context: Context, node: NodeView, operands: Operands) -> Value:
    """max(x, 0) + alpha (exp(min(x, 0)) - 1): no exponential overflows. Celu divides what is raised by alpha, Selu
    multiplies the sum by gamma."""
    x = need(operands, 0, "the input")
    emit = _expression(context, node, x)
    alpha = node.number("alpha", _SELU_ALPHA if node.op == "Selu" else 1.0)
    low = emit("minimum", x, 0.0)
    if node.op == "Celu":
        if not alpha:
            raise Reject("alpha must not be 0")
        low = emit("mul", low, 1 / alpha)
    negative = emit("mul", emit("sub", emit("exp", low), 1.0), alpha)
    if node.op != "Selu":
        return context.finish(node, "add", [emit("relu", x), negative])
    total = emit("add", emit("relu", x), negative)
    return _finish(context, node, "mul", total, node.number("gamma", _SELU_GAMMA), x)


@register_converter("HardSigmoid")
def _hard_sigmoid(context: Context, node: NodeView, operands: Operands) -> Value:
    x = need(operands, 0, "the input")
    emit = _expression(context, node, x)
    line = emit("add", emit("mul", x, node.number("alpha", 0.2)), node.number("beta", 0.5))
    return context.finish(node, "clip", [line], {"low": 0.0, "high": 1.0})


@register_converter("HardSwish")
def _hard_swish(context: Context, node: NodeView, operands: Operands) -> Value:
    x = need(operands, 0, "the input")
    emit = _expression(context, node, x)
    gate = emit("clip", emit("add", emit("mul", x, 1 / 6), 0.5), low=0.0, high=1.0)
    return context.finish(node, "mul", [x, gate])


@register_converter("Softplus")
def _softplus(context: Context, node: NodeView, operands: Operands) -> Value:
    x = need(operands, 0, "the input")
    return context.finish(node, "add", _softplus_terms(context, node, x))


def _softplus_terms(context: Context, node: NodeView, x: Value) -> list[Value]:
    """max(x, 0) and log(1 + exp(-|x|)): no exponential overflows."""
    emit = _expression(context, node, x)
    power = emit("exp", emit("neg", emit("abs", x)))
    return [emit("relu", x), emit("log", emit("add", power, 1.0))]


@register_converter("Mish")
def _mish(context: Context, node: NodeView, operands: Operands) -> Value:
    x = need(operands, 0, "the input")
    emit = _expression(context, node, x)
    return context.finish(node, "mul", [x, emit("tanh", emit("add", *_softplus_terms(context, node, x)))])


@register_converter("Softsign")
def _softsign(context: Context, node: NodeView, operands: Operands) -> Value:
    x = need(operands, 0, "the input")
    emit = _expression(context, node, x)
    return context.finish(node, "div", [x, emit("add", emit("abs", x), 1.0)])


@register_converter("Swish")
def _swish(context: Context, node: NodeView, operands: Operands) -> Value:
    x = need(operands, 0, "the input")
    emit = _expression(context, node, x)
    alpha = node.number("alpha", 1.0)
    return context.finish(node, "mul", [x, emit("sigmoid", x if alpha == 1 else emit("mul", x, alpha))])


@register_converter("Gelu")
def _gelu(context: Context, node: NodeView, operands: Operands) -> Value:
    """x / 2 (1 + erf(x / sqrt(2))), or with tanh(sqrt(2 / pi) (x + 0.044715 x^3)) in place of the error function."""
    x = need(operands, 0, "the input")
    emit = _expression(context, node, x)
    approximate = node.text("approximate", "none")
    if approximate == "tanh":
        cube = emit("mul", emit("mul", x, x), emit("mul", x, 0.044715))
        bend = emit("tanh", emit("mul", emit("add", x, cube), math.sqrt(2 / math.pi)))
    elif approximate == "none":
        bend = emit("erf", emit("mul", x, math.sqrt(1 / 2)))
    else:
        raise Reject(f"approximate '{approximate}' is neither none nor tanh")
    return context.finish(node, "mul", [emit("mul", x, 0.5), emit("add", bend, 1.0)])


@register_converter("ThresholdedRelu")
def _thresholded(context: Context, node: NodeView, operands: Operands) -> Value:
    x = need(operands, 0, "the input")
    emit = _expression(context, node, x)
    above = emit("greater", x, node.number("alpha", 1.0))
    return context.finish(node, "where", [above, x, context.number(node, 0, x)])


@register_converter("Shrink")
def _shrink(context: Context, node: NodeView, operands: Operands) -> Value:
    x = need(operands, 0, "the input")
    if not x.dtype.startswith("float"):
        raise Reject(f"element type {x.dtype} is not implemented, only floats")
    emit = _expression(context, node, x)
    limit, bias = node.number("lambd", 0.5), node.number("bias", 0.0)
    upper = emit("where", emit("greater", x, limit), emit("sub", x, bias), 0.0)
    return context.finish(node, "where", [emit("less", x, -limit), emit("add", x, bias), upper])
