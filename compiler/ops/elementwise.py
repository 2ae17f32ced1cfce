"""Element-wise operators: activations, arithmetic with broadcasting, batch normalisation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from compiler.errors import ShapeError
from compiler.ops.registry import (
    FLOATS,
    INTEGERS,
    NUMBERS,
    REQUIRED,
    SIGNED,
    Attrs,
    OpDef,
    Pattern,
    TensorType,
    expect_dtype,
    register,
)

TRIGONOMETRIC: dict[str, np.ufunc] = {
    "sin": np.sin, "cos": np.cos, "tan": np.tan, "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan,
    "sinh": np.sinh, "cosh": np.cosh, "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh,
}  # fmt: skip


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
            _same_as_input(name, *allowed),
            lambda arrays, attrs: function(arrays[0]),
            doc=doc,
        )
    )


def _binary(name: str, function: Callable[[np.ndarray, np.ndarray], np.ndarray], doc: str, *allowed: str) -> None:
    def infer(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
        a, b = types
        expect_dtype(name, "an operand", a, *allowed)
        expect_dtype(name, "an operand", b, a.dtype)
        return broadcast_type(name, a, b, a.dtype)

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


_erf = np.vectorize(math.erf, otypes=[np.float64])


def _truncated(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The quotient, of integers rounded towards zero."""
    if a.dtype.kind == "f":
        return np.divide(a, b)
    quotient = np.abs(a) // np.abs(b)
    return np.where((a < 0) != (b < 0), -quotient if a.dtype.kind == "i" else quotient, quotient).astype(a.dtype)


def _power(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.power(a.astype(np.float64), b).astype(a.dtype)


_unary("relu", lambda x: np.maximum(x, x.dtype.type(0)), "max(x, 0)", *NUMBERS)
_unary("sigmoid", _sigmoid, "1 / (1 + exp(-x))", *FLOATS)
_unary("tanh", np.tanh, "Hyperbolic tangent", *FLOATS)
_unary("exp", np.exp, "Exponential", *FLOATS)
_unary("log", np.log, "Natural logarithm", *FLOATS)
_unary("sqrt", np.sqrt, "Square root", *FLOATS)
_unary("erf", lambda x: _erf(x).astype(x.dtype), "Error function", *FLOATS)
_unary("floor", np.floor, "The greatest integer that is not greater", *FLOATS)
_unary("ceil", np.ceil, "The least integer that is not less", *FLOATS)
_unary("round", np.rint, "The nearest integer, ties to even", *FLOATS)
_unary("reciprocal", np.reciprocal, "1 / x", *FLOATS)
_unary("neg", np.negative, "-x", *FLOATS, *SIGNED)
_unary("abs", np.abs, "|x|", *NUMBERS)
_unary("sign", np.sign, "-1, 0 or 1", *NUMBERS)
_unary("bit_not", np.invert, "Every bit inverted", *INTEGERS)
for _name, _function in TRIGONOMETRIC.items():
    _unary(_name, _function, f"numpy's {_function.__name__}", *FLOATS)
_binary("add", np.add, "a + b with broadcasting", *NUMBERS)
_binary("sub", np.subtract, "a - b with broadcasting", *NUMBERS)
_binary("mul", np.multiply, "a * b with broadcasting", *NUMBERS)
_binary("div", _truncated, "a / b with broadcasting; integers are rounded towards zero", *NUMBERS)
_binary("pow", _power, "a ** b with broadcasting", *NUMBERS)
_binary("mod", np.mod, "a - floor(a / b) * b with broadcasting: the sign of b", *NUMBERS)
_binary("fmod", np.fmod, "a - trunc(a / b) * b with broadcasting: the sign of a", *NUMBERS)
_binary("maximum", np.maximum, "The greater, NaN if either is, with broadcasting", *NUMBERS)
_binary("minimum", np.minimum, "The lesser, NaN if either is, with broadcasting", *NUMBERS)
_binary("bit_and", np.bitwise_and, "a & b with broadcasting", *INTEGERS)
_binary("bit_or", np.bitwise_or, "a | b with broadcasting", *INTEGERS)
_binary("bit_xor", np.bitwise_xor, "a ^ b with broadcasting", *INTEGERS)
_binary("shift_left", np.left_shift, "a << b with broadcasting", *INTEGERS)
_binary("shift_right", np.right_shift, "a >> b with broadcasting", *INTEGERS)
register(
    OpDef(
        "clip",
        Pattern.INJECTIVE,
        _same_as_input("clip", *NUMBERS),
        _clip,
        attrs={"low": REQUIRED, "high": REQUIRED},
        doc="min(max(x, low), high).",
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
