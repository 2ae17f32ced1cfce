"""Tensor manipulation: nothing is computed, elements only move."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from compiler.errors import ShapeError
from compiler.ops.registry import REQUIRED, Attrs, OpDef, Pattern, TensorType, register


def _infer_reshape(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    (x,) = types
    shape = tuple(attrs["shape"])
    if math.prod(shape) != math.prod(x.shape):
        raise ShapeError(f"reshape: {x.shape} has {math.prod(x.shape)} elements, {shape} has {math.prod(shape)}")
    return TensorType(shape, x.dtype)


def _infer_transpose(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    (x,) = types
    perm = tuple(attrs["perm"])
    if sorted(perm) != list(range(len(x.shape))):
        raise ShapeError(f"transpose: {perm} is not a permutation of the axes of {x.shape}")
    return TensorType(tuple(x.shape[axis] for axis in perm), x.dtype)


def _infer_concat(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    axis, first = attrs["axis"], types[0]
    if not 0 <= axis < len(first.shape):
        raise ShapeError(f"concat: axis {axis} outside the rank of {first.shape}")
    for tensor in types[1:]:
        same = [i for i in range(len(first.shape)) if i != axis]
        if len(tensor.shape) != len(first.shape) or any(tensor.shape[i] != first.shape[i] for i in same):
            raise ShapeError(f"concat: {first.shape} and {tensor.shape} differ outside axis {axis}")
        if tensor.dtype != first.dtype:
            raise ShapeError(f"concat: element types {first.dtype} and {tensor.dtype} differ")
    shape = list(first.shape)
    shape[axis] = sum(tensor.shape[axis] for tensor in types)
    return TensorType(tuple(shape), first.dtype)


def _infer_pad(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    (x,) = types
    before, after = attrs["before"], attrs["after"]
    if len(before) != len(x.shape) or len(after) != len(x.shape) or min(*before, *after) < 0:
        raise ShapeError(f"pad: before {before} and after {after} must be non-negative, one per axis of {x.shape}")
    return TensorType(tuple(s + b + a for s, b, a in zip(x.shape, before, after, strict=True)), x.dtype)


def _pad(arrays: Sequence[np.ndarray], attrs: Attrs) -> np.ndarray:
    widths = list(zip(attrs["before"], attrs["after"], strict=True))
    return np.pad(arrays[0], widths, constant_values=attrs["value"])


def _infer_slice(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    (x,) = types
    shape = tuple(attrs["shape"])
    per_axis = zip(x.shape, attrs["starts"], attrs["steps"], shape, strict=True)
    if not all(0 <= start < n and 0 <= start + (count - 1) * step < n for n, start, step, count in per_axis):
        raise ShapeError(f"slice: starts {attrs['starts']}, steps {attrs['steps']}, shape {shape} leave {x.shape}")
    return TensorType(shape, x.dtype)


def _slice(arrays: Sequence[np.ndarray], attrs: Attrs) -> np.ndarray:
    per_axis = zip(attrs["starts"], attrs["steps"], attrs["shape"], strict=True)
    return arrays[0][np.ix_(*[start + np.arange(count) * step for start, step, count in per_axis])]


def _infer_broadcast(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    (x,), shape = types, tuple(attrs["shape"])
    try:
        fits = np.broadcast_shapes(x.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError(f"broadcast_to: {x.shape} does not broadcast to {shape}")
    return TensorType(shape, x.dtype)


def _infer_tile(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    (x,), repeats = types, attrs["repeats"]
    if len(repeats) != len(x.shape) or min(repeats, default=1) < 1:
        raise ShapeError(f"tile: repeats {repeats} must be positive, one per axis of {x.shape}")
    return TensorType(tuple(n * r for n, r in zip(x.shape, repeats, strict=True)), x.dtype)


def _identity(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    return types[0]


register(
    OpDef(
        "reshape",
        Pattern.INJECTIVE,
        _infer_reshape,
        lambda arrays, attrs: arrays[0].reshape(attrs["shape"]),
        attrs={"shape": REQUIRED},
        doc="The same elements in row-major order under another shape (flatten included).",
    )
)
register(
    OpDef(
        "transpose",
        Pattern.INJECTIVE,
        _infer_transpose,
        lambda arrays, attrs: np.ascontiguousarray(arrays[0].transpose(attrs["perm"])),
        attrs={"perm": REQUIRED},
        doc="Permute the axes: output axis i is input axis perm[i].",
    )
)
register(
    OpDef(
        "concat",
        Pattern.INJECTIVE,
        _infer_concat,
        lambda arrays, attrs: np.concatenate(arrays, axis=attrs["axis"]),
        arity=(1, None),
        attrs={"axis": REQUIRED},
        doc="Join tensors along one axis.",
    )
)
register(
    OpDef(
        "pad",
        Pattern.INJECTIVE,
        _infer_pad,
        _pad,
        attrs={"before": REQUIRED, "after": REQUIRED, "value": 0},
        doc="Pad every axis with a constant: `before` and `after` give the elements per axis.",
    )
)
register(
    OpDef(
        "slice",
        Pattern.INJECTIVE,
        _infer_slice,
        _slice,
        attrs={"starts": REQUIRED, "steps": REQUIRED, "shape": REQUIRED},
        doc="shape[a] elements along every axis a: starts[a], starts[a] + steps[a], ...; steps may be negative.",
    )
)
register(
    OpDef(
        "broadcast_to",
        Pattern.INJECTIVE,
        _infer_broadcast,
        lambda arrays, attrs: np.ascontiguousarray(np.broadcast_to(arrays[0], attrs["shape"])),
        attrs={"shape": REQUIRED},
        doc="Repeated along axes of extent 1 (and leading axes) to a shape.",
    )
)
register(
    OpDef(
        "tile",
        Pattern.INJECTIVE,
        _infer_tile,
        lambda arrays, attrs: np.tile(arrays[0], attrs["repeats"]),
        attrs={"repeats": REQUIRED},
        doc="The tensor repeats[a] times along every axis a.",
    )
)
register(OpDef("identity", Pattern.INJECTIVE, _identity, lambda arrays, attrs: arrays[0], doc="x itself."))
register(
    OpDef(
        "layout_transform",
        Pattern.INJECTIVE,
        _identity,
        lambda arrays, attrs: arrays[0],
        attrs={"source": REQUIRED, "target": REQUIRED},
        doc="The same logical tensor in another storage layout; compiler.graph.layout.pack and unpack define the "
        "bytes. Shapes are logical everywhere, so the reference is the identity.",
    )
)
