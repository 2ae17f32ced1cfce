"""The operator registry: what the graph level knows about an operator.

An operator is declared once: its pattern class (for fusion, paper section 3), its attributes with their
defaults, the type of its output, and a numpy reference that defines its meaning bit by bit. Every operator has
exactly one output. Shapes are logical (for example NCHW) whatever the storage layout of a value is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np

from compiler.errors import GraphError, ShapeError

Attrs = Mapping[str, Any]

FLOATS = ("float32", "float64")
SIGNED = ("int8", "int16", "int32", "int64")
INTEGERS = (*SIGNED, "uint8", "uint16", "uint32")
NUMBERS = (*FLOATS, *INTEGERS)


class Pattern(Enum):
    """The four fusion classes of the paper."""

    INJECTIVE = "injective"
    REDUCTION = "reduction"
    COMPLEX = "complex-out-fusable"
    OPAQUE = "opaque"


class _Required:
    """Marks an attribute without a default."""

    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED = _Required()


@dataclass(frozen=True)
class TensorType:
    """Logical shape and element type (a numpy dtype name) of a tensor."""

    shape: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class OpDef:
    """The declaration of one operator.

    infer(types, attrs) returns the output's type or raises ShapeError; reference(arrays, attrs) computes it.
    `arity` is the least and the greatest number of inputs (None: any number).
    """

    name: str
    pattern: Pattern
    infer: Callable[[Sequence[TensorType], Attrs], TensorType]
    reference: Callable[[Sequence[np.ndarray], Attrs], np.ndarray]
    arity: tuple[int, int | None] = (1, 1)
    attrs: Mapping[str, Any] = field(default_factory=dict)
    doc: str = ""

    def bind(self, attrs: Attrs) -> dict[str, Any]:
        """Return the attributes completed with defaults; GraphError for an unknown or missing one."""
        unknown = sorted(set(attrs) - set(self.attrs))
        if unknown:
            raise GraphError(f"operator '{self.name}' has no attribute {unknown}; it has {sorted(self.attrs)}")
        bound = {**self.attrs, **attrs}
        missing = sorted(key for key, value in bound.items() if value is REQUIRED)
        if missing:
            raise GraphError(f"operator '{self.name}' needs the attribute {missing}")
        return bound

    def output_type(self, types: Sequence[TensorType], attrs: Attrs) -> TensorType:
        """Check the number of inputs and infer the output's type; ShapeError when they do not fit."""
        low, high = self.arity
        if len(types) < low or (high is not None and len(types) > high):
            count = str(low) if low == high else f"{low} to {high or 'any number of'}"
            raise ShapeError(f"operator '{self.name}' takes {count} inputs, got {len(types)}")
        return self.infer(types, attrs)


_REGISTRY: dict[str, OpDef] = {}


def register(op: OpDef) -> OpDef:
    """Add an operator; GraphError when the name is taken."""
    if op.name in _REGISTRY:
        raise GraphError(f"operator '{op.name}' is already registered")
    _REGISTRY[op.name] = op
    return op


def get_op(name: str) -> OpDef:
    """Look an operator up by name; GraphError when there is none."""
    try:
        return _REGISTRY[name]
    except KeyError:
        raise GraphError(f"no operator '{name}'; registered are {', '.join(sorted(_REGISTRY))}") from None


def op_names() -> tuple[str, ...]:
    """The names of all registered operators, sorted."""
    return tuple(sorted(_REGISTRY))


def expect_rank(op: str, what: str, tensor: TensorType, rank: int) -> None:
    """ShapeError unless `tensor` has `rank` dimensions."""
    if len(tensor.shape) != rank:
        raise ShapeError(f"{op}: {what} must have {rank} dimensions, got shape {tensor.shape}")


def expect_dtype(op: str, what: str, tensor: TensorType, *allowed: str) -> None:
    """ShapeError unless the element type of `tensor` is one of `allowed`."""
    if tensor.dtype not in allowed:
        raise ShapeError(f"{op}: {what} must be {' or '.join(allowed)}, got {tensor.dtype}")


def window_extent(op: str, size: int, kernel: int, stride: int, before: int, after: int, dilation: int = 1) -> int:
    """Number of window positions along one axis (elements); ShapeError when the window does not fit."""
    span = size + before + after - ((kernel - 1) * dilation + 1)
    if span < 0:
        raise ShapeError(
            f"{op}: window {kernel} (dilation {dilation}) exceeds the padded extent {size + before + after}"
        )
    return span // stride + 1
