"""The integer operators on a CPU: sums of int8 products, and their rounding to int8 in registers.

A product is rounded half to even by adding 1.5 * 2^m, beyond which floats of m bits are whole, and taking it off.
In float64 that is exact for every sum (|int32 * mult| < 2^49, and a power of two only moves the exponent). In float32
it is exact in one fused step where the sum is a float32, up to 2^24; larger ones may be off as long as the factor makes
them far larger than int8, where they are clipped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from compiler.backend.cpu import amx, int8_dense, int8_winograd
from compiler.backend.cpu.dot_product import dot_product
from compiler.backend.cpu.layouts import block_of
from compiler.backend.cpu.processor import Processor
from compiler.graph.ir import Node, Value
from compiler.graph.layout import is_plain
from compiler.ir import Expr, call, const, maximum, minimum, rshift_rne, select
from compiler.ops.compute import compute_of, constant
from compiler.ops.compute.indexing import broadcast, padded_window
from compiler.ops.quantization import unpack_params
from compiler.ops.registry import Attrs, TensorType
from compiler.te.tensor import Tensor, compute, reduce_axis
from compiler.te.tensor import sum as te_sum

#: the tags of the stages that have templates
MATRIX, DEPTHWISE, QUADS = (f"cpu.int8.{name}" for name in ("matrix", "depthwise", "quads"))
# Added to a float of small magnitude it leaves the nearest whole number.
_WHOLE = {"float32": 1.5 * 2.0**23, "float64": 1.5 * 2.0**52}
# Integers up to here are float32 values; products from here on are clipped, whatever the zero point.
_EXACT, _CLIPPED = 2.0**24, 2.0**10


def expression(
    node: Node, inputs: Sequence[Tensor], attrs: Attrs, stored: TensorType, processor: Processor
) -> Tensor | None:
    """The tensor expression of a node that is faster than the general one, of what is stored; None if there is none."""
    blocked = not is_plain(node.output.layout)
    if node.op == "layout_transform" and node.output.dtype == "int8" and node.output.layout == f"NCHW{amx.QUAD}c":
        whole = is_plain(node.inputs[0].layout) and len(node.output.shape) == 4
        return _quads(inputs[0], stored.shape) if whole else None
    if node.op == "requantize" and node.inputs[1].const is not None:
        if blocked == is_plain(node.inputs[0].layout):
            return None
        return _requantize(node, inputs[0], attrs, stored, processor)
    if any(value.layout != node.output.layout for value in node.inputs if value.const is None and node.op != "conv2d"):
        return None
    if node.op == "dense" and not is_plain(node.inputs[1].layout) and node.inputs[0].dtype == "int8":
        weights = node.inputs[1].const
        assert weights is not None
        instruction = dot_product(processor, weights)
        assert instruction is not None
        return int8_dense.dense(inputs, weights, stored.shape[1], instruction)
    if node.op == "qadd":
        return _qadd(inputs, attrs, stored, processor)
    if node.op == "avg_pool2d_sum" and blocked:
        return compute_of(node.op)(inputs, attrs, stored)
    if node.op == "conv2d" and blocked and node.inputs[0].dtype == "int8":
        if attrs["groups"] > 1:
            return _depthwise(inputs, attrs, stored.shape)
        transform = int8_winograd.transform_of(node, processor)
        if transform is not None:
            return int8_winograd.convolution(node, inputs[0], attrs, stored.shape, transform, processor)
        return _convolution(node, inputs, attrs, stored.shape, processor)
    return None


def _rounded(value: Expr, factor: Expr, attrs: Attrs) -> Expr:
    """clip(round_half_even(value * factor) + zero point) as int8, of an int32 `value`, in the type of `factor`."""
    wide, whole = value.astype(factor.dtype), _WHOLE[factor.dtype]
    single = factor.dtype == "float32"
    moved = call("fma", wide, factor, const(whole, "float32")) if single else wide * factor + whole
    back = moved - (whole - attrs["zero_point"])
    return minimum(maximum(back, float(attrs["low"])), float(attrs["high"])).astype("int32").astype("int8")


def _requantize(node: Node, acc: Tensor, attrs: Attrs, stored: TensorType, processor: Processor) -> Tensor:
    params, block = node.inputs[1].const, block_of(node.output.layout)
    assert params is not None
    bias, mult, shift = unpack_params(params)
    factors = np.ldexp(mult.astype(np.float64), -shift)
    exact = (_largest(node.inputs[0]) + np.abs(bias) <= _EXACT) | (np.abs(factors) >= _CLIPPED / _EXACT)
    single = processor.fuses and exact.all()
    added = constant(bias.astype(np.int32), "bias")
    # Groups share a kernel if their tables have the same types, whatever is in them: nothing else may depend on it.
    if single or processor.doubles:
        tables = [constant(factors.astype(np.float32) if single else factors, "factor")]
    else:
        tables = [constant(mult.astype(np.int32), "mult"), constant(shift.astype(np.int32), "shift")]
        halves = _halves(mult, shift)
        if halves is not None:
            tables.append(constant(halves, "half"))

    def element(*i: Expr) -> Expr:
        channel = i[1] * block + i[-1] if block else i[1]
        value = acc[i] + added[channel]
        first, *more = (table[channel] for table in tables)
        if not more:
            return _rounded(value, first, attrs)
        return _shifted(value, first, more[0], more[1] if len(more) > 1 else None, attrs)

    return compute(stored.shape, element, "requantize")


def _largest(sums: Value) -> np.ndarray:
    """The greatest magnitude that each channel's sums can have."""
    producer = sums.producer
    if producer is None or producer.op not in ("conv2d", "dense") or producer.inputs[1].const is None:
        return np.full(sums.shape[1], 2.0**31)
    weights = producer.inputs[1].const
    return 128.0 * np.abs(weights.astype(np.float64)).reshape(weights.shape[0], -1).sum(axis=1)


def _shifted(value: Expr, mult: Expr, shift: Expr, half: Expr | None, attrs: Attrs) -> Expr:
    """As `_rounded`, of value * mult / 2^shift by integers, for vectors that hold no float64.

    half: 2^(shift - 1) - 1, of int64, where |mult| < 2^shift, so that the result is an int32: a half is rounded up if
    the result would be odd, without a comparison, of which NEON has none for int64.
    """
    product, shift = value.astype("int64") * mult.astype("int64"), shift.astype("int64") & 63
    if half is None:
        moved = rshift_rne(product, shift)
    else:
        moved = ((product + ((product >> shift) & 1) + half) >> shift).astype("int32")
    low, high, zero = (int(attrs[name]) for name in ("low", "high", "zero_point"))
    return (minimum(maximum(moved, low - zero), high - zero) + zero).astype("int8")


def _halves(mult: np.ndarray, shift: np.ndarray) -> np.ndarray | None:
    """2^(shift - 1) - 1 where that is defined and all results are int32 (see `_shifted`)."""
    if (np.abs(mult) >= np.int64(1) << shift).any() or (shift < 1).any():
        return None
    return (np.int64(1) << (shift - 1)) - 1


def _qadd(inputs: Sequence[Tensor], attrs: Attrs, stored: TensorType, processor: Processor) -> Tensor:
    a, b = inputs
    mult, shift = int(attrs["mult"]), int(attrs["shift"])
    halves = _halves(np.array(mult), np.array(shift))
    half = None if halves is None else const(int(halves), "int64")

    def element(*i: Expr) -> Expr:
        left = (broadcast(a, i).astype("int32") - int(attrs["za"])) << int(attrs["k"])
        right = (broadcast(b, i).astype("int32") - int(attrs["zb"])) * int(attrs["m2"])
        if processor.doubles:
            return _rounded(left + right, const(math.ldexp(mult, -shift), "float64"), attrs)
        return _shifted(left + right, const(mult, "int32"), const(shift, "int32"), half, attrs)

    return compute(stored.shape, element, "qadd")


def _quads(x: Tensor, shape: Sequence[int]) -> Tensor:
    """x [N,C,H,W] -> [N,ceil(C/4),H,W,4], the tail zero."""

    def element(n: Expr, c: Expr, h: Expr, w: Expr, i: Expr) -> Expr:
        channel = c * amx.QUAD + i
        return select(channel < x.shape[1], x[n, channel, h, w], 0)

    return compute(shape, element, "quads", tag=QUADS)


def _depthwise(inputs: Sequence[Tensor], attrs: Attrs, shape: Sequence[int]) -> Tensor:
    """x [N,C/b,H,W,b], w [C/b,1,kh,kw,b] -> [N,C/b,H',W',b] int32; in float32, which sums of few products fit exactly
    and which are multiplied and added at once."""
    x, w = inputs
    (sh, sw), (dh, dw) = attrs["strides"], attrs["dilations"]
    source = padded_window(x, attrs["pads"], attrs["pad_value"])
    rh, rw = reduce_axis(w.shape[2], "rh"), reduce_axis(w.shape[3], "rw")
    kind = "float32" if 2**14 * rh.extent * rw.extent <= _EXACT else "int32"
    wide = compute(source.shape, lambda *i: source[i].astype(kind), "wide")

    def element(n: Expr, c: Expr, h: Expr, w_: Expr, lane: Expr) -> Expr:
        pixel = wide[n, c, h * sh + rh * dh, w_ * sw + rw * dw, lane]
        return te_sum(pixel * w[c, 0, rh, rw, lane].astype(kind), axis=(rh, rw))

    sums = compute(shape, element, "conv2d", tag=DEPTHWISE)
    if kind == "int32":
        return sums
    return compute(shape, lambda *i: minimum(maximum(sums[i], -_EXACT), _EXACT).astype("int32"), "conv2d_sums")


def _convolution(
    node: Node, inputs: Sequence[Tensor], attrs: Attrs, shape: Sequence[int], processor: Processor
) -> Tensor:
    """x [N,C/b,H,W,b], w [O/16,C/b,kh,kw,b/4,16,4] -> [N,O/c,H',W',c] int32.

    That is w for four channels reduced at once, b/4 left out where it is 1; for pairs it is [...,b/2,16,2], for two
    pairs [...,b/4,2,16,2]. The sums [N,O/16,H'',W'',16] have a few more rows and columns where the output's own make
    bad tiles.
    """
    x, w = inputs
    (sh, sw), (dh, dw) = attrs["strides"], attrs["dilations"]
    kh, kw = w.shape[2:4]
    block = shape[4]
    constants = node.inputs[1].const
    assert constants is not None
    instruction = None if amx.available(processor) else dot_product(processor, constants)
    vectors = block // amx.LANES
    extent = amx.extent if instruction is None else instruction.extent
    height, width = extent(vectors, shape[2], shape[3], any(attrs["pads"]))
    top, left, _, _ = attrs["pads"]
    # What the window reads, no row or column more: that is how the copy is stored.
    bottom = (height - 1) * sh + (kh - 1) * dh + 1 - x.shape[2] - top
    right = (width - 1) * sw + (kw - 1) * dw + 1 - x.shape[3] - left
    source = x
    if max(top, left, bottom, right) > 0:
        source = padded_window(x, (top, left, bottom, right), attrs["pad_value"])
    if instruction is not None:
        source = instruction.prepared(source)
    rc, rh, rw = reduce_axis(w.shape[1], "rc"), reduce_axis(kh, "rh"), reduce_axis(kw, "rw")
    groups = [reduce_axis(extent, "rq") for extent in w.shape[4:-2]]
    ri = reduce_axis(w.shape[-1], "ri")
    first, *more = (*groups, ri)
    channel: Expr = first
    for axis in more:
        channel = channel * axis.extent + axis

    def element(n: Expr, o: Expr, h: Expr, w_: Expr, lane: Expr) -> Expr:
        pixel = source[n, rc, h * sh + rh * dh, w_ * sw + rw * dw, channel].astype("int32")
        return te_sum(pixel * w[(o, rc, rh, rw, *groups, lane, ri)].astype("int32"), axis=(rc, rh, rw, *groups, ri))

    sums = (shape[0], w.shape[0], height, width, amx.LANES)
    tag = MATRIX if instruction is None else instruction.conv_tag
    acc = compute(sums, element, "conv2d", tag=tag)
    excess = None if instruction is None else instruction.excess(constants)

    def stored(n: Expr, c: Expr, h: Expr, w_: Expr, i: Expr) -> Expr:
        value = acc[n, c * vectors + i // amx.LANES, h, w_, i % amx.LANES]
        return value if excess is None else value - excess[c * block + i]

    return compute(shape, stored, "conv2d_blocks")
