"""Windows over any number of spatial axes, as tensor expressions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from compiler.ir import Expr, as_expr, call, const, eq, logical_and, select
from compiler.ops.compute.indexing import padded
from compiler.ops.compute.registry import register_compute
from compiler.ops.registry import Attrs, TensorType
from compiler.ops.window import lowest
from compiler.te.tensor import IterVar, Reducer, Tensor, compute, reduce_axis
from compiler.te.tensor import max as te_max
from compiler.te.tensor import min as te_min
from compiler.te.tensor import sum as te_sum


def _surrounded(x: Tensor, attrs: Attrs, fill: float) -> Tensor:
    rank = x.ndim - 2
    pads = attrs["pads"]
    if not any(pads):
        return x
    return padded(x, (0, 0, *pads[:rank]), (0, 0, *pads[rank:]), fill)


def _axes(kernel: Sequence[int]) -> list[IterVar]:
    return [reduce_axis(extent, f"k{d}") for d, extent in enumerate(kernel)]


def _at(i: Sequence[Expr], taps: Sequence[Expr], attrs: Attrs) -> tuple[Expr, ...]:
    """Where the windows at `i` have the kernel positions `taps`."""
    per_axis = zip(i, taps, attrs["strides"], attrs["dilations"], strict=True)
    return tuple(index * stride + tap * dilation for index, tap, stride, dilation in per_axis)


def _pool(x: Tensor, attrs: Attrs, output: TensorType, reducer: Reducer, fill: float) -> Tensor:
    source, taps = _surrounded(x, attrs, fill), _axes(attrs["kernel"])

    def element(n: Expr, c: Expr, *i: Expr) -> Expr:
        return reducer(source[(n, c, *_at(i, taps, attrs))], axis=taps)

    return compute(output.shape, lambda *i: element(*i), "pool")


@register_compute("max_pool_nd")
def max_pool_nd(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
    """Window maximum; the padding never wins."""
    return _pool(inputs[0], attrs, output, te_max, lowest(output.dtype))


@register_compute("sum_pool_nd")
def sum_pool_nd(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
    """Window sum; the padding holds 0."""
    return _pool(inputs[0], attrs, output, te_sum, 0)


@register_compute("max_pool_index")
def max_pool_index(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
    """The least flat index, within a plane, of an element that equals the window's maximum."""
    (x,) = inputs
    fill = lowest(x.dtype)
    best = _pool(x, attrs, TensorType(output.shape, x.dtype), te_max, fill)
    source, taps = _surrounded(x, attrs, fill), _axes(attrs["kernel"])
    extents = x.shape[2:]
    plane = math.prod(extents)

    def nearest(*indices: Expr) -> Expr:
        n, c, *i = indices
        at = _at(i, taps, attrs)
        flat, inside = as_expr(0), []
        for position, before, extent in zip(at, attrs["pads"], extents, strict=False):
            flat = flat * extent + (position - before)
            inside += [position >= before, position < before + extent]
        hit = logical_and(eq(source[(n, c, *at)], best[indices]), *inside)
        return te_min(select(hit, flat, plane), axis=taps)

    index = compute(output.shape, nearest, "nearest")

    def element(*i: Expr) -> Expr:
        return (i[0] * x.shape[1] + i[1]).astype("int64") * const(plane, "int64") + index[i].astype("int64")

    return compute(output.shape, element, "max_pool_index")


@register_compute("conv_nd")
def conv_nd(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
    """x [N,C,...], w [O,C/groups,...] -> [N,O,...]."""
    x, w = inputs
    groups = attrs["groups"]
    per_group, in_group = w.shape[0] // groups, w.shape[1]
    source, taps, rc = _surrounded(x, attrs, 0), _axes(w.shape[2:]), reduce_axis(in_group, "rc")

    def element(*indices: Expr) -> Expr:
        n, o, *i = indices
        channel = o // per_group * in_group + rc if groups > 1 else rc
        return te_sum(source[(n, channel, *_at(i, taps, attrs))] * w[(o, rc, *taps)], axis=[rc, *taps])

    return compute(output.shape, element, "conv_nd")


@register_compute("conv_transpose")
def conv_transpose(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
    """Gathered by phases: outputs whose positions agree modulo the stride meet the same weights.

    Output p = q * stride + r - pad takes, for every j, weight k = r' + j * (stride / gcd) and input (p + pad -
    k * dilation) / stride, where r' is the first k that makes this whole: a dense convolution a phase, which multiplies
    no zeros between the elements of x. Phases that no weight reaches are 0.
    """
    x, w, *bias = inputs
    strides, dilations, groups = attrs["strides"], attrs["dilations"], attrs["groups"]
    rank, kernel, shape = x.ndim - 2, w.shape[2:], output.shape[2:]
    pads = attrs["pads"][:rank]
    in_group, per_group = x.shape[1] // groups, w.shape[1]
    # How far taps are apart in a phase, and how many outputs a phase has.
    apart = [s // math.gcd(s, d) for s, d in zip(strides, dilations, strict=True)]
    counts = [-(-(n + p) // s) for n, p, s in zip(shape, pads, strides, strict=True)]
    before = [(k - 1) * d // s + 1 for k, d, s in zip(kernel, dilations, strides, strict=True)]
    after = [max(0, q - n) for q, n in zip(counts, x.shape[2:], strict=True)]
    source = padded(x, (0, 0, *before), (0, 0, *after), 0)
    firsts = [_first_taps(s, d) for s, d in zip(strides, dilations, strict=True)]
    phases: dict[tuple[int, ...], Tensor | None] = {}
    for phase in itertools.product(*(range(s) for s in strides)):
        starts = [first[r] for first, r in zip(firsts, phase, strict=True)]
        if any(start is None or start >= k for start, k in zip(starts, kernel, strict=True)):
            phases[phase] = None
            continue
        first = [start or 0 for start in starts]
        count = [-(-(k - start) // a) for k, start, a in zip(kernel, first, apart, strict=True)]
        rc, steps = reduce_axis(in_group, "rc"), _axes(count)

        def element(*indices: Expr, phase=phase, first=first, rc=rc, steps=steps) -> Expr:
            n, o, *q = indices
            group = o // per_group
            channel = group * in_group + rc if groups > 1 else as_expr(rc)
            at, tap = [], []
            for axis in range(rank):
                # (q * s + r - k * d) / s, a whole number for k = first + j * apart
                whole = (phase[axis] - first[axis] * dilations[axis]) // strides[axis]
                step = apart[axis] * dilations[axis] // strides[axis]
                at.append(q[axis] - steps[axis] * step + (whole + before[axis]))
                tap.append(steps[axis] * apart[axis] + first[axis])
            weight = w[(channel, o % per_group if groups > 1 else o, *tap)]
            return te_sum(source[(n, channel, *at)] * weight, axis=[rc, *steps])

        name = "conv_transpose_" + "_".join(map(str, phase))
        phases[phase] = compute((*output.shape[:2], *counts), element, name)

    def interleaved(*indices: Expr) -> Expr:
        n, o, *p = indices
        moved = [index + pad for index, pad in zip(p, pads, strict=True)]
        quotients = [m // s for m, s in zip(moved, strides, strict=True)]
        value: Expr = const(0.0, output.dtype)
        for number, (phase, tensor) in enumerate(phases.items()):
            part = const(0.0, output.dtype) if tensor is None else tensor[(n, o, *quotients)]
            here = logical_and(*(eq(m % s, r) for m, s, r in zip(moved, strides, phase, strict=True)))
            value = part if number == 0 else select(here, part, value)
        return value + bias[0][o] if bias else value

    return compute(output.shape, interleaved, "conv_transpose")


def _first_taps(stride: int, dilation: int) -> list[int | None]:
    """For every phase r the least k with k * dilation = r modulo stride, None where there is none."""
    return [next((k for k in range(stride) if (k * dilation - r) % stride == 0), None) for r in range(stride)]


@register_compute("lrn")
def lrn(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
    """x / (bias + alpha / size * sum of squares) ** beta."""
    (x,) = inputs
    size = attrs["size"]
    before, rest = (size - 1) // 2, (0,) * (x.ndim - 2)
    source = padded(x, (0, before, *rest), (0, size - 1 - before, *rest), 0)
    k = reduce_axis(size, "k")

    def squares(*i: Expr) -> Expr:
        value = source[(i[0], i[1] + k, *i[2:])]
        return te_sum(value * value, axis=k)

    total = compute(x.shape, squares, "squares")
    bias, factor = float(attrs["bias"]), float(attrs["alpha"]) / size

    def element(*i: Expr) -> Expr:
        return x[i] / call("pow", total[i] * factor + bias, const(float(attrs["beta"]), x.dtype))

    return compute(output.shape, element, "lrn")
