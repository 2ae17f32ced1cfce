"""Loops of kind ``unrolled`` become their iterations, one after the other."""

from __future__ import annotations

from compiler.ir import For, PrimFunc, Stmt, map_stmt, seq, walk_stmt
from compiler.lower.copies import instantiate


def unroll(func: PrimFunc) -> PrimFunc:
    """``func`` without loops of kind ``unrolled``."""
    if not any(isinstance(s, For) and s.kind == "unrolled" for s in walk_stmt(func.body)):
        return func

    def expand(s: Stmt) -> Stmt | None:
        if isinstance(s, For) and s.kind == "unrolled":
            return seq(*[instantiate(s.body, {s.var: i}) for i in range(s.extent)])
        return None

    return func.with_body(map_stmt(func.body, on_stmt=expand))
