"""Two-dimensional convolution as a tensor expression."""

from __future__ import annotations

from collections.abc import Sequence

from compiler.ir import Expr
from compiler.ops.compute.indexing import padded_window
from compiler.ops.compute.registry import register_compute
from compiler.ops.registry import Attrs, TensorType
from compiler.te.tensor import Tensor, compute, reduce_axis
from compiler.te.tensor import sum as te_sum


@register_compute("conv2d")
def conv2d(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
    """x [N,C,H,W], w [O,C/groups,kh,kw], optional bias [O] -> [N,O,H',W'], padding stored in a stage of its own."""
    x, w = inputs[0], inputs[1]
    (sh, sw), (dh, dw), groups = attrs["strides"], attrs["dilations"], attrs["groups"]
    out_channels, in_group, kh, kw = w.shape
    source = padded_window(x, attrs["pads"], attrs["pad_value"])
    rc, rh, rw = reduce_axis(in_group, "rc"), reduce_axis(kh, "rh"), reduce_axis(kw, "rw")
    per_group = out_channels // groups

    def element(n: Expr, o: Expr, h: Expr, w_: Expr) -> Expr:
        channel = o // per_group * in_group + rc if groups > 1 else rc
        pixel = source[n, channel, h * sh + rh * dh, w_ * sw + rw * dw].astype(output.dtype)
        return te_sum(pixel * w[o, rc, rh, rw].astype(output.dtype), axis=(rc, rh, rw))

    result = compute(output.shape, element, "conv2d")
    if len(inputs) == 2:
        return result
    bias = inputs[2]
    return compute(output.shape, lambda n, o, h, w_: result[n, o, h, w_] + bias[o], "conv2d_bias")
