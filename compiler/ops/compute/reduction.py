"""Reductions over axes, running sums, order and softmax, as tensor expressions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from compiler.ir import Expr, as_expr, binary, call, const, eq, logical_and, logical_or, ne, select
from compiler.ops.compute.registry import register_compute
from compiler.ops.registry import Attrs, TensorType
from compiler.te.scan import scan
from compiler.te.tensor import Reducer, Tensor, comm_reducer, compute, lowest, placeholder, reduce_axis
from compiler.te.tensor import max as te_max
from compiler.te.tensor import min as te_min
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
_reduction("reduce_min", te_min)
_reduction("reduce_prod", comm_reducer(lambda x, y: x * y, lambda dtype: 1, "prod"))


@register_compute("reduce_mean")
def reduce_mean(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
    """Sum over axes divided by the number of elements summed."""
    (x,) = inputs
    total = _reduced(x, attrs["axes"], attrs["keepdims"], te_sum, output, "reduce_mean_sum")
    count = float(math.prod(x.shape[axis] for axis in set(attrs["axes"])))
    return compute(output.shape, lambda *i: total[i] / count, "reduce_mean")


_GREATEST = comm_reducer(lambda x, y: binary("max", x, y), lowest, "max")
"""The loop IR's maximum, an instruction; te.max costs four, since it keeps a NaN."""


@register_compute("softmax")
def softmax(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
    """exp(x - max) / sum(exp(x - max)) along one axis; the exponentials are stored, not computed twice, and multiplied,
    since a division takes as long as several products. The maximum may drop a NaN: its exponential is one."""
    (x,) = inputs
    axis = attrs["axis"]
    kept = TensorType(tuple(1 if i == axis else s for i, s in enumerate(x.shape)), x.dtype)

    def at_zero(tensor: Tensor, indices: Sequence[Expr]) -> Expr:
        return tensor[tuple(0 if i == axis else index for i, index in enumerate(indices))]

    top = _reduced(x, (axis,), True, _GREATEST, kept, "softmax_max")
    powers = compute(x.shape, lambda *i: call("exp", x[i] - at_zero(top, i)), "softmax_exp")
    total = _reduced(powers, (axis,), True, te_sum, kept, "softmax_sum")
    factor = compute(kept.shape, lambda *i: 1.0 / total[i], "softmax_factor")
    return compute(x.shape, lambda *i: powers[i] * at_zero(factor, i), "softmax")


@register_compute("arg_reduce")
def arg_reduce(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
    """The extreme along the axis, then the first or last position that holds it (or a NaN)."""
    (x,) = inputs
    axis, last = attrs["axis"], attrs["last"]
    kept = TensorType(tuple(1 if i == axis else s for i, s in enumerate(x.shape)), x.dtype)
    best = _reduced(x, (axis,), True, te_max if attrs["largest"] else te_min, kept, "extreme")
    k = reduce_axis(x.shape[axis], "k")

    def element(*indices: Expr) -> Expr:
        rest = [i for d, i in enumerate(indices) if d != axis] if attrs["keepdims"] else list(indices)
        value = x[(*rest[:axis], k, *rest[axis:])]
        found = logical_or(eq(value, best[(*rest[:axis], 0, *rest[axis:])]), ne(value, value))
        nowhere = const(-1 if last else x.shape[axis], "int64")
        return (te_max if last else te_min)(select(found, k.astype("int64"), nowhere), axis=k)

    return compute(output.shape, element, "arg_reduce")


@register_compute("cumulative")
def cumulative(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
    """A recurrence over the axis; the state's first axis is time, the others are those of x."""
    (x,) = inputs
    axis, reverse, product = attrs["axis"], attrs["reverse"], attrs["product"]
    steps = x.shape[axis] + 1  # the state before the first element is the identity
    rest = tuple(s for i, s in enumerate(x.shape) if i != axis)
    state = placeholder((steps, *rest), x.dtype, "state")
    first = compute((1, *rest), lambda *i: const(1 if product else 0, x.dtype), "identity")

    def update(t: Expr, *others: Expr) -> Expr:
        position = steps - 1 - t if reverse else t - 1
        value = x[(*others[:axis], position, *others[axis:])]
        before = state[(t - 1, *others)]
        return before * value if product else before + value

    total = scan(first, compute((steps, *rest), _variadic(update), "running"), state, [x], name="cumulative")
    assert isinstance(total, Tensor)

    def element(*i: Expr) -> Expr:
        position = x.shape[axis] - 1 - i[axis] if reverse else i[axis]
        return total[(position if attrs["exclusive"] else position + 1, *i[:axis], *i[axis + 1 :])]

    return compute(output.shape, element, "cumulative_out")


def _variadic(function: Callable[..., Expr]) -> Callable[..., Expr]:
    return lambda *indices: function(*indices)


@register_compute("order")
def order(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
    """How many elements go before each one is its rank; the element of rank r is the r-th."""
    (x,) = inputs
    axis, largest = attrs["axis"], attrs["largest"]
    other, k = reduce_axis(x.shape[axis], "other"), reduce_axis(x.shape[axis], "k")

    def rank(*i: Expr) -> Expr:
        mine, theirs = x[i], x[(*i[:axis], other, *i[axis + 1 :])]
        ahead = theirs > mine if largest else theirs < mine
        before = logical_or(ahead, logical_and(eq(theirs, mine), as_expr(other) < i[axis]))
        return te_sum(before.astype("int32"), axis=other)

    ranks = compute(x.shape, rank, "rank")

    def element(*i: Expr) -> Expr:
        here = eq(ranks[(*i[:axis], k, *i[axis + 1 :])], i[axis])
        return te_max(select(here, k.astype("int64"), const(0, "int64")), axis=k)

    return compute(output.shape, element, "order")
