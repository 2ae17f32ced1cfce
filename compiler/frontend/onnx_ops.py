"""Converters of the ONNX operators of classic networks: matrix products, normalisation, shapes, quantisation."""

from __future__ import annotations

import math

import numpy as np

from compiler.errors import ModelError
from compiler.frontend.onnx_node import (
    Context,
    NodeView,
    Reject,
    axis_of,
    const_of,
    integers_of,
    is_weight,
    need,
    optional,
)
from compiler.frontend.onnx_registry import register_converter
from compiler.graph.ir import QuantInfo, Value


@register_converter("BatchNormalization")
def _batch_norm(context: Context, node: NodeView, operands: list[Value | None]) -> Value:
    if node.integer("training_mode"):
        raise Reject("training mode is not implemented; export the model for inference")
    inputs = [need(operands, i, "an operand") for i in range(5)]
    epsilon, variance = node.number("epsilon", 1e-5), inputs[4].const
    if variance is not None and not (variance + epsilon > 0).all():
        raise Reject("the variance plus epsilon must be positive")
    return context.finish(node, "batch_norm", inputs, {"epsilon": epsilon})


@register_converter("Gemm")
def _gemm(context: Context, node: NodeView, operands: list[Value | None]) -> Value:
    a, b, c = need(operands, 0, "A"), need(operands, 1, "B"), optional(operands, 2)
    alpha, beta = node.number("alpha", 1.0), node.number("beta", 1.0)
    if node.integer("transA"):
        a = context.emit(node, "transpose", [a], {"perm": (1, 0)})
    if not node.integer("transB"):
        b = context.emit(node, "transpose", [b], {"perm": (1, 0)})
    if alpha != 1.0:
        b = context.emit(node, "mul", [b, context.number(node, alpha, b)])
    if c is None or beta == 0.0:
        return context.finish(node, "dense", [a, b])
    if beta != 1.0:
        c = context.emit(node, "mul", [c, context.number(node, beta, c)])
    if math.prod(c.shape) == b.shape[0] == c.shape[-1] if c.shape else False:
        if len(c.shape) != 1:
            c = context.emit(node, "reshape", [c], {"shape": (b.shape[0],)})
        return context.finish(node, "dense", [a, b, c])
    return context.finish(node, "add", [context.emit(node, "dense", [a, b]), c])


@register_converter("MatMul")
def _matmul(context: Context, node: NodeView, operands: list[Value | None]) -> Value:
    return matmul(context, node, need(operands, 0, "A"), need(operands, 1, "B"))


def matmul(context: Context, node: NodeView, a: Value, b: Value) -> Value:
    """numpy's matmul: vectors are rows on the left and columns on the right. With a constant matrix it is a dense
    layer, of all rows that lie before the last axis."""
    if len(a.shape) == 2 and len(b.shape) == 2 and is_weight(b) and a.dtype == "float32":
        return context.finish(node, "dense", [a, context.emit(node, "transpose", [b], {"perm": (1, 0)})])
    if len(a.shape) > 2 and len(b.shape) == 2 and b.const is not None and a.dtype == "float32":
        rows = context.emit(node, "reshape", [a], {"shape": (math.prod(a.shape[:-1]), a.shape[-1])})
        product = context.emit(node, "dense", [rows, context.emit(node, "transpose", [b], {"perm": (1, 0)})])
        return context.finish(node, "reshape", [product], {"shape": (*a.shape[:-1], b.shape[1])})
    if len(a.shape) > 1 and len(b.shape) > 1:
        return context.finish(node, "matmul", [a, b])
    shape = (*a.shape[:-1], *b.shape[:-2], *b.shape[1:][-1:])
    if len(a.shape) == 1:
        a = context.emit(node, "reshape", [a], {"shape": (1, *a.shape)})
    if len(b.shape) == 1:
        b = context.emit(node, "reshape", [b], {"shape": (*b.shape, 1)})
    return context.finish(node, "reshape", [context.emit(node, "matmul", [a, b])], {"shape": shape})


@register_converter("MatMulInteger")
def _matmul_integer(context: Context, node: NodeView, operands: list[Value | None]) -> Value:
    factors = []
    for index in (0, 1):
        wide = context.emit(node, "cast", [need(operands, index, "a factor")], {"dtype": "int32"})
        zero = optional(operands, index + 2)
        if zero is not None:
            zero = context.emit(node, "cast", [zero], {"dtype": "int32"})
            if index == 0 and len(zero.shape) == 1:  # one for each row
                zero = context.emit(node, "reshape", [zero], {"shape": (*zero.shape, 1)})
            wide = context.emit(node, "sub", [wide, zero])
        factors.append(wide)
    return matmul(context, node, *factors)


@register_converter("Softmax")
def _softmax(context: Context, node: NodeView, operands: list[Value | None]) -> Value:
    x = need(operands, 0, "the input")
    rank = len(x.shape)
    axis = axis_of(node.integer("axis", -1 if context.opset >= 13 else 1), rank)
    if context.opset >= 13 or axis == rank - 1:
        return context.finish(node, "softmax", [x], {"axis": axis})
    # Before opset 13 the axes from `axis` on are one flattened axis.
    flat = context.emit(node, "reshape", [x], {"shape": (math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))})
    return context.finish(node, "reshape", [context.emit(node, "softmax", [flat], {"axis": 1})], {"shape": x.shape})


@register_converter("Flatten")
def _flatten(context: Context, node: NodeView, operands: list[Value | None]) -> Value:
    x = need(operands, 0, "the input")
    rank, axis = len(x.shape), node.integer("axis", 1)
    axis = axis if axis == rank else axis_of(axis, rank)
    shape = (math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))
    return context.finish(node, "reshape", [x], {"shape": shape})


@register_converter("Reshape")
def _reshape(context: Context, node: NodeView, operands: list[Value | None]) -> Value:
    x = need(operands, 0, "the input")
    wanted = integers_of(operands, 1, "the shape")
    if wanted is None:
        raise Reject("the shape is missing")
    if not node.integer("allowzero"):
        if any(extent == 0 and i >= len(x.shape) for i, extent in enumerate(wanted)):
            raise Reject(f"shape {wanted} copies an axis that {x.shape} does not have")
        wanted = [x.shape[i] if extent == 0 else extent for i, extent in enumerate(wanted)]
    if wanted.count(-1) > 1:
        raise Reject(f"shape {wanted} leaves more than one extent open")
    if -1 in wanted:
        known = math.prod(extent for extent in wanted if extent != -1)
        if known == 0 or math.prod(x.shape) % known:
            raise Reject(f"{x.shape} cannot be reshaped to {wanted}")
        wanted[wanted.index(-1)] = math.prod(x.shape) // known
    return context.finish(node, "reshape", [x], {"shape": tuple(wanted)})


@register_converter("Squeeze", "Unsqueeze")
def _squeeze(context: Context, node: NodeView, operands: list[Value | None]) -> Value:
    x = need(operands, 0, "the input")
    given = integers_of(operands, 1, "axes")
    listed = node.integers("axes", ()) if given is None else given
    shape = list(x.shape)
    if node.op == "Squeeze":
        if not listed:
            listed = [i for i, extent in enumerate(shape) if extent == 1]
        axes = [axis_of(axis, len(shape)) for axis in listed]
        if any(shape[axis] != 1 for axis in axes):
            raise Reject(f"axes {axes} of {x.shape} are not all of extent 1")
        shape = [extent for i, extent in enumerate(shape) if i not in axes]
    else:
        if not listed:
            raise Reject("axes are missing")
        for axis in sorted(axis_of(a, len(shape) + len(listed)) for a in listed):
            shape.insert(axis, 1)
    return context.finish(node, "reshape", [x], {"shape": tuple(shape)})


@register_converter("Transpose")
def _transpose(context: Context, node: NodeView, operands: list[Value | None]) -> Value:
    x = need(operands, 0, "the input")
    perm = node.integers("perm", tuple(reversed(range(len(x.shape)))))
    return context.finish(node, "transpose", [x], {"perm": perm})


@register_converter("Concat")
def _concat(context: Context, node: NodeView, operands: list[Value | None]) -> Value:
    values = [need(operands, i, "an operand") for i in range(len(operands))]
    return context.finish(node, "concat", values, {"axis": axis_of(node.integer("axis"), len(values[0].shape))})


def _scale_and_zero_point(node: NodeView, operands: list[Value | None]) -> tuple[np.ndarray, np.ndarray]:
    scale, zero_point = const_of(operands, 1, "the scale"), const_of(operands, 2, "the zero point")
    if scale is None:
        raise Reject("the scale is missing")
    if scale.dtype != np.float32:
        raise Reject(f"a {scale.dtype} scale is not implemented, only float32")
    if not (scale > 0).all():
        raise ModelError(f"{node.op} '{node.name}': the scale must be positive, got {scale.min():g}")
    if node.integer("block_size"):
        raise Reject("blocked quantisation is not implemented")
    if zero_point is None:
        zero_point = np.zeros(scale.shape, dtype=np.uint8)
    if scale.size == zero_point.size == 1:
        scale, zero_point = scale.reshape(()), zero_point.reshape(())
    if scale.shape != zero_point.shape:
        raise Reject(f"scale {scale.shape} and zero point {zero_point.shape} differ in shape")
    return scale, zero_point


@register_converter("QuantizeLinear")
def _quantize(context: Context, node: NodeView, operands: list[Value | None]) -> Value:
    x = need(operands, 0, "the input")
    scale, zero_point = _scale_and_zero_point(node, operands)
    kind = zero_point.dtype.name
    if kind not in ("int8", "uint8"):
        raise Reject(f"{kind} quantisation is not implemented, only int8 and uint8")
    # The graph computes on int8: a uint8 tensor is shifted, unless the model hands it out as it is.
    shifted = kind == "uint8" and node.outputs[0] not in context.model_outputs
    offset = 128 if shifted else 0
    zero = zero_point.astype(np.int64) - offset
    quant = QuantInfo(float(scale), int(zero), offset) if scale.ndim == 0 else None
    attrs = {
        "scale": scale,
        "zero_point": zero,
        "axis": axis_of(node.integer("axis", 1), len(x.shape)) if scale.ndim else 1,
        "dtype": "int8" if shifted else kind,
    }
    return context.finish(node, "quantize", [x], attrs, quant)


@register_converter("DequantizeLinear")
def _dequantize(context: Context, node: NodeView, operands: list[Value | None]) -> Value:
    x = need(operands, 0, "the input")
    scale, zero_point = _scale_and_zero_point(node, operands)
    zero = zero_point.astype(np.int64)
    if optional(operands, 2) is None:  # the zero point is 0 in the element type of x
        shifted = x.quant is not None and x.quant.offset != 0
        zero_point = zero_point.astype(np.uint8 if shifted else x.dtype)
    if x.const is not None and x.dtype == "uint8":
        x = context.constant((x.const.astype(np.int16) - 128).astype(np.int8), f"{x.name}.shifted")
        zero = zero - 128
    elif zero_point.dtype == np.uint8 and x.dtype == "int8":
        zero = zero - 128
    axis = axis_of(node.integer("axis", 1), len(x.shape)) if scale.ndim else 1
    return context.finish(node, "dequantize", [x], {"scale": scale, "zero_point": zero, "axis": axis})
