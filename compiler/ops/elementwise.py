"""Element-wise operators: activations, arithmetic with broadcasting, batch normalisation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from compiler.errors import ShapeError
from compiler.ops.registry import REQUIRED, Attrs, OpDef, Pattern, TensorType, expect_dtype, register


def _same_as_input(name: str, *allowed: str):
    def infer(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
        expect_dtype(name, "the input", types[0], *allowed)
        return types[0]

    return infer


def broadcast_type(name: str, a: TensorType, b: TensorType, dtype: str) -> TensorType:
    """The numpy-broadcast type of two operands; ShapeError when they do not broadcast."""
    try:
        return TensorType(tuple(np.broadcast_shapes(a.shape, b.shape)), dtype)
    except ValueError:
        raise ShapeError(f"{name}: shapes {a.shape} and {b.shape} do not broadcast") from None


def _sigmoid(x: np.ndarray) -> np.ndarray:
    # exp of a non-positive number only, so that large inputs do not overflow.
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e)).astype(x.dtype)


def _clip(arrays: Sequence[np.ndarray], attrs: Attrs) -> np.ndarray:
    x = arrays[0]
    return np.clip(x, x.dtype.type(attrs["low"]), x.dtype.type(attrs["high"]))


def _infer_batch_norm(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    x = types[0]
    expect_dtype("batch_norm", "the input", x, "float32")
    for what, tensor in zip(("scale", "bias", "mean", "variance"), types[1:], strict=True):
        if len(x.shape) < 2 or tensor.shape != (x.shape[1],):
            raise ShapeError(f"batch_norm: {what} has shape {tensor.shape}, the input {x.shape}")
    return x


def _batch_norm(arrays: Sequence[np.ndarray], attrs: Attrs) -> np.ndarray:
    x, *params = arrays
    scale, bias, mean, variance = (p.reshape(-1, *[1] * (x.ndim - 2)) for p in params)
    return (x - mean) * (scale / np.sqrt(variance + np.float32(attrs["epsilon"]))) + bias


def _unary(name: str, function: Callable[[np.ndarray], np.ndarray], doc: str, *allowed: str) -> None:
    register(
        OpDef(
            name,
            Pattern.INJECTIVE,
            _same_as_input(name, *(allowed or ("float32",))),
            lambda arrays, attrs: function(arrays[0]),
            doc=doc,
        )
    )


def _binary(name: str, function: Callable[[np.ndarray, np.ndarray], np.ndarray], doc: str) -> None:
    def infer(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
        for tensor in types:
            expect_dtype(name, "an operand", tensor, "float32")
        return broadcast_type(name, types[0], types[1], "float32")

    register(
        OpDef(
            name,
            Pattern.INJECTIVE,
            infer,
            lambda arrays, attrs: function(arrays[0], arrays[1]),
            arity=(2, 2),
            doc=doc,
        )
    )


_unary("relu", lambda x: np.maximum(x, x.dtype.type(0)), "max(x, 0)")
_unary("sigmoid", _sigmoid, "1 / (1 + exp(-x))")
_unary("tanh", np.tanh, "Hyperbolic tangent")
_unary("exp", np.exp, "Exponential")
_unary("sqrt", np.sqrt, "Square root")
_unary("neg", np.negative, "-x")
_unary("abs", np.abs, "|x|")
_binary("add", np.add, "a + b, float32, with broadcasting")
_binary("sub", np.subtract, "a - b, float32, with broadcasting")
_binary("mul", np.multiply, "a * b, float32, with broadcasting")
_binary("div", np.divide, "a / b, float32, with broadcasting")
register(
    OpDef(
        "clip",
        Pattern.INJECTIVE,
        _same_as_input("clip", "float32", "int8"),
        _clip,
        attrs={"low": REQUIRED, "high": REQUIRED},
        doc="min(max(x, low), high), float32 or int8.",
    )
)
register(
    OpDef(
        "batch_norm",
        Pattern.INJECTIVE,
        _infer_batch_norm,
        _batch_norm,
        arity=(5, 5),
        attrs={"epsilon": 1e-5},
        doc="(x - mean) * scale / sqrt(variance + epsilon) + bias along axis 1, float32 (inference form).",
    )
)
