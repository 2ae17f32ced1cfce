"""Double buffering: the tile of the next iteration is filled before this iteration's is used.

for k in range(n):                        a = allocate(2 slices)
    a = allocate(...)                     fill a[0] for k = 0
    fill a for k              ->          for k in range(n):
    use a                                     if k + 1 < n: fill a[(k + 1) % 2] for k + 1
                                              use a[k % 2]
"""

from __future__ import annotations

from compiler.ir import (
    Allocate,
    Attr,
    Buffer,
    Expr,
    For,
    If,
    Load,
    PrimFunc,
    Seq,
    Stmt,
    Store,
    map_stmt,
    rewrite_expr,
    seq,
    stmt_exprs,
    walk_expr,
    walk_stmt,
)
from compiler.lower.copies import instantiate
from compiler.te.errors import ScheduleError

KEY = "double_buffer"


def double_buffer(func: PrimFunc) -> PrimFunc:
    """``func`` with the buffers marked by ``Attr("double_buffer", node=buffer)`` doubled.

    Raises ScheduleError for a stage that is not computed inside a loop, or that reads what the same iteration computes.
    """
    if not any(isinstance(s, Attr) and s.key == KEY for s in walk_stmt(func.body)):
        return func

    def on_stmt(s: Stmt) -> Stmt | None:
        return _double(s) if isinstance(s, For) else None

    body = map_stmt(func.body, on_stmt=on_stmt)
    for s in walk_stmt(body):
        if isinstance(s, Attr) and s.key == KEY:
            name = s.node.name if isinstance(s.node, Buffer) else "?"
            raise ScheduleError(KEY, name, "the stage is not computed at a loop: compute_at one of its consumer")
    return func.with_body(body)


def _double(loop: For) -> Stmt:
    """``loop`` with every marked buffer filled directly in it doubled."""
    inside = {s.buffer for s in walk_stmt(loop.body) if isinstance(s, Allocate)}
    var = loop.var
    doubled: dict[Buffer, Buffer] = {}
    prologue: list[Stmt] = []

    def spine(s: Stmt) -> Stmt:
        """Rewrites what is directly in the loop: allocations, sequences and marked fills."""
        if isinstance(s, Seq):
            return seq(*[spine(c) for c in s.stmts])
        if isinstance(s, Allocate):
            body = spine(s.body)
            return body if s.buffer in doubled else Allocate(s.buffer, body)
        if isinstance(s, Attr) and s.key == KEY and isinstance(s.node, Buffer):
            old = s.node
            if loop.kind not in ("serial", "unrolled"):
                raise ScheduleError(KEY, old.name, f"loop '{var.name}' is {loop.kind}: its iterations have no order")
            for other in _buffers_used(s.body) & (inside - {old}):
                raise ScheduleError(KEY, old.name, f"it reads '{other.name}', which the same iteration computes")
            strides = None if old.strides is None else (old.elements, *old.strides)
            new = doubled[old] = Buffer(old.name, (2, *old.shape), old.dtype, old.scope, strides)
            fill = _in_slice(s.body, {old: new}, var % 2)
            prologue.append(instantiate(fill, {var: 0}))
            return If(var + 1 < loop.extent, instantiate(fill, {var: var + 1}))
        return s

    body = spine(loop.body)
    if not doubled:
        return loop
    result = seq(*prologue, loop.replace(body=_in_slice(body, doubled, var % 2)))
    for new in reversed(doubled.values()):
        result = Allocate(new, result)
    return result


def _in_slice(stmt: Stmt, table: dict[Buffer, Buffer], which: Expr) -> Stmt:
    """``stmt`` with accesses of some buffers going to slice ``which`` of their doubled ones."""
    memo: dict[int, tuple[Expr, Expr]] = {}

    def access(n: Expr) -> Expr | None:
        if isinstance(n, Load) and n.buffer in table:
            return Load(table[n.buffer], (which, *n.indices))
        return None

    def store(s: Stmt) -> Stmt | None:
        if isinstance(s, Store) and s.buffer in table:
            return Store(table[s.buffer], (which, *s.indices), s.value)
        return None

    return map_stmt(stmt, lambda e: rewrite_expr(e, access, memo), store)


def _buffers_used(stmt: Stmt) -> set[Buffer]:
    return {n.buffer for s in walk_stmt(stmt) for e in stmt_exprs(s) for n in walk_expr(e) if isinstance(n, Load)}
