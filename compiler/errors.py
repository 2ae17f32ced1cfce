"""The errors a user of the compiler sees: each message is one line saying what, where, and what would be right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class CompileError(Exception):
    """Base of every error the compiler raises for a user's mistake."""


class ModelError(CompileError):
    """The model cannot be read: not an ONNX file, dynamic shapes, non-finite weights, dangling inputs."""

    def __str__(self) -> str:
        # Names come from the file: whatever it holds, the message stays one line.
        return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in super().__str__())


@dataclass(frozen=True)
class Unsupported:
    """One operator that cannot be imported: the node's name, its ONNX operator and the reason; `needs` names the tensor
    that would have to be constant, if that is it."""

    node: str
    op: str
    reason: str
    needs: str | None = None

    def __str__(self) -> str:
        return f"{self.op} '{self.node}': {self.reason}"


class UnsupportedModelError(ModelError):
    """The model uses operators that cannot be imported; `items` lists every one of them with its reason."""

    def __init__(self, model: str, items: Sequence[Unsupported]) -> None:
        self.items = tuple(items)
        count = len(self.items)
        listing = "; ".join(str(item) for item in self.items)
        super().__init__(f"model '{model}' has {count} unsupported operator{'s' if count != 1 else ''}: {listing}")


class ShapeError(CompileError):
    """The inputs or attributes of an operator do not fit together."""


class GraphError(CompileError):
    """A graph violates an invariant (single assignment, topological order, inferred types)."""


class QuantizationError(CompileError):
    """A tensor cannot be quantised: no calibration data, or a scale outside the representable range."""


class TargetError(CompileError):
    """No such target, or no target of the list takes an operator."""


class LayoutError(CompileError):
    """A layout string is malformed or does not fit the tensor's rank."""


class IRTypeError(CompileError, TypeError):
    """An expression or statement whose operand types, shapes or kinds do not fit together."""


class VerifyError(CompileError):
    """A program that breaks a rule of the loop IR; the message shows the statement."""


class InterpError(CompileError):
    """The reference interpreter met an illegal access, an undefined operation or unfitting arguments."""


class CodegenError(CompileError):
    """A back end cannot translate a program, or a part of it."""
