"""The quantisation operators as tensor expressions, equal bit by bit to their references."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compiler.ir import Expr, call, const, maximum, minimum, rshift_rne
from compiler.ops.compute.elementwise import clamp
from compiler.ops.compute.indexing import broadcast
from compiler.ops.compute.registry import constant, register_compute
from compiler.ops.quantization import MULT_BITS
from compiler.ops.registry import Attrs, TensorType
from compiler.te.tensor import Tensor, compute


def _parameter(values: object, dtype: str, axis: int, name: str):
    """A scalar or a vector along `axis` as a function of the element's indices."""
    array = np.asarray(values, dtype=dtype)
    if array.ndim == 0:
        value = const(array.item(), dtype)
        return lambda indices: value
    table = constant(array, name)
    return lambda indices: table[indices[axis]]


@register_compute("quantize")
def quantize(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
    """clip(round_half_even(x / scale) + zero_point), float32 -> int8 or uint8."""
    (x,) = inputs
    scale = _parameter(attrs["scale"], "float32", attrs["axis"], "scale")
    zero_point = _parameter(attrs["zero_point"], "float32", attrs["axis"], "zero_point")
    limits = np.iinfo(output.dtype)

    def element(*i: Expr) -> Expr:
        rounded = call("round", x[i] / scale(i)) + zero_point(i)
        # The clipped value is an integer within the limits; going through int32 is what processors convert to.
        return clamp(rounded, float(limits.min), float(limits.max)).astype("int32").astype(output.dtype)

    return compute(output.shape, element, "quantize")


@register_compute("dequantize")
def dequantize(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
    """(x - zero_point) * scale, int8, uint8 or int32 -> float32."""
    (x,) = inputs
    wide = "int64" if x.dtype == "int32" else "int32"
    scale = _parameter(attrs["scale"], "float32", attrs["axis"], "scale")
    zero_point = _parameter(attrs["zero_point"], wide, attrs["axis"], "zero_point")

    def element(*i: Expr) -> Expr:
        return (x[i].astype(wide) - zero_point(i)).astype("float32") * scale(i)

    return compute(output.shape, element, "dequantize")


def _finish(value: Expr, attrs: Attrs) -> Expr:
    """Zero point and clip of an int64 value, as int8."""
    shifted = value + int(attrs["zero_point"])
    return minimum(maximum(shifted, int(attrs["low"])), int(attrs["high"])).astype("int8")


@register_compute("requantize")
def requantize(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
    """acc [N,C,...] int32, params [C,2] int32 -> int8, the parameters unpacked where they are used."""
    acc, params = inputs
    unused = 32 - MULT_BITS

    def element(*i: Expr) -> Expr:
        c = i[1]
        word = params[c, 1]
        multiplier = (word << unused) >> unused  # the low bits, sign-extended
        shift = (word >> MULT_BITS) & 63
        value = (acc[i] + params[c, 0]).astype("int64")
        return _finish(rshift_rne(value * multiplier.astype("int64"), shift.astype("int64")), attrs)

    return compute(output.shape, element, "requantize")


@register_compute("qadd")
def qadd(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
    """The sum of two int8 tensors of different scales, as the operator's doc defines it."""
    a, b = inputs

    def element(*i: Expr) -> Expr:
        left = (broadcast(a, i).astype("int32") - int(attrs["za"])) << int(attrs["k"])
        right = (broadcast(b, i).astype("int32") - int(attrs["zb"])) * int(attrs["m2"])
        total = (left + right).astype("int64") * int(attrs["mult"])
        return _finish(rshift_rne(total, int(attrs["shift"])), attrs)

    return compute(output.shape, element, "qadd")
