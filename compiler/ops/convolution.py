"""Two-dimensional convolution, float and integer, with groups (depthwise is groups == channels)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compiler.errors import ShapeError
from compiler.ops.registry import (
    REQUIRED,
    Attrs,
    OpDef,
    Pattern,
    TensorType,
    expect_dtype,
    expect_rank,
    register,
    window_extent,
)

# Every integer of magnitude up to this bound is a float32, so a sum that stays below is exact in any order.
_FLOAT32_EXACT = 1 << 24


def exact_matmul(weight: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """int8 [..., M, K] times int8 [..., K, N] -> int32 (wrap-around), through BLAS and exact.

    float32 is used when the largest possible partial sum stays below 2^24, float64 otherwise.
    """
    peak = int(max(abs(int(columns.max(initial=0))), abs(int(columns.min(initial=0)))))
    bound = int(np.abs(weight.astype(np.int32)).sum(axis=-1).max(initial=0)) * peak
    dtype = np.float32 if bound < _FLOAT32_EXACT else np.float64
    product = np.matmul(weight.astype(dtype), columns.astype(dtype))
    return product.astype(np.int64 if bound >= 1 << 31 else np.int32).astype(np.int32)


def pad2d(x: np.ndarray, pads: Sequence[int], value: float) -> np.ndarray:
    """Pad the last two axes by pads = (top, left, bottom, right) elements of `value`."""
    top, left, bottom, right = pads
    if not any(pads):
        return x
    n, c, h, w = x.shape
    out = np.full((n, c, h + top + bottom, w + left + right), value, dtype=x.dtype)
    out[:, :, top : top + h, left : left + w] = x
    return out


def expect_weighted(op: str, types: Sequence[TensorType], rank: int) -> None:
    """ShapeError unless `types` are an input and a weight of `rank` and one type, and for float32 perhaps a bias."""
    x, w = types[0], types[1]
    expect_rank(op, "the input", x, rank)
    expect_rank(op, "the weight", w, rank)
    expect_dtype(op, "the input", x, "float32", "int8")
    expect_dtype(op, "the weight", w, x.dtype)
    if len(types) == 3:
        expect_dtype(op, "an input with a bias", x, "float32")
        if types[2].shape != (w.shape[0],):
            raise ShapeError(f"{op}: the bias must have shape ({w.shape[0]},), got {types[2].shape}")


def _infer(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    expect_weighted("conv2d", types, 4)
    x, w = types[0], types[1]
    groups = attrs["groups"]
    if x.shape[1] != w.shape[1] * groups or w.shape[0] % groups:
        raise ShapeError(f"conv2d: input {x.shape} does not fit weight {w.shape} with groups={groups}")
    top, left, bottom, right = attrs["pads"]
    extents = tuple(
        window_extent("conv2d", x.shape[2 + i], w.shape[2 + i], attrs["strides"][i], lo, hi, attrs["dilations"][i])
        for i, (lo, hi) in enumerate(((top, bottom), (left, right)))
    )
    return TensorType((x.shape[0], w.shape[0], *extents), "float32" if x.dtype == "float32" else "int32")


def _reference(arrays: Sequence[np.ndarray], attrs: Attrs) -> np.ndarray:
    x, w = arrays[0], arrays[1]
    out_shape = _infer([TensorType(a.shape, a.dtype.name) for a in arrays], attrs).shape
    (sh, sw), (dh, dw), groups = attrs["strides"], attrs["dilations"], attrs["groups"]
    n, _, oh, ow = out_shape
    out_channels, in_group, kh, kw = w.shape
    # Convert before gathering the columns, so that BLAS gets its operand without another copy.
    integer = x.dtype == np.int8
    padded = pad2d(x, attrs["pads"], attrs["pad_value"])
    if kh == kw == 1 and not any(attrs["pads"]) and (sh, sw) == (1, 1):
        columns = padded.reshape(n, groups, in_group, oh * ow)
    else:
        gathered = np.empty((n, groups, in_group, kh, kw, oh, ow), dtype=x.dtype)
        source = padded.reshape(n, groups, in_group, *padded.shape[2:])
        for i in range(kh):
            for j in range(kw):
                rows = slice(i * dh, i * dh + (oh - 1) * sh + 1, sh)
                cols = slice(j * dw, j * dw + (ow - 1) * sw + 1, sw)
                gathered[:, :, :, i, j] = source[:, :, :, rows, cols]
        columns = gathered.reshape(n, groups, in_group * kh * kw, oh * ow)
    matrix = w.reshape(groups, out_channels // groups, in_group * kh * kw)
    if integer:
        return exact_matmul(matrix, columns).reshape(out_shape)
    out = np.matmul(matrix, columns).reshape(out_shape)
    if len(arrays) == 3:
        out += arrays[2].reshape(1, -1, 1, 1)
    return out


register(
    OpDef(
        "conv2d",
        Pattern.COMPLEX,
        _infer,
        _reference,
        arity=(2, 3),
        attrs={
            "strides": REQUIRED,
            "pads": (0, 0, 0, 0),
            "dilations": (1, 1),
            "groups": 1,
            "pad_value": 0,
        },
        doc="x [N,C,H,W], w [O,C/groups,kh,kw] -> [N,O,H',W']; int8 -> int32 (wrap-around), or float32 with an "
        "optional bias [O]. pads = (top, left, bottom, right); the padding holds pad_value.",
    )
)
