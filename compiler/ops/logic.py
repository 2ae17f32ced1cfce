"""Comparisons, logic, choice and conversion, element by element."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from compiler.errors import ShapeError
from compiler.ops.elementwise import broadcast_type
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


def _binary(name: str, function: Callable[..., np.ndarray], doc: str, *allowed: str) -> None:
    def infer(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
        a, b = types
        expect_dtype(name, "an operand", a, *allowed)
        expect_dtype(name, "an operand", b, a.dtype)
        return broadcast_type(name, a, b, "bool")

    register(
        OpDef(
            name, Pattern.INJECTIVE, infer, lambda arrays, attrs: function(*arrays), arity=(2, 2), doc=f"{doc}: bool."
        )
    )


def _test(name: str, function: Callable[[np.ndarray], np.ndarray], doc: str, *allowed: str) -> None:
    def infer(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
        expect_dtype(name, "the input", types[0], *allowed)
        return TensorType(types[0].shape, "bool")

    register(OpDef(name, Pattern.INJECTIVE, infer, lambda arrays, attrs: function(arrays[0]), doc=f"{doc}: bool."))


def _infer_where(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    cond, a, b = types
    expect_dtype("where", "the condition", cond, "bool")
    expect_dtype("where", "the second choice", b, a.dtype)
    return broadcast_type("where", cond, broadcast_type("where", a, b, a.dtype), a.dtype)


def _infer_cast(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    if attrs["dtype"] not in (*NUMBERS, "bool"):
        raise ShapeError(f"cast: to {attrs['dtype']} is not implemented; there are {', '.join(NUMBERS)}, bool")
    return TensorType(types[0].shape, attrs["dtype"])


def _cast(arrays: Sequence[np.ndarray], attrs: Attrs) -> np.ndarray:
    x, dtype = arrays[0], np.dtype(attrs["dtype"])
    if x.dtype.kind == "f" and dtype.kind in "iu":
        limits = np.iinfo(dtype)  # out of range, processors differ; here as in the loop IR: the limit, and 0 of NaN
        whole = np.nan_to_num(np.trunc(x.astype(np.float64)), nan=0.0)
        inside = np.clip(whole, float(limits.min), float(limits.max))
        cast = np.where(inside >= float(limits.max), 0, inside).astype(dtype)
        return np.where(inside >= float(limits.max), limits.max, cast).astype(dtype)
    with np.errstate(over="ignore"):
        return x.astype(dtype)


for _name, _function in (
    ("less", np.less),
    ("less_equal", np.less_equal),
    ("greater", np.greater),
    ("greater_equal", np.greater_equal),
):
    _binary(_name, _function, f"Whether a is {_name.replace('_', ' or ')} (than) b, with broadcasting", *NUMBERS)
_binary("equal", np.equal, "Whether a equals b, with broadcasting", *NUMBERS, "bool")
_binary("logical_and", np.logical_and, "a and b, with broadcasting", "bool")
_binary("logical_or", np.logical_or, "a or b, with broadcasting", "bool")
_binary("logical_xor", np.logical_xor, "Either a or b, with broadcasting", "bool")
_test("logical_not", np.logical_not, "not x", "bool")
_test("is_nan", np.isnan, "Whether x is NaN", *FLOATS)
register(
    OpDef(
        "where",
        Pattern.INJECTIVE,
        _infer_where,
        lambda arrays, attrs: np.where(*arrays),
        arity=(3, 3),
        doc="a where the condition (bool) holds, else b, with broadcasting.",
    )
)
register(
    OpDef(
        "cast",
        Pattern.INJECTIVE,
        _infer_cast,
        _cast,
        attrs={"dtype": REQUIRED},
        doc="The number as another element type: floats lose their fraction and saturate, integers wrap around.",
    )
)
