"""The integer operators on a CPU: sums of int8 products, and their rounding to int8 in registers.

Rounding goes through float64, where it is exact: |int32 * mult| < 2^49 is a float64, and a power of two only moves its
exponent. That is also how the graph's operators are defined (see `compiler.ops.quantization`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from compiler.backend.cpu import amx, vnni
from compiler.backend.cpu.layouts import block_of
from compiler.backend.cpu.processor import Processor
from compiler.graph.ir import Node
from compiler.graph.layout import is_plain
from compiler.ir import Expr, call, maximum, minimum
from compiler.ops.compute import WINDOW, compute_of, constant
from compiler.ops.compute.indexing import broadcast, padded_window
from compiler.ops.quantization import unpack_params
from compiler.ops.registry import Attrs, TensorType
from compiler.te.tensor import Tensor, compute, reduce_axis
from compiler.te.tensor import sum as te_sum

#: the tags of the stages that have templates
MATRIX, DOT, DEPTHWISE = "cpu.int8.matrix", "cpu.int8.dot", "cpu.int8.depthwise"


def expression(
    node: Node, inputs: Sequence[Tensor], attrs: Attrs, stored: TensorType, processor: Processor
) -> Tensor | None:
    """The tensor expression of a node that is faster than the general one, of what is stored; None if there is none."""
    blocked = not is_plain(node.output.layout)
    if node.op in ("requantize", "qadd") and not processor.doubles:
        return None
    if node.op == "requantize" and node.inputs[1].const is not None:
        if blocked == is_plain(node.inputs[0].layout):
            return None
        return _requantize(inputs[0], node.inputs[1].const, attrs, stored, block_of(node.output.layout))
    if any(value.layout != node.output.layout for value in node.inputs if value.const is None and node.op != "conv2d"):
        return None
    if node.op == "qadd":
        return _qadd(inputs, attrs, stored)
    if node.op == "avg_pool2d_sum" and blocked:
        return compute_of(node.op)(inputs, attrs, stored)
    if node.op == "conv2d" and blocked and node.inputs[0].dtype == "int8":
        if attrs["groups"] > 1:
            return _depthwise(inputs, attrs, stored.shape)
        return _convolution(node, inputs, attrs, stored.shape, processor)
    return None


def _rounded(value: Expr, factor: Expr | float, attrs: Attrs) -> Expr:
    """clip(round_half_even(value * factor) + zero point) as int8, of a float64 `value`."""
    zero = int(attrs["zero_point"])
    whole = call("round", value * factor)
    within = minimum(maximum(whole, float(attrs["low"] - zero)), float(attrs["high"] - zero))
    return (within.astype("int32") + zero).astype("int8")


def _requantize(acc: Tensor, params: np.ndarray, attrs: Attrs, stored: TensorType, block: int) -> Tensor:
    bias, mult, shift = unpack_params(params)
    added = constant(bias.astype(np.int32), "bias")
    factor = constant(np.ldexp(mult.astype(np.float64), -shift), "factor")

    def element(*i: Expr) -> Expr:
        channel = i[1] * block + i[-1] if block else i[1]
        return _rounded((acc[i] + added[channel]).astype("float64"), factor[channel], attrs)

    return compute(stored.shape, element, "requantize")


def _qadd(inputs: Sequence[Tensor], attrs: Attrs, stored: TensorType) -> Tensor:
    a, b = inputs
    factor = math.ldexp(attrs["mult"], -attrs["shift"])

    def element(*i: Expr) -> Expr:
        left = (broadcast(a, i).astype("int32") - int(attrs["za"])) << int(attrs["k"])
        right = (broadcast(b, i).astype("int32") - int(attrs["zb"])) * int(attrs["m2"])
        return _rounded((left + right).astype("float64"), factor, attrs)

    return compute(stored.shape, element, "qadd")


def _depthwise(inputs: Sequence[Tensor], attrs: Attrs, shape: Sequence[int]) -> Tensor:
    """x [N,C/b,H,W,b], w [C/b,1,kh,kw,b] -> [N,C/b,H',W',b] int32."""
    x, w = inputs
    (sh, sw), (dh, dw) = attrs["strides"], attrs["dilations"]
    source = padded_window(x, attrs["pads"], attrs["pad_value"])
    rh, rw = reduce_axis(w.shape[2], "rh"), reduce_axis(w.shape[3], "rw")

    def element(n: Expr, c: Expr, h: Expr, w_: Expr, lane: Expr) -> Expr:
        pixel = source[n, c, h * sh + rh * dh, w_ * sw + rw * dw, lane].astype("int32")
        return te_sum(pixel * w[c, 0, rh, rw, lane].astype("int32"), axis=(rh, rw))

    return compute(shape, element, "conv2d", tag=WINDOW)


def _convolution(
    node: Node, inputs: Sequence[Tensor], attrs: Attrs, shape: Sequence[int], processor: Processor
) -> Tensor:
    """x [N,C/b,H,W,b], w [O/16,C/b,kh,kw,b/4,16,4] (b/4 left out where it is 1) -> [N,O/c,H',W',c] int32.

    The sums [N,O/16,H'',W'',16] have a few more rows and columns where the output's own make bad tiles.
    """
    x, w = inputs
    (sh, sw), (dh, dw) = attrs["strides"], attrs["dilations"]
    kh, kw = w.shape[2:4]
    block = shape[4]
    matrix = amx.available(processor)
    vectors = block // amx.LANES
    extent = amx.extent if matrix else vnni.extent
    height, width = extent(vectors, shape[2], shape[3], any(attrs["pads"]))
    top, left, _, _ = attrs["pads"]
    # What the window reads, no row or column more: that is how the copy is stored.
    bottom = (height - 1) * sh + (kh - 1) * dh + 1 - x.shape[2] - top
    right = (width - 1) * sw + (kw - 1) * dw + 1 - x.shape[3] - left
    source = x
    if max(top, left, bottom, right) > 0:
        source = padded_window(x, (top, left, bottom, right), attrs["pad_value"])
    if not matrix:
        source = vnni.unsigned(source)
    rc, rh, rw = reduce_axis(w.shape[1], "rc"), reduce_axis(kh, "rh"), reduce_axis(kw, "rw")
    quads = (reduce_axis(w.shape[4], "rq"),) if w.ndim == 7 else ()
    ri = reduce_axis(amx.QUAD, "ri")

    def element(n: Expr, o: Expr, h: Expr, w_: Expr, lane: Expr) -> Expr:
        channel = quads[0] * amx.QUAD + ri if quads else ri
        pixel = source[n, rc, h * sh + rh * dh, w_ * sw + rw * dw, channel].astype("int32")
        return te_sum(pixel * w[(o, rc, rh, rw, *quads, lane, ri)].astype("int32"), axis=(rc, rh, rw, *quads, ri))

    sums = (shape[0], w.shape[0], height, width, amx.LANES)
    tag = MATRIX if matrix else DOT
    acc = compute(sums, element, "conv2d", tag=tag)
    constants = node.inputs[1].const
    assert constants is not None
    excess = None if matrix else vnni.excess(constants)

    def stored(n: Expr, c: Expr, h: Expr, w_: Expr, i: Expr) -> Expr:
        value = acc[n, c * vectors + i // amx.LANES, h, w_, i % amx.LANES]
        return value if excess is None else value - excess[c * block + i]

    return compute(shape, stored, "conv2d_blocks")
