"""Matrix products: dense (a fully connected layer, float and integer) and the general float matmul."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compiler.errors import ShapeError
from compiler.ops.convolution import exact_matmul, expect_weighted
from compiler.ops.registry import FLOATS, NUMBERS, REQUIRED, Attrs, OpDef, Pattern, TensorType, expect_dtype, register


def _infer_dense(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    expect_weighted("dense", types, 2)
    x, w = types[0], types[1]
    if x.shape[1] != w.shape[1]:
        raise ShapeError(f"dense: input {x.shape} and weight {w.shape} differ in their last dimension")
    return TensorType((x.shape[0], w.shape[0]), "float32" if x.dtype == "float32" else "int32")


def _dense(arrays: Sequence[np.ndarray], attrs: Attrs) -> np.ndarray:
    x, w = arrays[0], arrays[1]
    if x.dtype == np.int8:
        return np.ascontiguousarray(exact_matmul(w, x.T).T)
    out = x @ w.T
    return out + arrays[2] if len(arrays) == 3 else out


def _infer_matmul(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    a, b = types
    expect_dtype("matmul", "the left operand", a, *FLOATS, "int32", "int64")
    expect_dtype("matmul", "the right operand", b, a.dtype)
    if len(a.shape) < 2 or len(b.shape) < 2 or a.shape[-1] != b.shape[-2]:
        raise ShapeError(f"matmul: shapes {a.shape} and {b.shape} do not multiply")
    try:
        lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        raise ShapeError(f"matmul: shapes {a.shape} and {b.shape} do not broadcast") from None
    return TensorType((*lead, a.shape[-2], b.shape[-1]), a.dtype)


def parse_einsum(equation: str) -> tuple[list[str], str]:
    """The index letters of every operand, and of the result: "ij,jk->ik"."""
    operands, _, result = equation.partition("->")
    return operands.split(","), result


def einsum_extents(types: Sequence[TensorType], equation: str) -> dict[str, int]:
    """How far every index letter runs; ShapeError when operands do not agree with the equation or each other."""
    operands, result = parse_einsum(equation)
    if len(operands) != len(types):
        raise ShapeError(f"einsum: '{equation}' is of {len(operands)} operands, got {len(types)}")
    extents: dict[str, int] = {}
    for letters, tensor in zip(operands, types, strict=True):
        if len(letters) != len(tensor.shape):
            raise ShapeError(f"einsum: '{letters}' of '{equation}' does not fit shape {tensor.shape}")
        for letter, extent in zip(letters, tensor.shape, strict=True):
            if extents.setdefault(letter, extent) != extent:
                raise ShapeError(f"einsum: index {letter} of '{equation}' has extents {extents[letter]} and {extent}")
    if not set(result) <= set(extents) or len(set(result)) != len(result):
        raise ShapeError(f"einsum: the result of '{equation}' names an index twice, or one that no operand has")
    return extents


def _infer_einsum(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    for tensor in types:
        expect_dtype("einsum", "an operand", tensor, *NUMBERS)
        expect_dtype("einsum", "an operand", tensor, types[0].dtype)
    extents = einsum_extents(types, attrs["equation"])
    return TensorType(tuple(extents[letter] for letter in parse_einsum(attrs["equation"])[1]), types[0].dtype)


register(
    OpDef(
        "einsum",
        Pattern.COMPLEX,
        _infer_einsum,
        lambda arrays, attrs: np.asarray(np.einsum(attrs["equation"], *arrays)).astype(arrays[0].dtype),
        arity=(1, None),
        attrs={"equation": REQUIRED},
        doc="Products summed over the indices that the result does not have; an equation without ellipsis: ij,jk->ik.",
    )
)
register(
    OpDef(
        "dense",
        Pattern.COMPLEX,
        _infer_dense,
        _dense,
        arity=(2, 3),
        doc="x [N,K], w [O,K] -> [N,O] = x w^T; int8 -> int32 (wrap-around), or float32 with an optional bias [O].",
    )
)
register(
    OpDef(
        "matmul",
        Pattern.COMPLEX,
        _infer_matmul,
        lambda arrays, attrs: np.matmul(arrays[0], arrays[1]),
        arity=(2, 2),
        doc="Batched matrix product [...,M,K] x [...,K,N] with broadcasting of the leading axes.",
    )
)
