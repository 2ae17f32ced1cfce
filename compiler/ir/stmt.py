"""Statements of the loop IR.

Statements are immutable but, unlike expressions, not interned.  Loops are normalised (they start at 0 and step by 1);
all shapes and extents that reach lowering are known integers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from compiler.errors import IRTypeError
from compiler.ir.buffer import Buffer
from compiler.ir.expr import Expr, ExprLike, Var, as_expr


class Stmt:
    """Base of all statements."""

    __slots__ = ()

    def __repr__(self) -> str:
        from compiler.ir.printer import stmt_text

        return stmt_text(self)


#: how the iterations of a loop are run
LOOP_KINDS = ("serial", "unrolled", "vectorized", "parallel", "vthread", "thread")


class For(Stmt):
    """``for var in range(extent): body``; ``kind`` one of :data:`LOOP_KINDS`.

    ``thread_tag`` names the axis for ``thread``/``vthread`` loops; ``annotations`` are the schedule's pragmas.
    """

    __slots__ = ("var", "extent", "body", "kind", "thread_tag", "annotations")

    def __init__(
        self,
        var: Var,
        extent: int,
        body: Stmt,
        kind: str = "serial",
        thread_tag: str = "",
        annotations: Mapping[str, Any] | None = None,
    ) -> None:
        if kind not in LOOP_KINDS:
            raise IRTypeError(f"unknown loop kind {kind!r}; one of {LOOP_KINDS}")
        self.var, self.extent, self.body, self.kind = var, int(extent), body, kind
        self.thread_tag = thread_tag
        self.annotations: dict[str, Any] = dict(annotations or {})

    def replace(self, **changes: Any) -> For:
        fields: dict[str, Any] = {name: getattr(self, name) for name in For.__slots__}
        fields.update(changes)
        return For(**fields)


class Store(Stmt):
    """``buffer[indices] = value``."""

    __slots__ = ("buffer", "indices", "value")

    def __init__(self, buffer: Buffer, indices: Sequence[ExprLike], value: ExprLike) -> None:
        self.buffer = buffer
        self.indices: tuple[Expr, ...] = tuple(as_expr(i) for i in indices)
        self.value: Expr = as_expr(value, buffer.dtype)
        if len(self.indices) != len(buffer.shape):
            raise IRTypeError(f"{buffer.name} has {len(buffer.shape)} dimensions, stored with {len(self.indices)}")
        if self.value.dtype != buffer.dtype:
            raise IRTypeError(f"store of {self.value.dtype} into {buffer!r}")


class Seq(Stmt):
    """Statements one after the other (build with :func:`seq`, which flattens)."""

    __slots__ = ("stmts",)

    def __init__(self, stmts: Sequence[Stmt]) -> None:
        self.stmts: tuple[Stmt, ...] = tuple(stmts)


class If(Stmt):
    """``if cond: then [else: otherwise]``."""

    __slots__ = ("cond", "then", "otherwise")

    def __init__(self, cond: Expr, then: Stmt, otherwise: Stmt | None = None) -> None:
        self.cond, self.then, self.otherwise = cond, then, otherwise


class Allocate(Stmt):
    """``buffer`` exists inside ``body`` (its contents undefined at the start)."""

    __slots__ = ("buffer", "body")

    def __init__(self, buffer: Buffer, body: Stmt) -> None:
        self.buffer, self.body = buffer, body


class Attr(Stmt):
    """An annotation ``key = value`` about ``node`` that holds over ``body`` (pragmas, layer marks)."""

    __slots__ = ("key", "node", "value", "body")

    def __init__(self, key: str, value: Any, body: Stmt, node: Any = None) -> None:
        self.key, self.value, self.body, self.node = key, value, body, node


class Evaluate(Stmt):
    """An expression for its effect: a target intrinsic."""

    __slots__ = ("value",)

    def __init__(self, value: Expr) -> None:
        self.value = value


class PrimFunc:
    """One lowered function: parameters are buffers in global memory, in call order."""

    __slots__ = ("name", "params", "body", "attrs")

    def __init__(self, name: str, params: Sequence[Buffer], body: Stmt, attrs: Mapping[str, Any] | None = None) -> None:
        self.name, self.params, self.body = name, tuple(params), body
        self.attrs: dict[str, Any] = dict(attrs or {})

    def with_body(self, body: Stmt) -> PrimFunc:
        return PrimFunc(self.name, self.params, body, self.attrs)

    def __repr__(self) -> str:
        from compiler.ir.printer import func_text

        return func_text(self)


def seq(*stmts: Stmt) -> Stmt:
    """The statements in order, nested sequences flattened; one statement stays itself."""
    flat: list[Stmt] = []
    for s in stmts:
        if isinstance(s, Seq):
            flat.extend(s.stmts)
        else:
            flat.append(s)
    return flat[0] if len(flat) == 1 else Seq(flat)
