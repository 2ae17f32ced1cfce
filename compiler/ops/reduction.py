"""Reductions over axes, and softmax."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from compiler.errors import ShapeError
from compiler.ops.registry import REQUIRED, Attrs, OpDef, Pattern, TensorType, expect_dtype, register


def _infer_reduce(name: str):
    def infer(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
        (x,) = types
        expect_dtype(name, "the input", x, "float32")
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
    expect_dtype("softmax", "the input", types[0], "float32")
    if not 0 <= attrs["axis"] < len(types[0].shape):
        raise ShapeError(f"softmax: axis {attrs['axis']} outside the rank of {types[0].shape}")
    return types[0]


def _softmax(arrays: Sequence[np.ndarray], attrs: Attrs) -> np.ndarray:
    x, axis = arrays[0], attrs["axis"]
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def _reduce(name: str, function: Callable[..., np.ndarray], doc: str) -> None:
    def reference(arrays: Sequence[np.ndarray], attrs: Attrs) -> np.ndarray:
        return np.asarray(function(arrays[0], axis=tuple(attrs["axes"]), keepdims=attrs["keepdims"]))

    attrs = {"axes": REQUIRED, "keepdims": True}
    register(OpDef(name, Pattern.REDUCTION, _infer_reduce(name), reference, attrs=attrs, doc=doc))


_reduce("reduce_sum", np.sum, "Sum over axes, float32.")
_reduce("reduce_mean", np.mean, "Mean over axes, float32.")
_reduce("reduce_max", np.max, "Maximum over axes, float32.")
register(
    OpDef(
        "softmax",
        Pattern.OPAQUE,
        _infer_softmax,
        _softmax,
        attrs={"axis": REQUIRED},
        doc="exp(x) / sum(exp(x)) along one axis, float32, shifted by the maximum.",
    )
)
