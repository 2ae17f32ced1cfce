"""Converters of convolutions and poolings over any number of spatial axes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np

from compiler.frontend.onnx_node import Context, NodeView, Reject, need, optional, window_attrs
from compiler.frontend.onnx_registry import register_converter
from compiler.graph.ir import Value

Operands = list[Value | None]


def _biased(context: Context, node: NodeView, value: Value, bias: Value | None) -> Value:
    """The node's output: `value` plus a bias along the channels."""
    if bias is None:
        return context.finish(node, "identity", [value])
    shape = (*bias.shape, *(1,) * (len(value.shape) - 2))
    return context.finish(node, "add", [value, context.emit(node, "reshape", [bias], {"shape": shape})])


@register_converter("Conv")
def _conv(context: Context, node: NodeView, operands: Operands) -> Value:
    x, w, bias = need(operands, 0, "the input"), need(operands, 1, "the weight"), optional(operands, 2)
    attrs = {**window_attrs(node, x, w.shape[2:]), "groups": node.integer("group", 1)}
    rank = len(x.shape) - 2
    inputs = [x, w] if bias is None else [x, w, bias]
    if rank == 2:
        return context.finish(node, "conv2d", inputs, attrs)
    if rank == 1:  # an image of one row
        inputs[:2] = [context.emit(node, "reshape", [v], {"shape": (*v.shape[:2], 1, v.shape[2])}) for v in inputs[:2]]
        before, behind = attrs["pads"]
        flat = {"strides": (1, *attrs["strides"]), "dilations": (1, *attrs["dilations"])}
        y = context.emit(node, "conv2d", inputs, {**attrs, **flat, "pads": (0, before, 0, behind)})
        return context.finish(node, "reshape", [y], {"shape": (*y.shape[:2], y.shape[3])})
    return _biased(context, node, context.emit(node, "conv_nd", [x, w], attrs), bias)


@register_converter("ConvInteger")
def _conv_integer(context: Context, node: NodeView, operands: Operands) -> Value:
    values = []
    for index in (0, 1):
        wide = context.emit(node, "cast", [need(operands, index, "an operand")], {"dtype": "int32"})
        zero = optional(operands, index + 2)
        if zero is not None:
            zero = context.emit(node, "cast", [zero], {"dtype": "int32"})
            if zero.shape:  # of the weight: one for each output channel
                shape = (*zero.shape, *(1,) * (len(wide.shape) - 1))
                zero = context.emit(node, "reshape", [zero], {"shape": shape if math.prod(zero.shape) > 1 else ()})
            wide = context.emit(node, "sub", [wide, zero])
        values.append(wide)
    attrs = {**window_attrs(node, values[0], values[1].shape[2:]), "groups": node.integer("group", 1)}
    return context.finish(node, "conv_nd", values, attrs)


@register_converter("ConvTranspose")
def _conv_transpose(context: Context, node: NodeView, operands: Operands) -> Value:
    x, w = need(operands, 0, "the input"), need(operands, 1, "the weight")
    rank = len(x.shape) - 2
    if rank < 1 or len(w.shape) != rank + 2:
        raise Reject(f"input {x.shape} and weight {w.shape} do not fit")
    ones, zeros = (1,) * rank, (0,) * rank
    strides, dilations = node.integers("strides", ones, rank), node.integers("dilations", ones, rank)
    extra = node.integers("output_padding", zeros, rank)
    mode = node.text("auto_pad", "NOTSET")
    pads = node.integers("pads", zeros * 2, 2 * rank) if mode == "NOTSET" else zeros * 2
    spans = [
        stride * (n - 1) + more + (k - 1) * dilation + 1
        for n, k, stride, dilation, more in zip(x.shape[2:], w.shape[2:], strides, dilations, extra, strict=True)
    ]
    same = mode in ("SAME_UPPER", "SAME_LOWER")
    shape = node.integers("output_shape", [n * s for n, s in zip(x.shape[2:], strides, strict=True)] if same else ())
    if shape:
        if len(shape) != rank:
            raise Reject(f"output_shape {shape} must have {rank} entries")
        total = [max(0, span - n) for span, n in zip(spans, shape, strict=True)]
        begin = tuple(t // 2 if mode != "SAME_LOWER" else t - t // 2 for t in total)
    else:
        begin = pads[:rank]
        shape = tuple(s - a - b for s, a, b in zip(spans, begin, pads[rank:], strict=True))
    if min(begin) < 0:
        raise Reject(f"negative pads {pads} are not implemented")
    attrs = {
        "strides": strides,
        "pads": begin,
        "dilations": dilations,
        "groups": node.integer("group", 1),
        "shape": tuple(shape),
    }
    bias = optional(operands, 2)
    return context.finish(node, "conv_transpose", [x, w] if bias is None else [x, w, bias], attrs)


def _ceil_pads(x: Value, kernel: Sequence[int], attrs: Mapping[str, Any]) -> tuple[int, ...]:
    """The pads with which floor division gives ceil_mode's extent (a window never starts behind the input)."""
    rank, pads = len(kernel), attrs["pads"]
    result = list(pads)
    for i, (k, stride, dilation) in enumerate(zip(kernel, attrs["strides"], attrs["dilations"], strict=True)):
        size, before, after = x.shape[2 + i], pads[i], pads[rank + i]
        span = (k - 1) * dilation + 1
        count = -(-(size + before + after - span) // stride) + 1
        if (count - 1) * stride >= size + before:
            count -= 1
        result[rank + i] = max(after, (count - 1) * stride + span - size - before)
    return tuple(result)


def _counts(
    x: Value, kernel: Sequence[int], attrs: Mapping[str, Any], pads: Sequence[int], padding: bool
) -> np.ndarray:
    """How many elements each window of an average counts: [1, 1, ...], those of the model's own padding if told."""
    rank = len(kernel)
    factors = []
    for i, (k, stride, dilation) in enumerate(zip(kernel, attrs["strides"], attrs["dilations"], strict=True)):
        size, before = x.shape[2 + i], pads[i]
        count = (size + before + pads[rank + i] - (k - 1) * dilation - 1) // stride + 1
        at = np.arange(count)[:, None] * stride - before + np.arange(k) * dilation
        low, high = (-before, size + attrs["pads"][rank + i]) if padding else (0, size)
        factors.append(((at >= low) & (at < high)).sum(axis=1))
    return reduce(np.multiply.outer, factors)[None, None]


@register_converter("MaxPool", "AveragePool", "LpPool")
def _pool(context: Context, node: NodeView, operands: Operands) -> Value | tuple[Value, ...]:
    x = need(operands, 0, "the input")
    kernel = node.integers("kernel_shape", ())
    attrs = window_attrs(node, x, kernel)
    pads = _ceil_pads(x, kernel, attrs) if node.integer("ceil_mode") else attrs["pads"]
    general = {**attrs, "pads": pads, "kernel": kernel}
    dilated = any(d != 1 for d in attrs["dilations"])
    window = {"kernel": kernel, "strides": attrs["strides"]}
    inside = all(max(pads[i], pads[len(kernel) + i]) < k for i, k in enumerate(kernel))
    plain = len(kernel) == 2 and not dilated and inside
    if node.op == "MaxPool":
        if plain and x.dtype in ("float32", "int8"):
            best = context.finish(node, "max_pool2d", [x], {**window, "pads": pads})
        else:
            best = context.finish(node, "max_pool_nd", [x], general)
        if not any(node.outputs[1:]):
            return best
        if node.integer("storage_order"):
            raise Reject("column-major indices are not implemented")
        return best, context.finish(node, "max_pool_index", [x], general, output=1)
    if node.op == "LpPool":
        order = float(node.integer("p", 2))
        return _root(context, node, lambda v: context.emit(node, "sum_pool_nd", [v], general), x, order)
    include = bool(node.integer("count_include_pad"))
    if plain and pads == attrs["pads"]:
        return context.finish(node, "avg_pool2d", [x], {**window, "pads": pads, "count_include_pad": include})
    total = context.emit(node, "sum_pool_nd", [x], general)
    counts = _counts(x, kernel, attrs, pads, include).astype(x.dtype)
    return context.finish(node, "div", [total, context.constant(counts, f"{node.name}.counts")])


def _root(context: Context, node: NodeView, total: Any, x: Value, order: float) -> Value:
    """The p-norm whose sum `total` makes."""
    size = context.emit(node, "abs", [x])
    power = context.emit(node, "pow", [size, context.number(node, order, x)])
    return context.finish(node, "pow", [total(power), context.number(node, 1 / order, x)])


@register_converter("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def _global_pool(context: Context, node: NodeView, operands: Operands) -> Value:
    x = need(operands, 0, "the input")
    over = {"axes": tuple(range(2, len(x.shape))), "keepdims": True}
    if node.op == "GlobalLpPool":
        order = float(node.integer("p", 2))
        return _root(context, node, lambda v: context.emit(node, "reduce_sum", [v], over), x, order)
    mean = node.op == "GlobalAveragePool"
    if len(x.shape) == 4 and x.dtype == "float32":
        window = {"kernel": x.shape[2:], "strides": (1, 1)}
        return context.finish(node, "avg_pool2d" if mean else "max_pool2d", [x], window)
    return context.finish(node, "reduce_mean" if mean else "reduce_max", [x], over)


@register_converter("LRN")
def _lrn(context: Context, node: NodeView, operands: Operands) -> Value:
    x, size = need(operands, 0, "the input"), node.integer("size")
    if size < 1:
        raise Reject(f"size {size} must be positive")
    attrs = {key: node.number(key, default) for key, default in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0))}
    return context.finish(node, "lrn", [x], {"size": size, **attrs})
