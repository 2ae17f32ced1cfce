"""Reductions over axes, running sums, order, and softmax."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from compiler.errors import ShapeError
from compiler.ops.registry import (
    FLOATS,
    NUMBERS,
    REQUIRED,
    Attrs,
    OpDef,
    Pattern,
    TensorType,
    expect_dtype,
    register,
)


def _infer_reduce(name: str, *allowed: str):
    def infer(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
        (x,) = types
        expect_dtype(name, "the input", x, *allowed)
        axes = attrs["axes"]
        if any(not 0 <= axis < len(x.shape) for axis in axes):
            raise ShapeError(f"{name}: axes {axes} outside the rank of {x.shape}")
        if attrs["keepdims"]:
            shape = tuple(1 if i in axes else s for i, s in enumerate(x.shape))
        else:
            shape = tuple(s for i, s in enumerate(x.shape) if i not in axes)
        return TensorType(shape, x.dtype)

    return infer


def _infer_softmax(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    expect_dtype("softmax", "the input", types[0], *FLOATS)
    if not 0 <= attrs["axis"] < len(types[0].shape):
        raise ShapeError(f"softmax: axis {attrs['axis']} outside the rank of {types[0].shape}")
    return types[0]


def _softmax(arrays: Sequence[np.ndarray], attrs: Attrs) -> np.ndarray:
    x, axis = arrays[0], attrs["axis"]
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def _reduce(name: str, function: Callable[..., np.ndarray], doc: str, *allowed: str) -> None:
    def reference(arrays: Sequence[np.ndarray], attrs: Attrs) -> np.ndarray:
        x = arrays[0]
        return np.asarray(function(x, axis=tuple(attrs["axes"]), keepdims=attrs["keepdims"])).astype(x.dtype)

    attrs = {"axes": REQUIRED, "keepdims": True}
    register(OpDef(name, Pattern.REDUCTION, _infer_reduce(name, *allowed), reference, attrs=attrs, doc=doc))


_reduce("reduce_sum", np.sum, "Sum over axes.", *NUMBERS)
_reduce("reduce_mean", np.mean, "Mean over axes.", *FLOATS)
_reduce("reduce_max", np.max, "Maximum over axes, NaN if one is.", *NUMBERS)
_reduce("reduce_min", np.min, "Minimum over axes, NaN if one is.", *NUMBERS)
_reduce("reduce_prod", np.prod, "Product over axes.", *NUMBERS)


def _infer_position(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    over = {"axes": (attrs["axis"],), "keepdims": attrs["keepdims"]}
    return TensorType(_infer_reduce("arg_reduce", *NUMBERS)(types, over).shape, "int64")


def _position(arrays: Sequence[np.ndarray], attrs: Attrs) -> np.ndarray:
    x, axis = arrays[0], attrs["axis"]
    find = np.argmax if attrs["largest"] else np.argmin
    if attrs["last"]:
        found = x.shape[axis] - 1 - find(np.flip(x, axis), axis=axis)
    else:
        found = find(x, axis=axis)
    return np.expand_dims(found, axis) if attrs["keepdims"] else np.asarray(found)


def _infer_cumulative(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    _infer_reduce("cumulative", *NUMBERS)(types, {"axes": (attrs["axis"],), "keepdims": True})
    return types[0]


def _cumulative(arrays: Sequence[np.ndarray], attrs: Attrs) -> np.ndarray:
    x, axis = arrays[0], attrs["axis"]
    x = np.flip(x, axis) if attrs["reverse"] else x
    total = (np.cumprod if attrs["product"] else np.cumsum)(x, axis=axis, dtype=x.dtype)
    if attrs["exclusive"]:
        first = np.full_like(np.take(total, [0], axis), 1 if attrs["product"] else 0)
        total = np.concatenate([first, np.delete(total, -1, axis)], axis=axis)
    return np.ascontiguousarray(np.flip(total, axis) if attrs["reverse"] else total)


def _infer_order(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    shape = list(_infer_cumulative(types, attrs).shape)
    if not 0 < attrs["count"] <= shape[attrs["axis"]]:
        raise ShapeError(f"order: {attrs['count']} of {shape[attrs['axis']]} elements are asked for")
    shape[attrs["axis"]] = attrs["count"]
    return TensorType(tuple(shape), "int64")


def _order(arrays: Sequence[np.ndarray], attrs: Attrs) -> np.ndarray:
    x, axis = arrays[0], attrs["axis"]
    if attrs["largest"]:
        # Stable from the greatest: the earlier of two equal elements comes first.
        flipped = np.argsort(np.flip(x, axis), axis=axis, kind="stable")
        found = x.shape[axis] - 1 - np.flip(flipped, axis)
    else:
        found = np.argsort(x, axis=axis, kind="stable")
    return np.take(found, range(attrs["count"]), axis)


register(
    OpDef(
        "arg_reduce",
        Pattern.OPAQUE,
        _infer_position,
        _position,
        attrs={"axis": REQUIRED, "keepdims": True, "largest": True, "last": False},
        doc="Where along an axis the largest (or least) element is, the first or the last of several: int64.",
    )
)
register(
    OpDef(
        "cumulative",
        Pattern.OPAQUE,
        _infer_cumulative,
        _cumulative,
        attrs={"axis": REQUIRED, "exclusive": False, "reverse": False, "product": False},
        doc="Running sum or product along an axis; exclusive: of what comes before an element.",
    )
)
register(
    OpDef(
        "order",
        Pattern.OPAQUE,
        _infer_order,
        _order,
        attrs={"axis": REQUIRED, "count": REQUIRED, "largest": True},
        doc="Where along an axis the `count` largest (or least) elements are, in order; of equal ones the earlier "
        "first: int64.",
    )
)
register(
    OpDef(
        "softmax",
        Pattern.REDUCTION,
        _infer_softmax,
        _softmax,
        attrs={"axis": REQUIRED},
        doc="exp(x) / sum(exp(x)) along one axis, shifted by the maximum.",
    )
)
