"""Elements picked and placed by computed indices. A negative index counts from the end; one outside is clamped."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from compiler.errors import ShapeError
from compiler.ops.registry import REQUIRED, Attrs, OpDef, Pattern, TensorType, expect_dtype, register

REDUCTIONS = ("none", "add", "mul", "max", "min")


def inside(indices: np.ndarray, extent: int) -> np.ndarray:
    """Indices with negative ones counted from the end, clamped to the axis."""
    return np.clip(np.where(indices < 0, indices + extent, indices), 0, extent - 1)


def _axis(name: str, types: Sequence[TensorType], attrs: Attrs) -> int:
    expect_dtype(name, "the indices", types[1], "int32", "int64")
    if not 0 <= attrs["axis"] < len(types[0].shape):
        raise ShapeError(f"{name}: axis {attrs['axis']} outside the rank of {types[0].shape}")
    return attrs["axis"]


def _infer_gather(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    axis = _axis("gather", types, attrs)
    x, indices = types
    return TensorType((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]), x.dtype)


def _gather(arrays: Sequence[np.ndarray], attrs: Attrs) -> np.ndarray:
    x, indices = arrays
    return np.take(x, inside(indices, x.shape[attrs["axis"]]), axis=attrs["axis"])


def _infer_gather_elements(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    axis = _axis("gather_elements", types, attrs)
    x, indices = types
    rest = [i for i in range(len(x.shape)) if i != axis]
    if len(x.shape) != len(indices.shape) or any(indices.shape[i] > x.shape[i] for i in rest):
        raise ShapeError(f"gather_elements: indices {indices.shape} do not fit {x.shape}")
    return TensorType(indices.shape, x.dtype)


def _gather_elements(arrays: Sequence[np.ndarray], attrs: Attrs) -> np.ndarray:
    x, indices = arrays
    grid: list[np.ndarray] = [*np.indices(indices.shape)]  # pyright: ignore[reportAssignmentType]
    grid[attrs["axis"]] = inside(indices, x.shape[attrs["axis"]])
    return x[tuple(grid)]


def _infer_gather_nd(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    x, indices = types
    batch = attrs["batch_dims"]
    expect_dtype("gather_nd", "the indices", indices, "int32", "int64")
    depth = indices.shape[-1]
    if batch + depth > len(x.shape) or x.shape[:batch] != indices.shape[:batch] or batch >= len(indices.shape):
        raise ShapeError(f"gather_nd: indices {indices.shape} do not fit {x.shape} with batch_dims={batch}")
    return TensorType((*indices.shape[:-1], *x.shape[batch + depth :]), x.dtype)


def _gather_nd(arrays: Sequence[np.ndarray], attrs: Attrs) -> np.ndarray:
    x, indices = arrays
    batch = attrs["batch_dims"]
    grid = list(np.indices(indices.shape[:-1]))[:batch]
    picks = [inside(indices[..., d], x.shape[batch + d]) for d in range(indices.shape[-1])]
    return x[(*grid, *picks)]


def _infer_scatter(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    x, indices, updates = types
    _axis("scatter_elements", types, attrs)
    if indices.shape != updates.shape or updates.dtype != x.dtype or len(indices.shape) != len(x.shape):
        raise ShapeError(f"scatter_elements: indices {indices}, updates {updates} do not fit {x}")
    return _reducible("scatter_elements", x, attrs)


def _infer_scatter_nd(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    x, indices, updates = types
    expect_dtype("scatter_nd", "the indices", indices, "int32", "int64")
    depth = indices.shape[-1]
    if updates.dtype != x.dtype or updates.shape != (*indices.shape[:-1], *x.shape[depth:]):
        raise ShapeError(f"scatter_nd: indices {indices}, updates {updates} do not fit {x}")
    return _reducible("scatter_nd", x, attrs)


def _reducible(name: str, x: TensorType, attrs: Attrs) -> TensorType:
    if attrs["reduction"] not in REDUCTIONS:
        raise ShapeError(f"{name}: reduction '{attrs['reduction']}' is none of {', '.join(REDUCTIONS)}")
    return x


def _place(x: np.ndarray, at: tuple[np.ndarray, ...], updates: np.ndarray, reduction: str) -> np.ndarray:
    result = x.copy()
    if reduction == "none":
        result[at] = updates
    else:
        combine = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}[reduction]
        combine.at(result, at, updates)
    return result


def _scatter_elements(arrays: Sequence[np.ndarray], attrs: Attrs) -> np.ndarray:
    x, indices, updates = arrays
    grid: list[np.ndarray] = [*np.indices(indices.shape)]  # pyright: ignore[reportAssignmentType]
    grid[attrs["axis"]] = inside(indices, x.shape[attrs["axis"]])
    return _place(x, tuple(grid), updates, attrs["reduction"])


def _scatter_nd(arrays: Sequence[np.ndarray], attrs: Attrs) -> np.ndarray:
    x, indices, updates = arrays
    depth = indices.shape[-1]
    rows = indices.reshape(math.prod(indices.shape[:-1]), depth)
    at = tuple(inside(rows[:, d], x.shape[d]) for d in range(depth))
    return _place(x, at, updates.reshape(len(rows), *x.shape[depth:]), attrs["reduction"])


register(
    OpDef(
        "gather",
        Pattern.INJECTIVE,
        _infer_gather,
        _gather,
        arity=(2, 2),
        attrs={"axis": REQUIRED},
        doc="Slices of x [..., A, ...] picked along an axis by indices [...] (int32 or int64).",
    )
)
register(
    OpDef(
        "gather_elements",
        Pattern.INJECTIVE,
        _infer_gather_elements,
        _gather_elements,
        arity=(2, 2),
        attrs={"axis": REQUIRED},
        doc="One element of x for every index, which replaces the position along an axis.",
    )
)
register(
    OpDef(
        "gather_nd",
        Pattern.INJECTIVE,
        _infer_gather_nd,
        _gather_nd,
        arity=(2, 2),
        attrs={"batch_dims": 0},
        doc="Slices of x picked by the index tuples in the last axis of the indices, behind batch_dims shared axes.",
    )
)
register(
    OpDef(
        "scatter_elements",
        Pattern.OPAQUE,
        _infer_scatter,
        _scatter_elements,
        arity=(3, 3),
        attrs={"axis": REQUIRED, "reduction": "none"},
        doc="x with every update put where its index, in place of the position along an axis, says.",
    )
)
register(
    OpDef(
        "scatter_nd",
        Pattern.OPAQUE,
        _infer_scatter_nd,
        _scatter_nd,
        arity=(3, 3),
        attrs={"reduction": "none"},
        doc="x with every slice of the updates put where the index tuple in the last axis of the indices says.",
    )
)
