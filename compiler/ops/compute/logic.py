"""Comparisons, logic, choice and conversion as tensor expressions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from compiler.ir import Expr, eq, logical_and, logical_not, logical_or, ne, select
from compiler.ops.compute.indexing import broadcast
from compiler.ops.compute.registry import register_compute
from compiler.ops.registry import Attrs, TensorType
from compiler.te.tensor import Tensor, compute

_BINARY: dict[str, Callable[[Expr, Expr], Expr]] = {
    "less": lambda a, b: a < b,
    "less_equal": lambda a, b: a <= b,
    "greater": lambda a, b: a > b,
    "greater_equal": lambda a, b: a >= b,
    "equal": eq,
    "logical_and": logical_and,
    "logical_or": logical_or,
    "logical_xor": ne,
}


def _binary(name: str, function: Callable[[Expr, Expr], Expr]) -> None:
    @register_compute(name)
    def element_wise(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
        a, b = inputs
        return compute(output.shape, lambda *i: function(broadcast(a, i), broadcast(b, i)), name)


for _name, _function in _BINARY.items():
    _binary(_name, _function)


@register_compute("logical_not")
def logical_not_(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
    """not x."""
    (x,) = inputs
    return compute(output.shape, lambda *i: logical_not(x[i]), "logical_not")


@register_compute("is_nan")
def is_nan(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
    """A NaN is what differs from itself."""
    (x,) = inputs
    return compute(output.shape, lambda *i: ne(x[i], x[i]), "is_nan")


@register_compute("where")
def where(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
    """a where the condition holds, else b."""
    cond, a, b = inputs
    return compute(output.shape, lambda *i: select(broadcast(cond, i), broadcast(a, i), broadcast(b, i)), "where")


@register_compute("cast")
def cast(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
    """The loop IR's own conversion."""
    (x,) = inputs
    return compute(output.shape, lambda *i: x[i].astype(output.dtype), "cast")
