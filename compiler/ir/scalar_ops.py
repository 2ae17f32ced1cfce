"""What operations mean on Python numbers where Python's own mean something else: the run time of the interpreter."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from ctypes import c_float
from fractions import Fraction
from typing import Any

import numpy as np

from compiler.errors import InterpError
from compiler.ir.types import FLOAT_DTYPES


def _f32(x: float) -> float:
    return c_float(x).value


def _out_of_bounds(name: str, dim: int, index: int, extent: int) -> int:
    raise InterpError(f"{name}: index {index} outside 0..{extent - 1} in dimension {dim}")


def _fdiv(a: float, b: float) -> float:
    if b != 0:
        return a / b
    if a == 0 or a != a or b != b:
        return math.nan
    return math.copysign(math.inf, a) * math.copysign(1.0, b)


def _idiv(a: int, b: int) -> int:
    if b == 0:
        raise InterpError(f"integer division {a} // 0")
    return a // b


def _imod(a: int, b: int) -> int:
    if b == 0:
        raise InterpError(f"integer remainder {a} % 0")
    return a % b


# floor, ceil and round keep the sign of zero: ceil(-0.5) is -0.0


def _floor(x: float) -> float:
    return math.copysign(float(math.floor(x)), x) if math.isfinite(x) else x


def _ceil(x: float) -> float:
    return math.copysign(float(math.ceil(x)), x) if math.isfinite(x) else x


def _round(x: float) -> float:
    return math.copysign(float(round(x)), x) if math.isfinite(x) else x


def _total(fn: Callable[[float], float], overflow: float) -> Callable[[float], float]:
    """``fn`` of :mod:`math` with IEEE results instead of exceptions."""

    def call(x: float) -> float:
        try:
            return fn(x)
        except OverflowError:
            return overflow
        except ValueError:
            return math.nan

    return call


def _log(x: float) -> float:
    return -math.inf if x == 0 else math.nan if x < 0 or x != x else math.log(x)


def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x)) if x > -700 else 0.0 if x == x else math.nan


def _pow(a: float, b: float) -> float:
    with np.errstate(all="ignore"):
        return float(np.power(np.float64(a), np.float64(b)))


def _fmod(a: float, b: float) -> float:
    with np.errstate(all="ignore"):
        return float(np.fmod(np.float64(a), np.float64(b)))


def _shift_left(a: int, s: int, bits: int) -> int:
    return a << s if 0 <= s < bits else 0


def _shift_right(a: int, s: int, bits: int) -> int:
    return a >> (s if 0 <= s < bits else bits)


def rshift_rne(x: int, s: int) -> int:
    """``x / 2**s`` rounded half to even, on Python integers."""
    if s < 0:
        raise InterpError(f"rshift_rne by {s}: the shift must not be negative")
    quotient, rest = x >> s, x & ((1 << s) - 1)
    half = 1 << s >> 1
    return quotient + int(s > 0 and (rest > half or (rest == half and quotient & 1 == 1)))


def _fma32(x: float, y: float, z: float) -> float:
    """``x * y + z`` of float32 values as a float64 that rounds to float32 as the exact result does."""
    product = x * y  # exact: 48 bits
    total = product + z
    part = total - product
    error = (product - (total - part)) + (z - part)
    # Where the sum is not exact, its last bit is set, so that no tie is seen that is not there ("round to odd").
    if error and math.isfinite(total) and not struct.unpack("<q", struct.pack("<d", total))[0] & 1:
        return math.nextafter(total, math.copysign(math.inf, error))
    return total


def _fma64(x: float, y: float, z: float) -> float:
    """``x * y + z`` rounded once."""
    if not (math.isfinite(x) and math.isfinite(y) and math.isfinite(z)):
        return x * y + z
    try:
        return float(Fraction(x) * Fraction(y) + Fraction(z))
    except OverflowError:
        return math.copysign(math.inf, x * y + z)


def _to_int(x: float, low: int, high: int) -> int:
    if x != x:
        return 0
    if x <= low:
        return low
    return high if x >= high else int(x)


def _int64_to_f32(x: int) -> float:
    return float(np.int64(x).astype(np.float32))  # one rounding, as in C


def _allocate(elements: int, dtype: str) -> np.ndarray:
    out = np.full(elements * np.dtype(dtype).itemsize, 0x01 if dtype == "bool" else 0x55, np.uint8).view(dtype)
    if dtype in FLOAT_DTYPES:
        out.fill(np.nan)
    return out


#: what each is called in the interpreter's source
HELPERS: dict[str, Any] = {
    "f32": _f32, "oob": _out_of_bounds, "fdiv": _fdiv, "idiv": _idiv, "imod": _imod, "shl": _shift_left,
    "shr": _shift_right, "to_int": _to_int, "m_exp": _total(math.exp, math.inf), "m_log": _log,
    "m_sqrt": _total(math.sqrt, math.inf), "m_tanh": math.tanh, "m_sigmoid": _sigmoid, "m_erf": math.erf,
    "m_floor": _floor, "m_ceil": _ceil, "m_round": _round, "m_abs": abs, "m_pow": _pow, "m_fmod": _fmod,
    "rshift_rne": rshift_rne,
    "m_popcount": int.bit_count, "fma32": _fma32, "fma64": _fma64,
    **{f"m_{f.__name__}": _total(f, math.inf) for f in (
        math.sin, math.cos, math.tan, math.asin, math.acos, math.atan, math.sinh, math.cosh, math.asinh, math.acosh,
        math.atanh,
    )},
    "inf": math.inf, "nan": math.nan, "allocate": _allocate, "np_f32": _int64_to_f32,
}  # fmt: skip
