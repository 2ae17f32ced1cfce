"""Which tensor expression computes a graph operator.

A compute function turns an operator's inputs (tensors of the stored shapes), its bound attributes and its output's
logical type into a new tensor. A plug-in that adds a graph operator registers its compute the same way:

    @register_compute("my_op")
    def my_op(inputs, attrs, output):
        (x,) = inputs
        return te.compute(output.shape, lambda *i: x[i] + 1, "my_op")

and every target that compiles tensor expressions can then run it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from compiler.errors import GraphError
from compiler.ops.registry import Attrs, TensorType
from compiler.te.tensor import PlaceholderOp, Tensor

ComputeFunction = Callable[[Sequence[Tensor], Attrs, TensorType], Tensor]
_Function = TypeVar("_Function", bound=ComputeFunction)

# The tag of stages that only surround a tensor with padding: read many times by a window, they are worth storing.
PADDING = "padding"
# The tag of stages that reduce a window of each channel by itself.
WINDOW = "window"

_COMPUTES: dict[str, ComputeFunction] = {}


def register_compute(name: str, *, replace: bool = False) -> Callable[[_Function], _Function]:
    """Decorator: the function computes operator `name`; GraphError when it has a compute and `replace` is not given."""

    def add(function: _Function) -> _Function:
        if name in _COMPUTES and not replace:
            raise GraphError(f"operator '{name}' already has a tensor expression; replace=True replaces it")
        _COMPUTES[name] = function
        return function

    return add


def has_compute(name: str) -> bool:
    """Whether operator `name` has a tensor expression."""
    return name in _COMPUTES


def compute_of(name: str) -> ComputeFunction:
    """The compute function of an operator; GraphError when it has none."""
    try:
        return _COMPUTES[name]
    except KeyError:
        raise GraphError(f"operator '{name}' has no tensor expression; register_compute('{name}') adds one") from None


def compute_names() -> tuple[str, ...]:
    """The names of the operators that have a tensor expression, sorted."""
    return tuple(sorted(_COMPUTES))


class ConstantOp(PlaceholderOp):
    """A placeholder whose elements are known: a table that an attribute holds (per-channel scales)."""

    def __init__(self, name: str, array: np.ndarray) -> None:
        super().__init__(name, array.shape, array.dtype.name)
        self.array = array


def constant(array: np.ndarray, name: str) -> Tensor:
    """A tensor with the elements of `array`; a target passes it to the kernel like an input."""
    return ConstantOp(name, np.ascontiguousarray(array)).output
