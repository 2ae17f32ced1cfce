"""Copies of statements for passes that repeat them: every loop and every allocation of a copy is its own."""

from __future__ import annotations

from collections.abc import Mapping

from compiler.ir import (
    Allocate,
    Attr,
    Buffer,
    Evaluate,
    Expr,
    ExprLike,
    For,
    If,
    Load,
    Seq,
    Stmt,
    Store,
    Var,
    as_expr,
    map_stmt,
    rewrite_expr,
    seq,
)


def instantiate(stmt: Stmt, env: Mapping[Var, ExprLike], buffers: Mapping[Buffer, Buffer] | None = None) -> Stmt:
    """A copy of ``stmt`` with variables (and buffers) replaced; its loop variables and allocations are its own."""
    table: dict[Var, Expr] = {v: as_expr(e) for v, e in env.items()}
    renamed: dict[Buffer, Buffer] = dict(buffers or {})
    memo: dict[int, tuple[Expr, Expr]] = {}

    def on_node(n: Expr) -> Expr | None:
        if isinstance(n, Var):
            return table.get(n)
        if isinstance(n, Load) and n.buffer in renamed:
            return Load(renamed[n.buffer], n.indices)
        return None

    def ex(e: Expr) -> Expr:
        return rewrite_expr(e, on_node, memo)

    def go(s: Stmt) -> Stmt:
        if isinstance(s, Seq):
            return seq(*[go(c) for c in s.stmts])
        if isinstance(s, For):
            fresh = Var(s.var.name, s.var.dtype)
            table[s.var] = fresh
            return s.replace(var=fresh, body=go(s.body))
        if isinstance(s, Allocate):
            b = s.buffer
            renamed[b] = Buffer(b.name, b.shape, b.dtype, b.scope, b.strides)
            return Allocate(renamed[b], go(s.body))
        if isinstance(s, Store):
            return Store(renamed.get(s.buffer, s.buffer), [ex(i) for i in s.indices], ex(s.value))
        if isinstance(s, Evaluate):
            return Evaluate(ex(s.value))
        if isinstance(s, If):
            return If(ex(s.cond), go(s.then), None if s.otherwise is None else go(s.otherwise))
        if isinstance(s, Attr):
            node = renamed.get(s.node, s.node) if isinstance(s.node, Buffer) else s.node
            return Attr(s.key, s.value, go(s.body), node)
        return map_stmt(s, ex)

    return go(stmt)
