"""Matrix products: dense (a fully connected layer, float and integer) and the general float matmul."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compiler.errors import ShapeError
from compiler.ops.convolution import exact_matmul, expect_weighted
from compiler.ops.registry import Attrs, OpDef, Pattern, TensorType, expect_dtype, register


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
    expect_dtype("matmul", "the left operand", a, "float32")
    expect_dtype("matmul", "the right operand", b, "float32")
    if len(a.shape) < 2 or len(b.shape) < 2 or a.shape[-1] != b.shape[-2]:
        raise ShapeError(f"matmul: shapes {a.shape} and {b.shape} do not multiply")
    try:
        lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        raise ShapeError(f"matmul: shapes {a.shape} and {b.shape} do not broadcast") from None
    return TensorType((*lead, a.shape[-2], b.shape[-1]), "float32")


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
        doc="Batched float32 matrix product [...,M,K] x [...,K,N] with broadcasting of the leading axes.",
    )
)
