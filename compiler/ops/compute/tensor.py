"""Tensor manipulation as tensor expressions: nothing is computed, elements only move."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compiler.ir import Expr, select
from compiler.ops.compute.indexing import broadcast, padded, reshape
from compiler.ops.compute.registry import constant, register_compute
from compiler.ops.registry import Attrs, TensorType
from compiler.te.tensor import Tensor, compute


@register_compute("identity")
def identity(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
    """A copy."""
    (x,) = inputs
    return compute(output.shape, lambda *i: x[i], "identity")


@register_compute("reshape")
def reshape_(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
    """The same elements in row-major order under another shape."""
    (x,) = inputs
    return compute(output.shape, lambda *i: x[reshape(i, output.shape, x.shape)], "reshape")


@register_compute("transpose")
def transpose(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
    """Output axis i is input axis perm[i]."""
    (x,) = inputs
    position = {source: axis for axis, source in enumerate(attrs["perm"])}
    return compute(output.shape, lambda *i: x[tuple(i[position[a]] for a in range(x.ndim))], "transpose")


@register_compute("pad")
def pad(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
    """A constant around the tensor."""
    return padded(inputs[0], attrs["before"], attrs["after"], attrs["value"])


@register_compute("concat")
def concat(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
    """Tensors joined along one axis."""
    axis = attrs["axis"]

    def element(*indices: Expr) -> Expr:
        end = output.shape[axis]
        result: Expr | None = None
        for tensor in reversed(inputs):
            start = end - tensor.shape[axis]
            own = (*indices[:axis], indices[axis] - start, *indices[axis + 1 :])
            result = tensor[own] if result is None else select(indices[axis] < end, tensor[own], result)
            end = start
        assert result is not None
        return result

    return compute(output.shape, element, "concat")


@register_compute("slice")
def slice_(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
    """Every axis from its start on, in steps."""
    (x,) = inputs
    starts, steps = attrs["starts"], attrs["steps"]

    def element(*i: Expr) -> Expr:
        return x[tuple(start + index * step for index, start, step in zip(i, starts, steps, strict=True))]

    return compute(output.shape, element, "slice")


@register_compute("broadcast_to")
def broadcast_to(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
    """numpy's broadcasting to a shape."""
    (x,) = inputs
    return compute(output.shape, lambda *i: broadcast(x, i), "broadcast_to")


@register_compute("tile")
def tile(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
    """Every axis repeated; where it is, a table says which element stands where (cheaper than a division)."""
    (x,) = inputs
    tables = [
        constant(np.tile(np.arange(n, dtype=np.int32), r), f"positions{axis}") if r > 1 else None
        for axis, (n, r) in enumerate(zip(x.shape, attrs["repeats"], strict=True))
    ]

    def element(*i: Expr) -> Expr:
        return x[tuple(n if table is None else table[n] for n, table in zip(i, tables, strict=True))]

    return compute(output.shape, element, "tile")
