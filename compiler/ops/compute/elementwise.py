"""Element-wise operators as tensor expressions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from compiler.ir import Expr, call, select
from compiler.ops.compute.indexing import broadcast
from compiler.ops.compute.registry import register_compute
from compiler.ops.registry import Attrs, TensorType
from compiler.te.tensor import Tensor, compute


def clamp(x: Expr, low: float, high: float) -> Expr:
    """min(max(x, low), high) of a float as numpy's clip has it: a NaN stays one."""
    raised = select(x < low, low, x)
    return select(raised > high, high, raised)


def _sigmoid(x: Expr) -> Expr:
    # exp of a non-positive number only, so that large inputs do not overflow.
    e = call("exp", -1.0 * call("abs", x))
    return select(x >= 0.0, 1.0 / (e + 1.0), e / (e + 1.0))


_UNARY: dict[str, Callable[[Expr], Expr]] = {
    "relu": lambda x: select(x < 0.0, 0.0, x),  # unlike max, keeps a NaN, as numpy does
    "sigmoid": _sigmoid,
    "tanh": lambda x: call("tanh", x),
    "exp": lambda x: call("exp", x),
    "sqrt": lambda x: call("sqrt", x),
    "neg": lambda x: x * -1.0,  # 0 - x would lose the sign of zero
    "abs": lambda x: call("abs", x),
}
_BINARY: dict[str, Callable[[Expr, Expr], Expr]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
}


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


for _name, _function in _UNARY.items():
    _unary(_name, _function)
for _name, _operation in _BINARY.items():
    _binary(_name, _operation)


@register_compute("clip")
def clip(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
    """min(max(x, low), high), float32 or int8."""
    (x,) = inputs
    number = float if output.dtype == "float32" else int
    low, high = number(attrs["low"]), number(attrs["high"])
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
