"""Pure operations of the loop IR as LLVM instructions.

Every function works on scalars and on vectors alike (``ty`` is taken from the operands), branches nowhere, and is
defined for all inputs: no operand makes the processor trap or LLVM's poison appear.
"""

from __future__ import annotations

from typing import Any

import llvmlite.ir as ir

from compiler.errors import CodegenError
from compiler.ir import BINARY_OPS, FLOAT_DTYPES, INT_RANGES, Binary, Cast, FloatImm, Select

Value = Any  # llvmlite's values carry no useful static types
Builder = Any

#: functions of the loop IR that are calls of the C library (float32: with an "f" behind the name)
LIBRARY_CALLS = frozenset("exp log tanh erf pow fmod sin cos tan asin acos atan sinh cosh asinh acosh atanh".split())

_SCALARS: dict[str, Any] = {
    "bool": ir.IntType(1), "int8": ir.IntType(8), "uint8": ir.IntType(8), "int16": ir.IntType(16),
    "uint16": ir.IntType(16), "int32": ir.IntType(32), "uint32": ir.IntType(32), "int64": ir.IntType(64),
    "float32": ir.FloatType(), "float64": ir.DoubleType(),
}  # fmt: skip


def scalar_type(dtype: str) -> Any:
    """LLVM's type of one value (a bool is an ``i1``)."""
    return _SCALARS[dtype]


def memory_type(dtype: str) -> Any:
    """LLVM's type of one element in memory (a bool is a byte)."""
    return ir.IntType(8) if dtype == "bool" else _SCALARS[dtype]


def lanes_of(value: Value) -> int:
    return value.type.count if isinstance(value.type, ir.VectorType) else 0


def with_lanes(ty: Any, lanes: int) -> Any:
    return ir.VectorType(ty, lanes) if lanes else ty


def splat(b: Builder, value: Value, lanes: int) -> Value:
    """``value`` in every lane (a vector stays as it is)."""
    if not lanes or lanes_of(value):
        return value
    ty = ir.VectorType(value.type, lanes)
    if isinstance(value, ir.Constant):
        return ir.Constant(ty, [value.constant] * lanes)
    first = b.insert_element(ir.Constant(ty, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    mask = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    return b.shuffle_vector(first, ir.Constant(ty, ir.Undefined), mask)


def number(ty: Any, value: float | int) -> Value:
    """A constant of a scalar or vector type."""
    if isinstance(ty, ir.VectorType):
        return ir.Constant(ty, [value] * ty.count)
    return ir.Constant(ty, value)


def bits_of(value: Value) -> int:
    ty = value.type.element if lanes_of(value) else value.type
    return ty.width


def intrinsic(b: Builder, name: str, ret: Any, *args: Value, overload: tuple[Any, ...] | None = None) -> Value:
    """A call of ``llvm.<name>`` overloaded on the types ``overload`` (the result's, if not given)."""
    suffix = ".".join(_mangle(t) for t in (overload or (ret,)))
    return b.call(declared(b, f"llvm.{name}.{suffix}", ret, [a.type for a in args]), args)


def library(b: Builder, name: str, x: Value, *more: Value) -> Value:
    """A call of the C library's ``name``, lane by lane."""
    lanes = lanes_of(x)
    args = (x, *more)
    if not lanes:
        return b.call(declared(b, name, x.type, [a.type for a in args]), args)
    out: Value = ir.Constant(x.type, ir.Undefined)
    for i in range(lanes):
        at = ir.Constant(ir.IntType(32), i)
        out = b.insert_element(out, library(b, name, *(b.extract_element(a, at) for a in args)), at)
    return out


def declared(b: Builder, name: str, ret: Any, args: list[Any]) -> Any:
    """The module's declaration of an external function."""
    known = b.module.globals.get(name)
    return known if known is not None else ir.Function(b.module, ir.FunctionType(ret, args), name)


def _mangle(ty: Any) -> str:
    if isinstance(ty, ir.VectorType):
        return f"v{ty.count}{_mangle(ty.element)}"
    return {ir.FloatType: "f32", ir.DoubleType: "f64"}.get(type(ty)) or f"i{ty.width}"


# --------------------------------------------------------------------------------------------- binary operations


def compare(b: Builder, op: str, dtype: str, x: Value, y: Value) -> Value:
    if dtype in FLOAT_DTYPES:
        return b.fcmp_unordered("!=", x, y) if op == "ne" else b.fcmp_ordered(BINARY_OPS[op], x, y)
    signed = dtype[0] == "i"
    return (b.icmp_signed if signed else b.icmp_unsigned)(BINARY_OPS[op], x, y)


def extremum(e: Select) -> str:
    """LLVM's name of what a select computes that chooses between the operands of its comparison, or nothing."""
    cond = e.cond
    if not isinstance(cond, Binary) or cond.op not in ("lt", "gt"):
        return ""
    if (e.true_value, e.false_value) == (cond.a, cond.b):
        return "minimum" if cond.op == "lt" else "maximum"
    if (e.true_value, e.false_value) == (cond.b, cond.a):
        return "maximum" if cond.op == "lt" else "minimum"
    return ""


def arithmetic(
    b: Builder, op: str, dtype: str, x: Value, y: Value, flags: tuple[str, ...], never_negative: bool
) -> Value:
    """``x op y`` for every operation but comparisons and logic.

    Args:
        flags: instruction flags for add/sub/mul (``nsw`` where proved, ``contract`` for floats).
        never_negative: ``x`` >= 0 is proved (cheaper division).
    """
    if op in ("min", "max"):
        return b.select(compare(b, "lt" if op == "min" else "gt", dtype, x, y), x, y)
    if dtype in FLOAT_DTYPES:
        return _float_arithmetic(b, op, x, y, flags)
    if op in ("add", "sub", "mul"):
        return {"add": b.add, "sub": b.sub, "mul": b.mul}[op](x, y, flags=flags)
    if op in ("floordiv", "floormod"):
        return _division(b, op, dtype, x, y, never_negative)
    if op in ("shl", "shr"):
        return _shift(b, op, dtype, x, y)
    if op in ("bitand", "bitor", "bitxor"):
        return {"bitand": b.and_, "bitor": b.or_, "bitxor": b.xor}[op](x, y)
    raise CodegenError(f"no code for operation {op!r}")


def _float_arithmetic(b: Builder, op: str, x: Value, y: Value, flags: tuple[str, ...]) -> Value:
    if op in ("floordiv", "floormod"):
        quotient = intrinsic(b, "floor", x.type, b.fdiv(x, y))
        return quotient if op == "floordiv" else b.fsub(x, b.fmul(quotient, y))
    emit = {"add": b.fadd, "sub": b.fsub, "mul": b.fmul, "div": b.fdiv}.get(op)
    if emit is None:
        raise CodegenError(f"no code for operation {op!r} on floats")
    return emit(x, y, flags=flags)


def _constant(value: Value) -> int | None:
    """The integer a constant (or every lane of it) holds."""
    if not isinstance(value, ir.Constant):
        return None
    held = value.constant
    if isinstance(held, list):
        first = getattr(held[0], "constant", held[0])
        return first if isinstance(first, int) and len({getattr(h, "constant", h) for h in held}) == 1 else None
    return held if isinstance(held, int) else None


def _division(b: Builder, op: str, dtype: str, x: Value, y: Value, never_negative: bool) -> Value:
    quotient_wanted = op == "floordiv"
    ty, c = x.type, _constant(y)
    if dtype[0] == "u" or (never_negative and c is not None and c > 0):
        if c is None:
            # a division by zero must not trap; it gives 0 (the interpreter refuses it)
            zero = b.icmp_unsigned("==", y, number(ty, 0))
            y = b.select(zero, number(ty, 1), y)
            return b.select(zero, number(ty, 0), b.udiv(x, y) if quotient_wanted else b.urem(x, y))
        return b.udiv(x, y) if quotient_wanted else b.urem(x, y)
    if c is not None and c > 0:
        if c & (c - 1) == 0:  # rounding down is what the arithmetic shift and the mask do
            return b.ashr(x, number(ty, c.bit_length() - 1)) if quotient_wanted else b.and_(x, number(ty, c - 1))
        if quotient_wanted:
            negative = b.icmp_signed("<", b.srem(x, y), number(ty, 0))
            return b.sub(b.sdiv(x, y), b.zext(negative, ty))
        rest = b.srem(x, y)
        return b.select(b.icmp_signed("<", rest, number(ty, 0)), b.add(rest, y), rest)
    # any divisor: 0 and -1 must not trap (-1 overflows on the least integer)
    zero, minus_one = b.icmp_signed("==", y, number(ty, 0)), b.icmp_signed("==", y, number(ty, -1))
    safe = b.select(b.or_(zero, minus_one), number(ty, 1), y)
    rest = b.srem(x, safe)
    wrong_side = b.and_(b.icmp_signed("!=", rest, number(ty, 0)), b.icmp_signed("<", b.xor(rest, safe), number(ty, 0)))
    if not quotient_wanted:
        return b.select(wrong_side, b.add(rest, safe), rest)
    quotient = b.sub(b.sdiv(x, safe), b.zext(wrong_side, ty))
    quotient = b.select(minus_one, b.sub(number(ty, 0), x), quotient)
    return b.select(zero, number(ty, 0), quotient)


def _shift(b: Builder, op: str, dtype: str, x: Value, y: Value) -> Value:
    width, ty, c = bits_of(x), x.type, _constant(y)
    right = b.ashr if dtype[0] == "i" else b.lshr
    if c is not None and 0 <= c < width:
        return b.shl(x, y) if op == "shl" else right(x, y)
    inside = b.icmp_unsigned("<", y, number(ty, width))
    amount = b.select(inside, y, number(ty, width - 1))
    if op == "shl":
        return b.select(inside, b.shl(x, amount), number(ty, 0))
    shifted = right(x, amount)
    return shifted if dtype[0] == "i" else b.select(inside, shifted, number(ty, 0))


def rshift_rne(b: Builder, x: Value, s: Value) -> Value:
    """``x / 2**s`` rounded half to even (signed ``x``)."""
    ty, width, c = x.type, bits_of(x), _constant(s)
    if c == 0:
        return x
    if c is not None and not 0 < c < width:
        return number(ty, 0)
    one = number(ty, 1)
    inside = None if c is not None else b.icmp_unsigned("<", s, number(ty, width))
    amount = s if inside is None else b.select(inside, s, number(ty, width - 1))
    power = b.shl(one, amount)
    rest, half = b.and_(x, b.sub(power, one)), b.lshr(power, one)
    quotient = b.ashr(x, amount)
    odd = b.icmp_unsigned("!=", b.and_(quotient, one), number(ty, 0))
    up = b.or_(b.icmp_unsigned(">", rest, half), b.and_(b.icmp_unsigned("==", rest, half), odd))
    if inside is not None:
        up = b.and_(up, b.icmp_unsigned("!=", s, number(ty, 0)))
    rounded = b.add(quotient, b.zext(up, ty))
    return rounded if inside is None else b.select(inside, rounded, number(ty, 0))


# --------------------------------------------------------------------------------------------- casts


def convert(b: Builder, value: Value, source: str, target: str, fits: bool = False) -> Value:
    """C's conversions, made total: floats saturate, NaN becomes 0, bool is ``!= 0``.

    fits: a float is known to lie within an integer target.
    """
    ty = with_lanes(scalar_type(target), lanes_of(value))
    if target == "bool":
        if source in FLOAT_DTYPES:
            return b.fcmp_unordered("!=", value, number(value.type, 0.0))
        return b.icmp_unsigned("!=", value, number(value.type, 0))
    from_float, to_float = source in FLOAT_DTYPES, target in FLOAT_DTYPES
    if from_float and to_float:
        return b.fpext(value, ty) if target == "float64" else b.fptrunc(value, ty)
    if to_float:
        return b.sitofp(value, ty) if source[0] == "i" else b.uitofp(value, ty)
    if from_float and fits and target[0] == "i":
        return b.fptosi(value, ty)
    if from_float and lanes_of(value) and target in ("int8", "int16", "int32") and b.module.triple.startswith("x86"):
        return _saturated(b, value, source, target)
    if from_float:
        name = "fptosi.sat" if target[0] == "i" else "fptoui.sat"
        return intrinsic(b, name, ty, value, overload=(ty, value.type))
    narrow, wide = bits_of(value), scalar_type(target).width
    if wide > narrow:
        return b.sext(value, ty) if source[0] == "i" else b.zext(value, ty)
    return b.trunc(value, ty) if wide < narrow else value


def _saturated(b: Builder, value: Value, source: str, target: str) -> Value:
    """A vector of floats as signed integers, saturated; LLVM's own operation for it goes lane by lane on x86."""
    low, high = INT_RANGES[target]
    ty = with_lanes(scalar_type(target), lanes_of(value))
    # The last float32 below 2^31 is 128 less.
    most = number(value.type, 2.0**31 - 128 if (source, target) == ("float32", "int32") else float(high))
    least = number(value.type, float(low))
    known = b.select(b.fcmp_ordered("ord", value, value), value, number(value.type, 0.0))
    raised = b.select(b.fcmp_ordered(">", known, least), known, least)
    above = b.fcmp_ordered(">", raised, most)
    whole = b.fptosi(b.select(above, most, raised), ty)
    return b.select(above, number(ty, high), whole)


def is_clamped(e: Cast) -> bool:
    """Whether a float is brought within a signed integer type's range right before it is converted."""
    outer = e.value
    if e.dtype not in INT_RANGES or not isinstance(outer, Binary):
        return False
    inner = outer.a
    if not isinstance(inner, Binary) or {outer.op, inner.op} != {"min", "max"}:
        return False
    low, high = INT_RANGES[e.dtype]
    limits = (outer.b, inner.b)
    return all(isinstance(limit, FloatImm) and low <= limit.value <= high for limit in limits)


# --------------------------------------------------------------------------------------------- functions


def function(b: Builder, name: str, dtype: str, args: list[Value]) -> Value:
    """A pure function of the loop IR."""
    x = args[0]
    if name == "rshift_rne":
        return rshift_rne(b, x, args[1])
    if dtype not in FLOAT_DTYPES:
        if name == "abs":
            flag = ir.Constant(ir.IntType(1), 0)  # abs of the least integer wraps to itself
            return intrinsic(b, "abs", x.type, x, flag, overload=(x.type,))
        if name == "popcount":
            return intrinsic(b, "ctpop", x.type, x)
        raise CodegenError(f"no code for {name} of {dtype}")
    simple = {"floor": "floor", "ceil": "ceil", "round": "roundeven", "abs": "fabs", "sqrt": "sqrt"}.get(name)
    if simple is not None:
        return intrinsic(b, simple, x.type, x)
    if name == "fma":
        return intrinsic(b, "fma", x.type, *args)
    single = dtype == "float32"
    if name == "sigmoid":
        one = number(x.type, 1.0)
        return b.fdiv(one, b.fadd(one, function(b, "exp", dtype, [b.fneg(x)])))
    if name == "exp" and single:
        return _exp(b, x)
    if name == "tanh" and single:
        return _tanh(b, x)
    if name == "erf" and single:
        return _erf(b, x)
    if name in LIBRARY_CALLS:
        return library(b, name + ("f" if single else ""), *args)
    raise CodegenError(f"no code for function {name!r}")


def _polynomial(b: Builder, x: Value, coefficients: list[float]) -> Value:
    """Horner's rule, highest power first."""
    out = number(x.type, coefficients[0])
    for c in coefficients[1:]:
        out = b.fadd(b.fmul(out, x, flags=("contract",)), number(x.type, c), flags=("contract",))
    return out


def _exp(b: Builder, x: Value) -> Value:
    """exp of float32 after Cephes: 2**n * p(r), r = x - n*ln 2 in two steps; within 2 units in the last place.

    A polynomial, because LLVM vectorises no call.  Results below the normal range become 0.
    """
    ty = x.type
    i32 = with_lanes(ir.IntType(32), lanes_of(x))
    low, high = number(ty, -87.33654), number(ty, 88.72283)
    clamped = b.select(b.fcmp_ordered("<", x, high), x, high)
    clamped = b.select(b.fcmp_ordered(">", clamped, low), clamped, low)
    # Added to a number whose last place is 1, x / ln 2 is rounded to n, which then stands in the low bits as well.
    places = number(ty, 12582912.0)
    rounded = _add_product(b, clamped, 1.44269504088896341, places)
    n = b.fsub(rounded, places)
    r = _add_product(b, n, -0.693359375, clamped)
    r = _add_product(b, n, 2.12194440e-4, r)
    p = _polynomial(b, r, [1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 0.5])
    p = b.fadd(b.fmul(p, b.fmul(r, r), flags=("contract",)), r, flags=("contract",))
    p = b.fadd(p, number(ty, 1.0))
    # Times 2**n: p lies around 1, so that its exponent holds all n but those of the results that are replaced.
    p = b.bitcast(b.add(b.bitcast(p, i32), b.shl(b.bitcast(rounded, i32), number(i32, 23))), ty)
    p = b.select(b.fcmp_ordered("<", x, low), number(ty, 0.0), p)
    beyond = b.fmul(x, number(ty, float("inf")))  # or not a number
    return b.select(b.fcmp_unordered(">", x, high), beyond, p)


def _add_product(b: Builder, x: Value, factor: float, addend: Value) -> Value:
    """x * factor + addend, in one step where the processor has it."""
    return b.fadd(b.fmul(x, number(x.type, factor), flags=("contract",)), addend, flags=("contract",))


def _erf(b: Builder, x: Value) -> Value:
    """erf of float32: x * p(x**2) below 1, 1 - exp(-q(|x|)) above, p and q fitted to the least relative error of the
    result; within 3 units in the last place.  From 4 on it rounds to 1."""
    ty = x.type
    size = intrinsic(b, "fabs", ty, x)
    near = _polynomial(
        b,
        b.fmul(x, x),
        [-5.631577805615962e-4, 4.917594604194164e-3, -2.6711355894804e-2, 0.11280182003974915, -0.3761232793331146,
         1.1283791065216064],
    )  # fmt: skip
    last = number(ty, 4.0)
    clamped = b.select(b.fcmp_ordered("<", size, last), size, last)
    # -q, so that it need not be negated
    exponent = _polynomial(
        b,
        clamped,
        [1.863800862338394e-4, -2.9476669151335955e-3, 2.1838096901774406e-2, -0.10310681909322739, -0.6381447315216064,
         -1.127089262008667, -3.4151258296333253e-4],
    )  # fmt: skip
    far = intrinsic(b, "copysign", ty, b.fsub(number(ty, 1.0), _exp(b, exponent)), x)
    return b.select(b.fcmp_unordered("<", size, number(ty, 1.0)), b.fmul(near, x), far)


def _tanh(b: Builder, x: Value) -> Value:
    """tanh of float32 after Cephes: a polynomial below 0.625, 1 - 2/(exp(2|x|) + 1) above."""
    ty = x.type
    size = intrinsic(b, "fabs", ty, x)
    square = b.fmul(x, x)
    p = _polynomial(
        b, square, [-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1]
    )
    small = b.fadd(b.fmul(b.fmul(p, square), x), x)
    one, two = number(ty, 1.0), number(ty, 2.0)
    large = b.fsub(one, b.fdiv(two, b.fadd(_exp(b, b.fmul(size, two)), one)))
    large = intrinsic(b, "copysign", ty, large, x)
    return b.select(b.fcmp_unordered("<", size, number(ty, 0.625)), small, large)
