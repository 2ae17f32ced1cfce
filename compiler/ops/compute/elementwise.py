"""Element-wise operators as tensor expressions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from compiler.ir import INT_RANGES, Expr, call, const, logical_and, ne, select
from compiler.ops.compute.indexing import broadcast
from compiler.ops.compute.registry import register_compute
from compiler.ops.elementwise import TRIGONOMETRIC
from compiler.ops.registry import FLOATS, Attrs, TensorType
from compiler.te.tensor import Tensor, compute, greater_or_nan, lesser_or_nan


def clamp(x: Expr, low: float, high: float) -> Expr:
    """min(max(x, low), high) of a float as numpy's clip has it: a NaN stays one."""
    raised = select(x < low, low, x)
    return select(raised > high, high, raised)


def _sigmoid(x: Expr) -> Expr:
    # exp of a non-positive number only, so that large inputs do not overflow.
    e = call("exp", -1.0 * call("abs", x))
    return select(x >= 0.0, 1.0 / (e + 1.0), e / (e + 1.0))


def _is_float(x: Expr) -> bool:
    return x.dtype in FLOATS


def _div(a: Expr, b: Expr) -> Expr:
    if _is_float(a):
        return a / b
    if a.dtype.startswith("u"):
        return a // b
    quotient = call("abs", a) // call("abs", b)
    return select(ne(a < 0, b < 0), 0 - quotient, quotient)


def _pow(a: Expr, b: Expr) -> Expr:
    if _is_float(a):
        return call("pow", a, b)
    return call("pow", a.astype("float64"), b.astype("float64")).astype("int64").astype(a.dtype)


def _fmod(a: Expr, b: Expr) -> Expr:
    return call("fmod", a, b) if _is_float(a) else a - _div(a, b) * b


def _mod(a: Expr, b: Expr) -> Expr:
    if not _is_float(a):
        return a % b
    rest = call("fmod", a, b)
    return select(logical_and(ne(rest, 0.0), ne(rest < 0.0, b < 0.0)), rest + b, rest)


def _sign(x: Expr) -> Expr:
    least = 0 if x.dtype.startswith("u") else -1
    zero, one = const(0, x.dtype), const(1, x.dtype)
    return select(x > zero, one, select(x < zero, const(least, x.dtype), x))


_UNARY: dict[str, Callable[[Expr], Expr]] = {
    "relu": lambda x: select(x < 0, const(0, x.dtype), x),  # unlike max, keeps a NaN, as numpy does
    "sigmoid": _sigmoid,
    "floor": lambda x: call("floor", x),
    "ceil": lambda x: call("ceil", x),
    "round": lambda x: call("round", x),
    "reciprocal": lambda x: 1.0 / x,
    "neg": lambda x: x * const(-1, x.dtype),  # 0 - x would lose the sign of zero
    "abs": lambda x: x if x.dtype.startswith("u") else call("abs", x),
    "sign": _sign,
    "bit_not": lambda x: x ^ const(-1 if x.dtype.startswith("i") else INT_RANGES[x.dtype][1], x.dtype),
}
_CALLS = ("tanh", "exp", "log", "sqrt", "erf", *TRIGONOMETRIC)
_BINARY: dict[str, Callable[[Expr, Expr], Expr]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": _div,
    "pow": _pow,
    "mod": _mod,
    "fmod": _fmod,
    "maximum": greater_or_nan,
    "minimum": lesser_or_nan,
    "bit_and": lambda a, b: a & b,
    "bit_or": lambda a, b: a | b,
    "bit_xor": lambda a, b: a ^ b,
    "shift_left": lambda a, b: a << b,
    "shift_right": lambda a, b: a >> b,
}


def _function(name: str) -> Callable[[Expr], Expr]:
    return lambda x: call(name, x)


def _unary(name: str, function: Callable[[Expr], Expr]) -> None:
    @register_compute(name)
    def element_wise(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
        (x,) = inputs
        return compute(output.shape, lambda *i: function(x[i]), name)


def _binary(name: str, function: Callable[[Expr, Expr], Expr]) -> None:
    @register_compute(name)
    def element_wise(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
        a, b = inputs
        return compute(output.shape, lambda *i: function(broadcast(a, i), broadcast(b, i)), name)


for _name, _operation in _UNARY.items():
    _unary(_name, _operation)
for _name in _CALLS:
    _unary(_name, _function(_name))
for _name, _operation in _BINARY.items():
    _binary(_name, _operation)


@register_compute("clip")
def clip(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
    """min(max(x, low), high)."""
    (x,) = inputs
    low, high = attrs["low"], attrs["high"]
    if output.dtype in FLOATS:
        low, high = float(low), float(high)
    else:  # an integer that has no value beyond its range
        least, greatest = INT_RANGES[output.dtype]
        low, high = int(max(low, least)), int(min(high, greatest))
    return compute(output.shape, lambda *i: clamp(x[i], low, high), "clip")


@register_compute("batch_norm")
def batch_norm(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
    """(x - mean) * (scale / sqrt(variance + epsilon)) + bias along axis 1."""
    x, scale, bias, mean, variance = inputs

    def element(*i: Expr) -> Expr:
        c = i[1]
        factor = scale[c] / call("sqrt", variance[c] + float(attrs["epsilon"]))
        return (x[i] - mean[c]) * factor + bias[c]

    return compute(output.shape, element, "batch_norm")
