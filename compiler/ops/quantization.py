"""Quantisation operators: the boundary (quantize, dequantize) and the integer arithmetic in between.

A real factor is carried as mult * 2^-shift with a 17-bit mult, and rounding is half to even, so that a numpy
float64 computes it exactly: |int32 * mult| < 2^49 fits the 53-bit significand and a power of two does not round.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from compiler.errors import QuantizationError, ShapeError
from compiler.ops.elementwise import broadcast_type
from compiler.ops.registry import REQUIRED, Attrs, OpDef, Pattern, TensorType, expect_dtype, register

MULT_BITS = 18
MAX_SHIFT = 47
# The greatest k of qadd: |a - za|, |b - zb| <= 255 and |m2| <= 2^k, so that t stays within int32.
MAX_QADD_SHIFT = 21
_TOP = MULT_BITS - 1
_MASK = (1 << MULT_BITS) - 1


def quantize_multiplier(real_scale: float) -> tuple[int, int]:
    """Return (mult, shift) with real_scale ~= mult * 2^-shift, mult in [2^16, 2^17), shift in 0..47.

    The relative error is at most 2^-17. Below 2^-31 the shift stays 47 and mult gets smaller, down to 0: a product
    with an int32 is still right to 2^-17. QuantizationError for a scale that is not positive and finite, or is 2^17
    or more. (The powers follow from MULT_BITS and MAX_SHIFT.)
    """
    if not (math.isfinite(real_scale) and real_scale > 0):
        raise QuantizationError(f"a requantisation scale must be positive and finite, got {real_scale}")
    fraction, exponent = math.frexp(real_scale)
    shift = _TOP - exponent
    if shift > MAX_SHIFT:
        return round(math.ldexp(real_scale, MAX_SHIFT)), MAX_SHIFT
    mult = round(fraction * (1 << _TOP))
    if mult == 1 << _TOP:
        mult, shift = mult >> 1, shift - 1
    if shift < 0:
        raise QuantizationError(f"requantisation scale {real_scale:g} is not below 2^{_TOP}")
    return mult, shift


def add_multipliers(scale_a: float, scale_b: float, scale_out: float) -> dict[str, int]:
    """The attributes k, m2, mult, shift of qadd for real scales, scale_a >= scale_b.

    k is the largest with m2 = scale_b / scale_a * 2^k in MULT_BITS signed bits and t in int32. QuantizationError
    when the scales are too far apart.
    """
    ratio = scale_b / scale_a
    k = MAX_QADD_SHIFT
    while round(ratio * (1 << k)) >= 1 << _TOP:
        k -= 1
    mult, shift = quantize_multiplier(scale_a / scale_out / (1 << k))
    return {"k": k, "m2": round(ratio * (1 << k)), "mult": mult, "shift": shift}


def pack_params(bias: np.ndarray, mult: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Pack per-channel bias, mult (18 signed bits) and shift (0..47) into the int32 [C,2] of requantize."""
    word = (mult.astype(np.int64) & _MASK) | (shift.astype(np.int64) << MULT_BITS)
    return np.stack([bias.astype(np.int32), word.astype(np.int32)], axis=1)


def unpack_params(params: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inverse of pack_params: int64 arrays (bias, mult, shift), each [C]."""
    word = params[:, 1].astype(np.int64)
    mult = word & _MASK
    mult = np.where(mult >> (MULT_BITS - 1), mult - (1 << MULT_BITS), mult)
    return params[:, 0].astype(np.int64), mult, (word >> MULT_BITS) & 63


def rne_shift(x: np.ndarray, shift: int) -> np.ndarray:
    """Round-half-to-even of x / 2^shift for |x| < 2^53 (int64 in, int64 out)."""
    return np.rint(x.astype(np.float64) * 2.0**-shift).astype(np.int64)


def _infer_quantize(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    (x,) = types
    expect_dtype("quantize", "the input", x, "float32")
    _check_scale("quantize", x, attrs)
    return TensorType(x.shape, attrs["dtype"])


def _infer_dequantize(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    (x,) = types
    expect_dtype("dequantize", "the input", x, "int8", "uint8", "int32")
    _check_scale("dequantize", x, attrs)
    return TensorType(x.shape, "float32")


def _check_scale(name: str, x: TensorType, attrs: Attrs) -> None:
    scale, zero_point, axis = np.asarray(attrs["scale"]), np.asarray(attrs["zero_point"]), attrs["axis"]
    if scale.ndim > 1 or scale.shape != zero_point.shape:
        raise ShapeError(f"{name}: scale {scale.shape} and zero point {zero_point.shape} must be scalars or one vector")
    if scale.ndim == 1 and not (0 <= axis < len(x.shape) and scale.shape[0] == x.shape[axis]):
        raise ShapeError(f"{name}: {scale.shape[0]} scales do not fit axis {axis} of {x.shape}")


def _along(values: np.ndarray, rank: int, axis: int) -> np.ndarray:
    """Shape a scalar or [C] so that it broadcasts along `axis` of a tensor of `rank` dimensions."""
    if values.ndim == 0:
        return values
    return values.reshape([-1 if i == axis else 1 for i in range(rank)])


def _quantize(arrays: Sequence[np.ndarray], attrs: Attrs) -> np.ndarray:
    (x,) = arrays
    scale = _along(np.asarray(attrs["scale"], dtype=np.float32), x.ndim, attrs["axis"])
    zero_point = _along(np.asarray(attrs["zero_point"], dtype=np.float32), x.ndim, attrs["axis"])
    limits = np.iinfo(attrs["dtype"])
    return np.clip(np.rint(x / scale) + zero_point, limits.min, limits.max).astype(attrs["dtype"])


def _dequantize(arrays: Sequence[np.ndarray], attrs: Attrs) -> np.ndarray:
    (x,) = arrays
    scale = _along(np.asarray(attrs["scale"], dtype=np.float32), x.ndim, attrs["axis"])
    zero_point = _along(np.asarray(attrs["zero_point"], dtype=np.int64), x.ndim, attrs["axis"])
    return ((x.astype(np.int64) - zero_point).astype(np.float32) * scale).astype(np.float32)


def _infer_requantize(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    acc, params = types
    expect_dtype("requantize", "the accumulator", acc, "int32")
    expect_dtype("requantize", "the parameters", params, "int32")
    if len(acc.shape) < 2 or params.shape != (acc.shape[1], 2):
        raise ShapeError(f"requantize: parameters {params.shape} must be [C,2] for an accumulator {acc.shape}")
    _check_clip("requantize", attrs)
    return TensorType(acc.shape, "int8")


def _check_clip(name: str, attrs: Attrs) -> None:
    if not -128 <= attrs["low"] <= attrs["high"] <= 127:
        raise ShapeError(f"{name}: low {attrs['low']} and high {attrs['high']} must be ordered within int8")
    if not -512 <= attrs["zero_point"] <= 511:
        raise ShapeError(f"{name}: zero point {attrs['zero_point']} exceeds 10 signed bits")


def _requantize(arrays: Sequence[np.ndarray], attrs: Attrs) -> np.ndarray:
    acc, params = arrays
    bias, mult, shift = unpack_params(params)
    v = acc + _along(bias.astype(np.int32), acc.ndim, 1)  # int32 wraps around as the machine does
    factor = _along(np.ldexp(mult.astype(np.float64), -shift), acc.ndim, 1)
    q = v.astype(np.float64)
    q *= factor
    np.rint(q, out=q)
    q += attrs["zero_point"]
    return np.clip(q, attrs["low"], attrs["high"], out=q).astype(np.int8)


def _infer_qadd(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    a, b = types
    expect_dtype("qadd", "an operand", a, "int8")
    expect_dtype("qadd", "an operand", b, "int8")
    _check_clip("qadd", attrs)
    return broadcast_type("qadd", a, b, "int8")


def _qadd(arrays: Sequence[np.ndarray], attrs: Attrs) -> np.ndarray:
    a, b = (array.astype(np.int32) for array in arrays)
    t = ((a - attrs["za"]) << attrs["k"]) + (b - attrs["zb"]) * np.int32(attrs["m2"])
    q = np.rint(t.astype(np.float64) * math.ldexp(attrs["mult"], -attrs["shift"])) + attrs["zero_point"]
    return np.clip(q, attrs["low"], attrs["high"]).astype(np.int8)


_CLIP = {"zero_point": REQUIRED, "low": -128, "high": 127}

register(
    OpDef(
        "quantize",
        Pattern.INJECTIVE,
        _infer_quantize,
        _quantize,
        attrs={"scale": REQUIRED, "zero_point": REQUIRED, "axis": 1, "dtype": "int8"},
        doc="clip(rint(x / scale) + zero_point), float32 -> int8 or uint8; scale scalar, or [C] along axis.",
    )
)
register(
    OpDef(
        "dequantize",
        Pattern.INJECTIVE,
        _infer_dequantize,
        _dequantize,
        attrs={"scale": REQUIRED, "zero_point": REQUIRED, "axis": 1},
        doc="(x - zero_point) * scale, int8, uint8 or int32 -> float32; scale scalar, or [C] along axis.",
    )
)
register(
    OpDef(
        "requantize",
        Pattern.INJECTIVE,
        _infer_requantize,
        _requantize,
        arity=(2, 2),
        attrs=_CLIP,
        doc="acc [N,C,...] int32, params [C,2] int32 (bias; mult | shift << 18) -> int8: "
        "v = wrap32(acc + bias), clip(rne_shift(v * mult, shift) + zero_point, low, high).",
    )
)
register(
    OpDef(
        "qadd",
        Pattern.INJECTIVE,
        _infer_qadd,
        _qadd,
        arity=(2, 2),
        attrs={**_CLIP, **dict.fromkeys(("za", "zb", "k", "m2", "mult", "shift"), REQUIRED)},
        doc="a, b int8 -> int8: t = ((a - za) << k) + (b - zb) * m2 (int32), "
        "clip(rne_shift(t * mult, shift) + zero_point, low, high). a has the larger scale.",
    )
)
