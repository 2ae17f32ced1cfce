"""Normal form for every index, conditions folded where the loops' extents decide them, empty code removed."""

from __future__ import annotations

from compiler.arith import Indexer
from compiler.ir import (
    Allocate,
    Attr,
    Expr,
    For,
    If,
    IntImm,
    PrimFunc,
    Seq,
    Stmt,
    map_stmt,
    seq,
    substitute_stmt,
)


def simplify(func: PrimFunc) -> PrimFunc:
    """``func`` with simplified expressions, without branches never or always taken."""
    indexer = Indexer.of_loops(func.body)
    memo: dict[Expr, Expr] = {}

    def on_expr(e: Expr) -> Expr:
        out = memo.get(e)
        if out is None:
            out = memo[e] = indexer.rewrite(e)
        return out

    def fold(s: Stmt) -> Stmt | None:
        if isinstance(s, If) and isinstance(s.cond, IntImm):
            return s.then if s.cond.value else (s.otherwise or Seq([]))
        return None

    return func.with_body(map_stmt(func.body, on_expr, fold))


def remove_no_ops(func: PrimFunc) -> PrimFunc:
    """``func`` without loops of extent 1 (those without pragmas) and without loops, branches and allocations of
    nothing."""

    def clean(s: Stmt) -> Stmt | None:
        if isinstance(s, For):
            if _empty(s.body):
                return Seq([])
            if s.extent == 1 and not s.annotations:
                return substitute_stmt(s.body, {s.var: 0})
        elif isinstance(s, (Allocate, Attr)):
            if _empty(s.body):
                return Seq([])
        elif isinstance(s, If):
            if s.otherwise is not None and _empty(s.otherwise):
                s = If(s.cond, s.then)
                return Seq([]) if _empty(s.then) else s
            if _empty(s.then) and s.otherwise is None:
                return Seq([])
        elif isinstance(s, Seq):
            kept = [c for c in s.stmts if not _empty(c)]
            return seq(*kept) if kept else Seq([])
        return None

    return func.with_body(map_stmt(func.body, on_stmt=clean))


def _empty(s: Stmt) -> bool:
    return isinstance(s, Seq) and not s.stmts
