"""Two-dimensional pooling: maximum, float average, and the integer window sum that requantize then divides."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from compiler.errors import ShapeError
from compiler.ops.convolution import pad2d
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


def _infer_with(name: str, allowed: tuple[str, ...], result: str | None):
    def infer(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
        (x,) = types
        expect_rank(name, "the input", x, 4)
        expect_dtype(name, "the input", x, *allowed)
        top, left, bottom, right = attrs["pads"]
        kernel = attrs["kernel"]
        if max(top, bottom) >= kernel[0] or max(left, right) >= kernel[1]:
            raise ShapeError(f"{name}: pads {attrs['pads']} must be smaller than the kernel {kernel}")
        extents = tuple(
            window_extent(name, x.shape[2 + i], kernel[i], attrs["strides"][i], lo, hi)
            for i, (lo, hi) in enumerate(((top, bottom), (left, right)))
        )
        return TensorType((*x.shape[:2], *extents), result or x.dtype)

    return infer


def _windows(padded: np.ndarray, attrs: Attrs, combine: Callable[..., np.ndarray], start: np.ndarray) -> np.ndarray:
    """Combine the shifted views of every kernel position into `start` [N,C,H',W'], in place."""
    (kh, kw), (sh, sw) = attrs["kernel"], attrs["strides"]
    oh, ow = start.shape[2:]
    for i in range(kh):
        for j in range(kw):
            view = padded[:, :, i : i + (oh - 1) * sh + 1 : sh, j : j + (ow - 1) * sw + 1 : sw]
            combine(start, view, out=start)
    return start


def _output_shape(x: np.ndarray, attrs: Attrs) -> tuple[int, ...]:
    return _infer_with("pool", (x.dtype.name,), None)([TensorType(x.shape, x.dtype.name)], attrs).shape


def _max_pool(arrays: Sequence[np.ndarray], attrs: Attrs) -> np.ndarray:
    (x,) = arrays
    lowest = -np.inf if x.dtype == np.float32 else np.iinfo(x.dtype).min
    start = np.full(_output_shape(x, attrs), lowest, dtype=x.dtype)
    return _windows(pad2d(x, attrs["pads"], lowest), attrs, np.maximum, start)


def _sum(x: np.ndarray, attrs: Attrs, pad_value: float, dtype: type) -> np.ndarray:
    start = np.zeros(_output_shape(x, attrs), dtype=dtype)
    return _windows(pad2d(x, attrs["pads"], pad_value).astype(dtype, copy=False), attrs, np.add, start)


def _avg_pool(arrays: Sequence[np.ndarray], attrs: Attrs) -> np.ndarray:
    (x,) = arrays
    total = _sum(x, attrs, 0.0, np.float32)
    if attrs["count_include_pad"]:
        return total / np.float32(np.prod(attrs["kernel"]))
    return total / _sum(np.ones_like(x), attrs, 0.0, np.float32)


def _avg_pool_sum(arrays: Sequence[np.ndarray], attrs: Attrs) -> np.ndarray:
    return _sum(arrays[0], attrs, attrs["pad_value"], np.int32)


_WINDOW = {"kernel": REQUIRED, "strides": REQUIRED, "pads": (0, 0, 0, 0)}

register(
    OpDef(
        "max_pool2d",
        Pattern.COMPLEX,
        _infer_with("max_pool2d", ("float32", "int8"), None),
        _max_pool,
        attrs=_WINDOW,
        doc="Window maximum of x [N,C,H,W], float32 or int8; the padding never wins (-inf, -128). "
        "pads = (top, left, bottom, right) already hold what a model's ceil_mode adds.",
    )
)
register(
    OpDef(
        "avg_pool2d",
        Pattern.COMPLEX,
        _infer_with("avg_pool2d", ("float32",), None),
        _avg_pool,
        attrs={**_WINDOW, "count_include_pad": False},
        doc="Window mean of x [N,C,H,W] float32; the divisor counts the padding only if count_include_pad.",
    )
)
register(
    OpDef(
        "avg_pool2d_sum",
        Pattern.COMPLEX,
        _infer_with("avg_pool2d_sum", ("int8",), "int32"),
        _avg_pool_sum,
        attrs={**_WINDOW, "pad_value": 0},
        doc="Window sum of x [N,C,H,W] int8 -> int32; a following requantize divides. The padding holds pad_value.",
    )
)
