"""Storage layouts as tensor expressions; compiler.graph.layout's pack and unpack define the bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from compiler.graph.layout import is_plain, parse_layout, storage_shape
from compiler.ir import Expr, as_expr, logical_and, select
from compiler.ops.compute.registry import register_compute
from compiler.ops.registry import Attrs, TensorType
from compiler.te.tensor import Tensor, compute


def logical_indices(stored: Sequence[Expr], shape: Sequence[int], layout: str) -> tuple[list[Expr], Expr]:
    """The logical indices of a stored position, and the condition that it is not in a tail of zeros."""
    if is_plain(layout):
        return list(stored), as_expr(True)
    axes, blocks = parse_layout(layout)
    padded = storage_shape(tuple(shape), layout)
    indices = list(stored[: len(axes)])
    sizes = list(padded[: len(axes)])
    for (axis, factor), inner in zip(blocks, stored[len(axes) :], strict=True):
        indices[axis] = indices[axis] * factor + inner
        sizes[axis] *= factor
    extended = [*shape, *[1] * (len(axes) - len(shape))]
    inside = [index < real for index, real, size in zip(indices, extended, sizes, strict=True) if real != size]
    return indices[: len(shape)], logical_and(*inside)


def stored_indices(indices: Sequence[Expr], layout: str) -> tuple[Expr, ...]:
    """Where a logical element lies in storage; indices of trailing axes that the layout adds are zero."""
    if is_plain(layout):
        return tuple(indices)
    axes, blocks = parse_layout(layout)
    full = [*indices, *[as_expr(0)] * (len(axes) - len(indices))]
    inner_sizes = [[factor for axis, factor in blocks if axis == a] for a in range(len(axes))]
    result = [index // math.prod(sizes) for index, sizes in zip(full, inner_sizes, strict=True)]
    seen = [0] * len(axes)
    for axis, factor in blocks:
        seen[axis] += 1
        result.append(full[axis] // math.prod(inner_sizes[axis][seen[axis] :]) % factor)
    return tuple(result)


@register_compute("layout_transform")
def layout_transform(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
    """The same logical tensor (of output.shape) stored in layout `target`; it is read in layout `source`."""
    (x,) = inputs
    source, target = attrs["source"], attrs["target"]

    def element(*stored: Expr) -> Expr:
        logical, inside = logical_indices(stored, output.shape, target)
        return select(inside, x[stored_indices(logical, source)], 0)

    return compute(storage_shape(output.shape, target), element, "layout_transform")
