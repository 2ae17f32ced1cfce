"""Two-dimensional pooling as tensor expressions."""

from __future__ import annotations

from collections.abc import Sequence

from compiler.ir import Expr, as_expr, maximum, minimum
from compiler.ops.compute.indexing import padded_window
from compiler.ops.compute.registry import WINDOW, register_compute
from compiler.ops.registry import Attrs, TensorType
from compiler.te.tensor import Reducer, Tensor, compute, reduce_axis
from compiler.te.tensor import max as te_max
from compiler.te.tensor import sum as te_sum


def _pool(x: Tensor, attrs: Attrs, output: TensorType, reducer: Reducer, pad_value: float, name: str) -> Tensor:
    """Combine every window of x [N,C,H,W] or, channels in blocks, [N,C/b,H,W,b], in the output's element type."""
    (kh, kw), (sh, sw) = attrs["kernel"], attrs["strides"]
    source = padded_window(x, attrs["pads"], pad_value)
    rh, rw = reduce_axis(kh, "rh"), reduce_axis(kw, "rw")

    def element(n: Expr, c: Expr, h: Expr, w: Expr, *block: Expr) -> Expr:
        return reducer(source[(n, c, h * sh + rh, w * sw + rw, *block)].astype(output.dtype), axis=(rh, rw))

    return compute(output.shape, element, name, tag=WINDOW)


@register_compute("max_pool2d")
def max_pool2d(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
    """Window maximum; the padding never wins."""
    lowest = float("-inf") if output.dtype == "float32" else -128
    return _pool(inputs[0], attrs, output, te_max, lowest, "max_pool2d")


@register_compute("avg_pool2d_sum")
def avg_pool2d_sum(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
    """Window sum, int8 -> int32."""
    return _pool(inputs[0], attrs, output, te_sum, attrs["pad_value"], "avg_pool2d_sum")


@register_compute("avg_pool2d")
def avg_pool2d(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
    """Window mean; the divisor counts the padding only if count_include_pad."""
    (x,) = inputs
    total = _pool(x, attrs, output, te_sum, 0.0, "avg_pool2d_sum")
    kernel, strides, (top, left, bottom, right) = attrs["kernel"], attrs["strides"], attrs["pads"]

    def inside(index: Expr, axis: int, before: int, after: int) -> Expr:
        """How many elements of the window at output `index` lie inside the tensor along an axis."""
        if attrs["count_include_pad"] or not (before or after):
            return as_expr(kernel[axis])
        start = index * strides[axis] - before
        return minimum(start + kernel[axis], x.shape[2 + axis]) - maximum(start, 0)

    def element(n: Expr, c: Expr, h: Expr, w: Expr, *block: Expr) -> Expr:
        count = inside(h, 0, top, bottom) * inside(w, 1, left, right)
        return total[(n, c, h, w, *block)] / count.astype("float32")

    return compute(output.shape, element, "avg_pool2d")
