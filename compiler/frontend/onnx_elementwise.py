"""Converters of element-wise ONNX operators: arithmetic, functions, comparisons, choice, conversion."""

from __future__ import annotations

import numpy as np
import onnx

from compiler.frontend.onnx_node import Context, NodeView, Reject, need, optional, scalar_of
from compiler.frontend.onnx_registry import register_converter
from compiler.graph.ir import Value

Operands = list[Value | None]

_UNARY = {
    "Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh", "Exp": "exp", "Log": "log", "Sqrt": "sqrt", "Neg": "neg",
    "Abs": "abs", "Identity": "identity", "Erf": "erf", "Floor": "floor", "Ceil": "ceil", "Round": "round",
    "Reciprocal": "reciprocal", "Sign": "sign", "Not": "logical_not", "IsNaN": "is_nan", "BitwiseNot": "bit_not",
    "Sin": "sin", "Cos": "cos", "Tan": "tan", "Asin": "asin", "Acos": "acos", "Atan": "atan", "Sinh": "sinh",
    "Cosh": "cosh", "Asinh": "asinh", "Acosh": "acosh", "Atanh": "atanh",
}  # fmt: skip
_BINARY = {
    "Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div", "Less": "less", "LessOrEqual": "less_equal",
    "Greater": "greater", "GreaterOrEqual": "greater_equal", "Equal": "equal", "And": "logical_and",
    "Or": "logical_or", "Xor": "logical_xor", "BitwiseAnd": "bit_and", "BitwiseOr": "bit_or", "BitwiseXor": "bit_xor",
}  # fmt: skip
_VARIADIC = {"Sum": "add", "Max": "maximum", "Min": "minimum", "Mean": "add"}


@register_converter(*_UNARY)
def _unary(context: Context, node: NodeView, operands: Operands) -> Value:
    return context.finish(node, _UNARY[node.op], [need(operands, 0, "the input")])


@register_converter(*_BINARY)
def _binary(context: Context, node: NodeView, operands: Operands) -> Value:
    return context.finish(node, _BINARY[node.op], [need(operands, 0, "an operand"), need(operands, 1, "an operand")])


@register_converter(*_VARIADIC)
def _variadic(context: Context, node: NodeView, operands: Operands) -> Value:
    values = [need(operands, i, "an operand") for i in range(len(operands))]
    result = need(operands, 0, "an operand")
    if len(values) == 1:
        return context.finish(node, "identity", values)
    op, mean = _VARIADIC[node.op], node.op == "Mean"
    for value in values[1:-1]:
        result = context.emit(node, op, [result, value])
    if not mean:
        return context.finish(node, op, [result, values[-1]])
    total = context.emit(node, op, [result, values[-1]])
    return context.finish(node, "div", [total, context.number(node, len(values), total)])


@register_converter("Mod")
def _mod(context: Context, node: NodeView, operands: Operands) -> Value:
    values = [need(operands, 0, "an operand"), need(operands, 1, "an operand")]
    return context.finish(node, "fmod" if node.integer("fmod") else "mod", values)


@register_converter("Pow")
def _pow(context: Context, node: NodeView, operands: Operands) -> Value:
    base, exponent = need(operands, 0, "the base"), need(operands, 1, "the exponent")
    if exponent.const is not None and exponent.const.size == 1 and len(exponent.shape) <= len(base.shape):
        power = float(exponent.const.reshape(-1)[0])
        if power == 2.0:
            return context.finish(node, "mul", [base, base])
        if power == 0.5 and base.dtype in ("float32", "float64"):
            return context.finish(node, "sqrt", [base])
    wide = base
    if exponent.dtype != base.dtype:
        if exponent.dtype.startswith("float") and not base.dtype.startswith("float"):
            wide = context.emit(node, "cast", [base], {"dtype": exponent.dtype})
        else:
            exponent = context.emit(node, "cast", [exponent], {"dtype": base.dtype})
    if wide is base:
        return context.finish(node, "pow", [base, exponent])
    return context.finish(node, "cast", [context.emit(node, "pow", [wide, exponent])], {"dtype": base.dtype})


@register_converter("BitShift")
def _shift(context: Context, node: NodeView, operands: Operands) -> Value:
    direction = node.text("direction", "")
    if direction not in ("LEFT", "RIGHT"):
        raise Reject(f"direction '{direction}' is neither LEFT nor RIGHT")
    return context.finish(
        node, f"shift_{direction.lower()}", [need(operands, 0, "an operand"), need(operands, 1, "an operand")]
    )


@register_converter("Where")
def _where(context: Context, node: NodeView, operands: Operands) -> Value:
    return context.finish(node, "where", [need(operands, i, "an operand") for i in range(3)])


@register_converter("IsInf")
def _is_inf(context: Context, node: NodeView, operands: Operands) -> Value:
    x = need(operands, 0, "the input")
    signs = [s for s, key in ((np.inf, "detect_positive"), (-np.inf, "detect_negative")) if node.integer(key, 1)]
    if not signs:
        raise Reject("it detects neither infinity")
    if len(signs) == 2:
        return context.finish(node, "equal", [context.emit(node, "abs", [x]), context.number(node, np.inf, x)])
    return context.finish(node, "equal", [x, context.number(node, signs[0], x)])


def cast_to(number: int) -> str:
    """The element type of an ONNX type's number; Reject when the graph has no such type."""
    name = onnx.TensorProto.DataType.Name(number)
    names = {"FLOAT": "float32", "DOUBLE": "float64"}
    dtype = names.get(name, name.lower())
    if dtype not in ("float32", "float64", "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32"):
        raise Reject(f"element type {name} is not implemented")
    return dtype


@register_converter("Cast")
def _cast(context: Context, node: NodeView, operands: Operands) -> Value:
    x, dtype = need(operands, 0, "the input"), cast_to(node.integer("to"))
    if x.dtype == dtype:
        return context.finish(node, "identity", [x])
    return context.finish(node, "cast", [x], {"dtype": dtype})


@register_converter("CastLike")
def _cast_like(context: Context, node: NodeView, operands: Operands) -> Value:
    x, dtype = need(operands, 0, "the input"), need(operands, 1, "the type").dtype
    if x.const is not None:
        return context.constant(x.const.astype(dtype), node.outputs[0])
    return context.finish(node, "cast", [x], {"dtype": dtype})


@register_converter("Clip")
def _clip(context: Context, node: NodeView, operands: Operands) -> Value:
    x = need(operands, 0, "the input")
    given = [optional(operands, index) for index in (1, 2)]
    if any(bound is not None and bound.const is None for bound in given):
        for bound, op in zip(given, ("maximum", "minimum"), strict=True):
            x = x if bound is None else context.emit(node, op, [x, bound])
        return context.finish(node, "identity", [x])
    bounds = []
    for index, key, default in ((1, "min", -np.inf), (2, "max", np.inf)):
        number = scalar_of(operands, index, key)
        bounds.append(node.number(key, default) if number is None else number)
    low, high = bounds
    if (low, high) == (0.0, np.inf):
        return context.finish(node, "relu", [x])
    return context.finish(node, "clip", [x], {"low": low, "high": high})


@register_converter("Dropout")
def _dropout(context: Context, node: NodeView, operands: Operands) -> Value | tuple[Value, ...]:
    x = need(operands, 0, "the input")
    if scalar_of(operands, 2, "training_mode"):
        raise Reject("training mode is not implemented; export the model for inference")
    result = context.finish(node, "identity", [x])
    if not any(node.outputs[1:]):
        return result
    return result, context.constant(np.ones(x.shape, bool), node.outputs[1])
