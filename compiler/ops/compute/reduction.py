"""Reductions over axes, and softmax, as tensor expressions."""

from __future__ import annotations

import math
from collections.abc import Sequence

from compiler.ir import Expr, call
from compiler.ops.compute.registry import register_compute
from compiler.ops.registry import Attrs, TensorType
from compiler.te.tensor import Reducer, Tensor, compute, reduce_axis
from compiler.te.tensor import max as te_max
from compiler.te.tensor import sum as te_sum


def _reduced(x: Tensor, axes: Sequence[int], keepdims: bool, reducer: Reducer, output: TensorType, name: str) -> Tensor:
    loops = {axis: reduce_axis(x.shape[axis], f"r{axis}") for axis in sorted(axes)}

    def element(*indices: Expr) -> Expr:
        kept = iter(indices)
        source: list[Expr] = []
        for axis in range(x.ndim):
            if axis not in loops:
                source.append(next(kept))
                continue
            source.append(loops[axis])
            if keepdims:
                next(kept)
        return reducer(x[tuple(source)], axis=list(loops.values()))

    if not loops:
        return compute(output.shape, lambda *i: x[i], name)
    return compute(output.shape, element, name)


def _reduction(name: str, reducer: Reducer) -> None:
    @register_compute(name)
    def reduction(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
        return _reduced(inputs[0], attrs["axes"], attrs["keepdims"], reducer, output, name)


_reduction("reduce_sum", te_sum)
_reduction("reduce_max", te_max)


@register_compute("reduce_mean")
def reduce_mean(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
    """Sum over axes divided by the number of elements summed."""
    (x,) = inputs
    total = _reduced(x, attrs["axes"], attrs["keepdims"], te_sum, output, "reduce_mean_sum")
    count = float(math.prod(x.shape[axis] for axis in set(attrs["axes"])))
    return compute(output.shape, lambda *i: total[i] / count, "reduce_mean")


@register_compute("softmax")
def softmax(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
    """exp(x - max) / sum(exp(x - max)) along one axis; the exponentials are stored, not computed twice."""
    (x,) = inputs
    axis = attrs["axis"]
    kept = TensorType(tuple(1 if i == axis else s for i, s in enumerate(x.shape)), x.dtype)

    def at_zero(tensor: Tensor, indices: Sequence[Expr]) -> Expr:
        return tensor[tuple(0 if i == axis else index for i, index in enumerate(indices))]

    top = _reduced(x, (axis,), True, te_max, kept, "softmax_max")
    powers = compute(x.shape, lambda *i: call("exp", x[i] - at_zero(top, i)), "softmax_exp")
    total = _reduced(powers, (axis,), True, te_sum, kept, "softmax_sum")
    return compute(x.shape, lambda *i: powers[i] / at_zero(total, i), "softmax")
