"""Convolution as vector processors want it: neighbouring outputs read neighbouring inputs, in whole vectors.

The padded input is stored with the columns of each stride phase together, and rows are computed as whole vectors; what
is beyond the output's width is dropped by the stage that follows.
"""

from __future__ import annotations

from collections.abc import Sequence

from compiler.ir import Expr, logical_and, select
from compiler.ops.compute import PADDING
from compiler.ops.compute.convolution import conv2d
from compiler.ops.registry import Attrs, TensorType
from compiler.te.tensor import Tensor, compute, reduce_axis
from compiler.te.tensor import sum as te_sum

#: how many elements are computed as one vector
LANES = (16, 8, 4)
# Rows so short would be mostly waste.
_SHORT_ROW = 4


def vector_conv2d(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
    """As `compiler.ops.compute.convolution.conv2d`, and that itself where rows are short or nothing is gained."""
    x, w = inputs[0], inputs[1]
    (sh, sw), (dh, dw), groups = attrs["strides"], attrs["dilations"], attrs["groups"]
    out_channels, in_group, kh, kw = w.shape
    n, _, rows, columns = output.shape
    if columns <= _SHORT_ROW or (kh == kw == sw == 1 and not any(attrs["pads"])):
        return conv2d(inputs, attrs, output)
    # A single vector would be cut to the part of it that is read: two of half the lanes stay whole.
    lanes = next(size for size in LANES if columns >= size)
    vectors = -(-columns // lanes)
    top, left, _, _ = attrs["pads"]
    height, width = x.shape[2:]
    number = float(attrs["pad_value"]) if x.dtype.startswith("float") else int(attrs["pad_value"])

    def pixel(n: Expr, c: Expr, h: Expr, phase: Expr, q: Expr) -> Expr:
        column = q * sw + phase
        inside = logical_and(h >= top, h < top + height, column >= left, column < left + width)
        return select(inside, x[n, c, h - top, column - left], number)

    extent = (n, x.shape[1], (rows - 1) * sh + (kh - 1) * dh + 1, sw, vectors * lanes + (kw - 1) * dw // sw)
    source = compute(extent, pixel, f"{x.name}_phases", tag=PADDING)
    rc, rh, rw = reduce_axis(in_group, "rc"), reduce_axis(kh, "rh"), reduce_axis(kw, "rw")
    per_group = out_channels // groups

    def element(n: Expr, o: Expr, h: Expr, vector: Expr, lane: Expr) -> Expr:
        channel = o // per_group * in_group + rc if groups > 1 else rc
        column = vector * lanes + lane + rw * dw // sw
        value = source[n, channel, h * sh + rh * dh, rw * dw % sw, column].astype(output.dtype)
        return te_sum(value * w[o, rc, rh, rw].astype(output.dtype), axis=(rc, rh, rw))

    result = compute((n, out_channels, rows, vectors, lanes), element, "conv2d")

    def column(n: Expr, o: Expr, h: Expr, w_: Expr) -> Expr:
        value = result[n, o, h, w_ // lanes, w_ % lanes]
        return value + inputs[2][o] if len(inputs) == 3 else value

    return compute(output.shape, column, "conv2d_columns")
