"""Index arithmetic that several operators share."""

from __future__ import annotations

from collections.abc import Sequence

from compiler.ir import Expr, as_expr, logical_and, select
from compiler.ops.compute.registry import PADDING
from compiler.te.tensor import Tensor, compute


def broadcast(tensor: Tensor, indices: Sequence[Expr]) -> Expr:
    """The element of `tensor` that numpy's broadcasting puts at `indices` of the result."""
    own = indices[len(indices) - tensor.ndim :]
    return tensor[tuple(as_expr(0) if size == 1 else i for i, size in zip(own, tensor.shape, strict=True))]


def reshape(indices: Sequence[Expr], shape: Sequence[int], source: Sequence[int]) -> tuple[Expr, ...]:
    """Where the element at `indices` of a tensor of `shape` lies in the same elements of shape `source`.

    Dimensions are matched in the smallest groups of equal product, so that a dimension both shapes have keeps its
    index and only what was really split or merged costs divisions.
    """
    result: list[Expr] = []
    i = j = 0
    while i < len(shape) or j < len(source):
        first_i, first_j, size_i, size_j = i, j, 1, 1
        if i < len(shape):
            size_i, i = shape[i], i + 1
        if j < len(source):
            size_j, j = source[j], j + 1
        while size_i != size_j:
            if size_i < size_j:
                size_i, i = size_i * shape[i], i + 1
            else:
                size_j, j = size_j * source[j], j + 1
        result.extend(_regroup(indices[first_i:i], shape[first_i:i], source[first_j:j]))
    return tuple(result)


def _regroup(indices: Sequence[Expr], shape: Sequence[int], source: Sequence[int]) -> list[Expr]:
    """Flatten `indices` over `shape` and split the result over `source` (equal products)."""
    if len(shape) == len(source) == 1:
        return list(indices)
    flat = as_expr(0)
    for index, size in zip(indices, shape, strict=True):
        flat = flat * size + index
    out: list[Expr] = []
    stride = 1
    for size in reversed(source):
        out.append(as_expr(0) if size == 1 else flat // stride % size)
        stride *= size
    return out[::-1]


def padded(x: Tensor, before: Sequence[int], after: Sequence[int], value: float) -> Tensor:
    """`x` surrounded by `before` and `after` elements of `value` along every axis."""
    shape = [b + size + a for size, b, a in zip(x.shape, before, after, strict=True)]
    number = float(value) if x.dtype.startswith("float") else int(value)

    def element(*indices: Expr) -> Expr:
        inside, source = [], []
        for index, low, size, high in zip(indices, before, x.shape, after, strict=True):
            if low:
                inside.append(index >= low)
            if high:
                inside.append(index < low + size)
            source.append(index - low)
        return select(logical_and(*inside), x[tuple(source)], number)

    return compute(shape, element, f"{x.name}_padded", tag=PADDING)


def padded_window(x: Tensor, pads: Sequence[int], value: float) -> Tensor:
    """`x` [N,C,H,W,...] padded by pads = (top, left, bottom, right); `x` itself when there is nothing to pad."""
    if not any(pads):
        return x
    top, left, bottom, right = pads
    rest = (0,) * (x.ndim - 4)
    return padded(x, (0, 0, top, left, *rest), (0, 0, bottom, right, *rest), value)
