"""A condition that holds for a whole iteration of a loop is asked once in it, not at each element that it guards.

Windows on a padded input that is read where it lies have such ones: whether a row is beside the image is the same for
all its pixels. It costs a copy of the loop's body, so that a target has to ask for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from compiler.ir import (
    Binary,
    Expr,
    For,
    If,
    Load,
    PrimFunc,
    Select,
    Stmt,
    Var,
    const,
    free_vars,
    logical_and,
    loops_of,
    map_stmt,
    rewrite_expr,
    stmt_exprs,
    walk_expr,
    walk_stmt,
)
from compiler.lower.copies import instantiate

# Fewer selects are not worth a second copy of the loop's body.
_FEWEST = 4


def unswitch(func: PrimFunc) -> PrimFunc:
    """``func`` with a branch in the body of each loop for the condition that most selects of the body share, if nothing
    inside changes it::

        for rh in range(3):                                        for rh in range(3):
            a[0] = a[0] + select(h + rh >= 1, x[...], 0.0)   =>        if h + rh >= 1:
            ...                                                            a[0] = a[0] + x[...]
            a[9] = a[9] + select(h + rh >= 1, x[...], 0.0)                 ...
                                                                       else:
                                                                           a[0] = a[0] + 0.0
                                                                           ...
    """
    if sum(1 for _ in _selects(func.body)) < _FEWEST:
        return func

    def branch(stmt: Stmt) -> Stmt | None:
        if not isinstance(stmt, For) or stmt.kind not in ("serial", "parallel"):
            return None
        shared = _shared(stmt)
        if shared is None:
            return None
        return stmt.replace(body=If(logical_and(*shared), _where(stmt.body, shared), _elsewhere(stmt.body, shared)))

    return func.with_body(map_stmt(func.body, on_stmt=branch))


def _selects(stmt: Stmt) -> Iterator[Select]:
    """The selects in each expression of ``stmt``."""
    for inner in walk_stmt(stmt):
        for expr in stmt_exprs(inner):
            yield from (node for node in walk_expr(expr) if isinstance(node, Select))


def _shared(loop: For) -> tuple[Expr, ...] | None:
    """The conjuncts that enough selects in a loop share, of those that depend on its variable and on none inside."""
    inside = {inner.var for inner in loops_of(loop.body)}
    counts: Counter[tuple[Expr, ...]] = Counter()
    known: dict[Expr, tuple[Expr, ...]] = {}
    for node in _selects(loop.body):
        if node.cond not in known:
            known[node.cond] = tuple(part for part in _conjuncts(node.cond) if _settles(part, loop.var, inside))
        if known[node.cond]:
            counts[known[node.cond]] += 1
    most = counts.most_common(1)
    return most[0][0] if most and most[0][1] >= _FEWEST else None


def _conjuncts(cond: Expr) -> list[Expr]:
    if isinstance(cond, Binary) and cond.op == "and":
        return [*_conjuncts(cond.a), *_conjuncts(cond.b)]
    return [cond]


def _settles(cond: Expr, var: Var, inside: set[Var]) -> bool:
    """Whether a condition is known as soon as ``var`` is, and is no matter of data."""
    found = free_vars(cond)
    return var in found and not found & inside and not any(isinstance(node, Load) for node in walk_expr(cond))


def _where(body: Stmt, true: tuple[Expr, ...]) -> Stmt:
    """``body`` where all of ``true`` hold."""

    def known(node: Expr) -> Expr | None:
        return const(1, "bool") if node in true else None

    memo: dict[int, tuple[Expr, Expr]] = {}
    return map_stmt(body, lambda expr: rewrite_expr(expr, known, memo))


def _elsewhere(body: Stmt, false: tuple[Expr, ...]) -> Stmt:
    """A copy of ``body`` where one of ``false`` does not hold, with loops and allocations of its own."""

    def known(node: Expr) -> Expr | None:
        if isinstance(node, Select) and set(false) <= set(_conjuncts(node.cond)):
            return node.false_value
        return None

    memo: dict[int, tuple[Expr, Expr]] = {}
    return instantiate(map_stmt(body, lambda expr: rewrite_expr(expr, known, memo)), {})
