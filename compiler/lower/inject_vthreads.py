"""Virtual threads become one instruction stream (paper, section 4.4).

A loop bound to a virtual thread disappears: buffers that belong to one thread get a leading dimension, one slice a
thread, and what depends on the thread is repeated for each of them, statement by statement, while the loops around
stay:

    for t in vthread(2):                      a = allocate(2 slices)
        a = allocate(...)                     for k in range(n):
        for k in range(n):          ->            load a[0]
            load a                                load a[1]
            use a                                 use a[0]
                                                  use a[1]

so that one thread's loads can run while the other computes.  Loops around a single statement are part of the repeated
unit (a copy stays one copy, a nest of intrinsic calls stays one nest), and so is a loop with a pragma.
"""

from __future__ import annotations

from compiler.ir import (
    Allocate,
    Attr,
    Buffer,
    Call,
    Evaluate,
    Expr,
    For,
    If,
    Load,
    PrimFunc,
    Seq,
    Stmt,
    Store,
    Var,
    map_stmt,
    rewrite_expr,
    seq,
    stmt_children,
    stmt_exprs,
    walk_expr,
    walk_stmt,
)
from compiler.lower.copies import instantiate


def inject_vthreads(func: PrimFunc) -> PrimFunc:
    """``func`` without loops of kind ``vthread``."""
    if not any(isinstance(s, For) and s.kind == "vthread" for s in walk_stmt(func.body)):
        return func

    def inject(stmt: Stmt) -> Stmt | None:
        if isinstance(stmt, For) and stmt.kind == "vthread":
            return _Injector(stmt).run()
        return None

    return func.with_body(map_stmt(func.body, on_stmt=inject))


def written_buffer(stmt: Stmt) -> Buffer | None:
    """The buffer a leaf statement writes: a store's, or that of an intrinsic call's first address."""
    if isinstance(stmt, Store):
        return stmt.buffer
    if isinstance(stmt, Evaluate) and isinstance(stmt.value, Call):
        for arg in stmt.value.args:
            if isinstance(arg, Call) and arg.name == "address_of":
                target = arg.args[0]
                assert isinstance(target, Load)
                return target.buffer
    return None


class _Injector:
    """Removes one virtual-thread loop (whose body has none)."""

    def __init__(self, loop: For) -> None:
        self.loop = loop
        self.inside = {s.buffer for s in walk_stmt(loop.body) if isinstance(s, Allocate)}
        self.private: set[Buffer] = set()
        self._uses: dict[int, tuple[Stmt, frozenset[Var | Buffer]]] = {}
        self._find_private()
        self.expanded = {b: _with_slices(b, loop.extent) for b in self.private}

    def run(self) -> Stmt:
        return self.distribute(self.expand(self.loop.body))

    # ------------------------------------------------------------------ what depends on the thread

    def uses(self, stmt: Stmt) -> frozenset[Var | Buffer]:
        """The thread variable, if used, and the loop's buffers that a statement's own expressions touch."""
        hit = self._uses.get(id(stmt))
        if hit is not None:
            return hit[1]
        found: set[Var | Buffer] = set()
        for e in stmt_exprs(stmt):
            for n in walk_expr(e):
                if n is self.loop.var:
                    found.add(self.loop.var)
                elif isinstance(n, Load) and n.buffer in self.inside:
                    found.add(n.buffer)
        if isinstance(stmt, Store) and stmt.buffer in self.inside:
            found.add(stmt.buffer)
        out = frozenset(found)
        self._uses[id(stmt)] = (stmt, out)
        return out

    def _find_private(self) -> None:
        """Buffers whose contents differ from thread to thread, by iteration to a fixed point."""
        leaves: list[tuple[Stmt, list[Stmt]]] = []

        def collect(stmt: Stmt, conditions: list[Stmt]) -> None:
            if isinstance(stmt, (Store, Evaluate)):
                leaves.append((stmt, conditions))
            below = [*conditions, stmt] if isinstance(stmt, If) else conditions
            for child in stmt_children(stmt):
                collect(child, below)

        collect(self.loop.body, [])
        changed = True
        while changed:
            changed = False
            for leaf, conditions in leaves:
                target = written_buffer(leaf)
                if target is None or target not in self.inside or target in self.private:
                    continue
                if any(self._depends(self.uses(s)) for s in (leaf, *conditions)):
                    self.private.add(target)
                    changed = True

    def _depends(self, used: frozenset[Var | Buffer]) -> bool:
        return self.loop.var in used or not self.private.isdisjoint(used)  # type: ignore[arg-type]

    # ------------------------------------------------------------------ slices

    def expand(self, stmt: Stmt) -> Stmt:
        """Accesses of private buffers go to the thread's slice."""
        var, table = self.loop.var, self.expanded
        memo: dict[int, tuple[Expr, Expr]] = {}

        def on_expr(e: Expr) -> Expr:
            return rewrite_expr(e, access, memo)

        def access(n: Expr) -> Expr | None:
            if isinstance(n, Load) and n.buffer in table:
                return Load(table[n.buffer], (var, *n.indices))
            return None

        def on_stmt(s: Stmt) -> Stmt | None:
            if isinstance(s, Store) and s.buffer in table:
                return Store(table[s.buffer], (var, *s.indices), s.value)
            if isinstance(s, Allocate) and s.buffer in table:
                return Allocate(table[s.buffer], s.body)
            if isinstance(s, Attr) and isinstance(s.node, Buffer) and s.node in table:
                return Attr(s.key, s.value, s.body, table[s.node])
            return None

        return map_stmt(stmt, on_expr, on_stmt) if table else stmt

    # ------------------------------------------------------------------ repetition

    def distribute(self, stmt: Stmt) -> Stmt:
        """``stmt`` with everything that depends on the thread repeated, units next to each other."""
        if not self._varies(stmt):
            return stmt
        if isinstance(stmt, Seq):
            return seq(*[self.distribute(s) for s in stmt.stmts])
        if isinstance(stmt, Allocate):
            return Allocate(stmt.buffer, self.distribute(stmt.body))
        if isinstance(stmt, Attr) and not _is_unit(stmt.body):
            return Attr(stmt.key, stmt.value, self.distribute(stmt.body), stmt.node)
        if isinstance(stmt, For) and not (stmt.annotations and not _allocates(stmt)) and not _is_unit(stmt.body):
            return stmt.replace(body=self.distribute(stmt.body))
        if isinstance(stmt, If) and stmt.otherwise is None and not _is_unit(stmt.then) and not self._here(stmt):
            return If(stmt.cond, self.distribute(stmt.then))
        return seq(*[instantiate(stmt, {self.loop.var: t}) for t in range(self.loop.extent)])

    def _here(self, stmt: Stmt) -> bool:
        return any(n is self.loop.var for e in stmt_exprs(stmt) for n in walk_expr(e))

    def _varies(self, stmt: Stmt) -> bool:
        return any(self._here(s) for s in walk_stmt(stmt))


def _is_unit(stmt: Stmt) -> bool:
    """True if nothing below is a sequence or an allocation: one statement in its loops."""
    return not any(isinstance(s, (Seq, Allocate)) for s in walk_stmt(stmt))


def _allocates(stmt: Stmt) -> bool:
    return any(isinstance(s, Allocate) for s in walk_stmt(stmt))


def _with_slices(buffer: Buffer, n: int) -> Buffer:
    strides = None if buffer.strides is None else (buffer.elements, *buffer.strides)
    return Buffer(buffer.name, (n, *buffer.shape), buffer.dtype, buffer.scope, strides)
