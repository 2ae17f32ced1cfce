"""Converters from single ONNX operators to graph operators."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

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
    scalar_of,
    window_attrs,
)
from compiler.graph.ir import QuantInfo, Value

Converter = Callable[[Context, NodeView, list[Value | None]], Value]
CONVERTERS: dict[str, Converter] = {}
REASONS: dict[str, str] = dict.fromkeys(
    ("QLinearConv", "QLinearMatMul", "QLinearAdd", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear"),
    "QOperator format is not imported; export the model in QDQ format",
)


def _converter(*names: str) -> Callable[[Converter], Converter]:
    def add(function: Converter) -> Converter:
        for name in names:
            CONVERTERS[name] = function
        return function

    return add


@_converter("Conv")
def _conv(context: Context, node: NodeView, operands: list[Value | None]) -> Value:
    x, w = need(operands, 0, "the input"), need(operands, 1, "the weight")
    attrs = window_attrs(node, x, w.shape[2:])
    bias = optional(operands, 2)
    inputs = [x, w] if bias is None else [x, w, bias]
    return context.finish(node, "conv2d", inputs, {**attrs, "groups": node.integer("group", 1)})


@_converter("BatchNormalization")
def _batch_norm(context: Context, node: NodeView, operands: list[Value | None]) -> Value:
    if node.integer("training_mode"):
        raise Reject("training mode is not implemented; export the model for inference")
    inputs = [need(operands, i, "an operand") for i in range(5)]
    epsilon, variance = node.number("epsilon", 1e-5), inputs[4].const
    if variance is not None and not (variance + epsilon > 0).all():
        raise Reject("the variance plus epsilon must be positive")
    return context.finish(node, "batch_norm", inputs, {"epsilon": epsilon})


@_converter("Gemm")
def _gemm(context: Context, node: NodeView, operands: list[Value | None]) -> Value:
    a, b, c = need(operands, 0, "A"), need(operands, 1, "B"), optional(operands, 2)
    alpha, beta = node.number("alpha", 1.0), node.number("beta", 1.0)
    if node.integer("transA"):
        a = context.emit(node, "transpose", [a], {"perm": (1, 0)})
    if not node.integer("transB"):
        b = context.emit(node, "transpose", [b], {"perm": (1, 0)})
    if alpha != 1.0:
        b = context.emit(node, "mul", [b, context.constant(np.array(alpha, dtype=np.float32), f"{node.name}.alpha")])
    if c is None or beta == 0.0:
        return context.finish(node, "dense", [a, b])
    if beta != 1.0:
        c = context.emit(node, "mul", [c, context.constant(np.array(beta, dtype=np.float32), f"{node.name}.beta")])
    if math.prod(c.shape) == b.shape[0] == c.shape[-1] if c.shape else False:
        if len(c.shape) != 1:
            c = context.emit(node, "reshape", [c], {"shape": (b.shape[0],)})
        return context.finish(node, "dense", [a, b, c])
    return context.finish(node, "add", [context.emit(node, "dense", [a, b]), c])


@_converter("MatMul")
def _matmul(context: Context, node: NodeView, operands: list[Value | None]) -> Value:
    a, b = need(operands, 0, "A"), need(operands, 1, "B")
    if len(a.shape) == 2 and len(b.shape) == 2 and is_weight(b):
        return context.finish(node, "dense", [a, context.emit(node, "transpose", [b], {"perm": (1, 0)})])
    return context.finish(node, "matmul", [a, b])


def _elementwise(onnx_name: str, op: str, arity: int) -> None:
    @_converter(onnx_name)
    def convert(context: Context, node: NodeView, operands: list[Value | None]) -> Value:
        return context.finish(node, op, [need(operands, i, "an operand") for i in range(arity)])


for _name, _op in (("Relu", "relu"), ("Sigmoid", "sigmoid"), ("Tanh", "tanh"), ("Exp", "exp"), ("Sqrt", "sqrt")):
    _elementwise(_name, _op, 1)
for _name, _op in (("Neg", "neg"), ("Abs", "abs"), ("Identity", "identity")):
    _elementwise(_name, _op, 1)
for _name, _op in (("Add", "add"), ("Sub", "sub"), ("Mul", "mul"), ("Div", "div")):
    _elementwise(_name, _op, 2)


@_converter("Dropout")
def _dropout(context: Context, node: NodeView, operands: list[Value | None]) -> Value:
    if scalar_of(operands, 2, "training_mode"):
        raise Reject("training mode is not implemented; export the model for inference")
    return context.finish(node, "identity", [need(operands, 0, "the input")])


@_converter("Clip")
def _clip(context: Context, node: NodeView, operands: list[Value | None]) -> Value:
    bounds = []
    for index, key, default in ((1, "min", -np.inf), (2, "max", np.inf)):
        given = scalar_of(operands, index, key)
        bounds.append(node.number(key, default) if given is None else given)
    low, high = bounds
    if low > high:
        raise Reject(f"min {low:g} exceeds max {high:g}")
    if (low, high) == (0.0, np.inf):
        return context.finish(node, "relu", [need(operands, 0, "the input")])
    return context.finish(node, "clip", [need(operands, 0, "the input")], {"low": low, "high": high})


def _ceil_pads(x: Value, kernel: Sequence[int], strides: Sequence[int], pads: Sequence[int]) -> tuple[int, ...]:
    """The pads with which floor division gives ceil_mode's extent (a window never starts behind the input)."""
    result = list(pads)
    for i in range(2):
        size, before, after = x.shape[2 + i], pads[i], pads[2 + i]
        count = -(-(size + before + after - kernel[i]) // strides[i]) + 1
        if (count - 1) * strides[i] >= size + before:
            count -= 1
        result[2 + i] = max(after, (count - 1) * strides[i] + kernel[i] - size - before)
    return tuple(result)


@_converter("MaxPool", "AveragePool")
def _pool(context: Context, node: NodeView, operands: list[Value | None]) -> Value:
    x = need(operands, 0, "the input")
    if any(node.outputs[1:]):
        raise Reject("the Indices output is not implemented")
    kernel = node.integers("kernel_shape", (), 2)
    attrs = window_attrs(node, x, kernel)
    if attrs.pop("dilations") != (1, 1):
        raise Reject("dilated pooling is not implemented")
    attrs["kernel"] = kernel
    ceil_mode = bool(node.integer("ceil_mode"))
    pads = _ceil_pads(x, kernel, attrs["strides"], attrs["pads"]) if ceil_mode else attrs["pads"]
    if node.op == "MaxPool":
        return context.finish(node, "max_pool2d", [x], {**attrs, "pads": pads})
    if pads != attrs["pads"]:
        raise Reject("ceil_mode that adds a partial window is not implemented for averages")
    return context.finish(
        node, "avg_pool2d", [x], {**attrs, "count_include_pad": bool(node.integer("count_include_pad"))}
    )


@_converter("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(context: Context, node: NodeView, operands: list[Value | None]) -> Value:
    x = need(operands, 0, "the input")
    if len(x.shape) != 4:
        raise Reject(f"only [N,C,H,W] is implemented, the input is {x.shape}")
    op = "avg_pool2d" if node.op == "GlobalAveragePool" else "max_pool2d"
    return context.finish(node, op, [x], {"kernel": x.shape[2:], "strides": (1, 1)})


@_converter("ReduceMean", "ReduceSum", "ReduceMax")
def _reduce(context: Context, node: NodeView, operands: list[Value | None]) -> Value:
    x = need(operands, 0, "the input")
    given = integers_of(operands, 1, "axes")
    listed = node.integers("axes", ()) if given is None else given
    if not listed and node.integer("noop_with_empty_axes"):
        return context.finish(node, "identity", [x])
    rank = len(x.shape)
    axes = tuple(sorted(axis_of(axis, rank) for axis in (listed or range(rank))))
    keepdims = bool(node.integer("keepdims", 1))
    if node.op == "ReduceMean" and rank == 4 and axes == (2, 3):
        window = {"kernel": x.shape[2:], "strides": (1, 1)}
        if keepdims:
            return context.finish(node, "avg_pool2d", [x], window)
        pooled = context.emit(node, "avg_pool2d", [x], window)
        return context.finish(node, "reshape", [pooled], {"shape": x.shape[:2]})
    op = {"ReduceMean": "reduce_mean", "ReduceSum": "reduce_sum", "ReduceMax": "reduce_max"}[node.op]
    return context.finish(node, op, [x], {"axes": axes, "keepdims": keepdims})


@_converter("Softmax")
def _softmax(context: Context, node: NodeView, operands: list[Value | None]) -> Value:
    x = need(operands, 0, "the input")
    rank = len(x.shape)
    axis = axis_of(node.integer("axis", -1 if context.opset >= 13 else 1), rank)
    if context.opset >= 13 or axis == rank - 1:
        return context.finish(node, "softmax", [x], {"axis": axis})
    # Before opset 13 the axes from `axis` on are one flattened axis.
    flat = context.emit(node, "reshape", [x], {"shape": (math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))})
    return context.finish(node, "reshape", [context.emit(node, "softmax", [flat], {"axis": 1})], {"shape": x.shape})


@_converter("Flatten")
def _flatten(context: Context, node: NodeView, operands: list[Value | None]) -> Value:
    x = need(operands, 0, "the input")
    rank, axis = len(x.shape), node.integer("axis", 1)
    axis = axis if axis == rank else axis_of(axis, rank)
    shape = (math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))
    return context.finish(node, "reshape", [x], {"shape": shape})


@_converter("Reshape")
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


@_converter("Squeeze", "Unsqueeze")
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


@_converter("Transpose")
def _transpose(context: Context, node: NodeView, operands: list[Value | None]) -> Value:
    x = need(operands, 0, "the input")
    perm = node.integers("perm", tuple(reversed(range(len(x.shape)))))
    return context.finish(node, "transpose", [x], {"perm": perm})


@_converter("Concat")
def _concat(context: Context, node: NodeView, operands: list[Value | None]) -> Value:
    values = [need(operands, i, "an operand") for i in range(len(operands))]
    return context.finish(node, "concat", values, {"axis": axis_of(node.integer("axis"), len(values[0].shape))})


@_converter("Pad")
def _pad(context: Context, node: NodeView, operands: list[Value | None]) -> Value:
    x = need(operands, 0, "the input")
    if (mode := node.text("mode", "constant")) != "constant":
        raise Reject(f"mode '{mode}' is not implemented, only constant")
    given, axes = integers_of(operands, 1, "pads"), integers_of(operands, 3, "axes")
    value = scalar_of(operands, 2, "the value")
    pads = node.integers("pads", ()) if given is None else given
    fill = node.number("value", 0.0) if value is None else value
    rank = len(x.shape)
    listed = list(range(rank)) if axes is None else [axis_of(axis, rank) for axis in axes]
    if len(pads) != 2 * len(listed):
        raise Reject(f"{len(pads)} pads do not fit {len(listed)} axes")
    before, after = [0] * rank, [0] * rank
    for i, axis in enumerate(listed):
        before[axis], after[axis] = pads[i], pads[len(listed) + i]
    return context.finish(node, "pad", [x], {"before": tuple(before), "after": tuple(after), "value": fill})


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


@_converter("QuantizeLinear")
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


@_converter("DequantizeLinear")
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
