"""How many arithmetic operations a function executes: counted over its loops, not by running it."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from compiler.ir.buffer import Load
from compiler.ir.expr import Binary, Call, Expr, Not, Select, Var
from compiler.ir.interp import compile_expr
from compiler.ir.stmt import For, If, PrimFunc, Stmt, Store
from compiler.ir.traverse import free_vars, stmt_children, walk_expr
from compiler.ir.types import COMPARE_OPS, LOGIC_OPS

# Iterations that are looked at for a condition; above it, and where it reads memory, it counts as true.
_MOST_POINTS = 1 << 14

_Conditions = tuple[tuple[Expr, bool], ...]


def operations(func: PrimFunc) -> int:
    """Additions, multiplications, divisions, minima, maxima and calls of functions on the values that `func` stores.

    A multiply-accumulate is two, equal terms of a statement are one. A choice by a value (a rectifier) is one, and of
    any choice the longer side counts. Indices and conversions do not count, nor do a target's own intrinsics. Of a
    loop's guard those iterations count in which it holds.
    """
    counted: dict[Expr, int] = {}
    shares: dict[_Conditions, float] = {}

    def times(loops: Mapping[Var, int], conditions: _Conditions) -> float:
        whole = math.prod(loops.values())
        if conditions not in shares:
            shares[conditions] = _share(loops, conditions)
        return whole * shares[conditions]

    def visit(s: Stmt, loops: dict[Var, int], conditions: _Conditions) -> float:
        if isinstance(s, Store):
            if s.value not in counted:
                counted[s.value] = _operations(s.value, set())
            return counted[s.value] and counted[s.value] * times(loops, conditions)
        if isinstance(s, For):
            return visit(s.body, {**loops, s.var: s.extent}, conditions)
        if isinstance(s, If):
            total = visit(s.then, loops, (*conditions, (s.cond, True)))
            return total if s.otherwise is None else total + visit(s.otherwise, loops, (*conditions, (s.cond, False)))
        return sum(visit(child, loops, conditions) for child in stmt_children(s))

    return round(visit(func.body, {}, ()))


def _operations(expr: Expr, seen: set[Expr]) -> int:
    """Those of a value, but for terms that were `seen`, to which its own are added."""
    if expr in seen or isinstance(expr, Load | Not):
        return 0
    seen.add(expr)
    if isinstance(expr, Select):
        by_value = any(isinstance(node, Load) for node in walk_expr(expr.cond))
        own = 1 + _operations(expr.cond, seen) if by_value else 0
        return own + max(_operations(side, set(seen)) for side in (expr.true_value, expr.false_value))
    own = 0
    if isinstance(expr, Binary):
        own = int(expr.op not in COMPARE_OPS and expr.op not in LOGIC_OPS)
    elif isinstance(expr, Call) and "." not in expr.name:
        own = 2 if expr.name == "fma" else 1
    return own + sum(_operations(child, seen) for child in expr.children)


def _share(loops: Mapping[Var, int], conditions: _Conditions) -> float:
    """Of the iterations of the loops, how many fulfil all conditions."""
    known = [(cond, wanted) for cond, wanted in conditions if not any(isinstance(e, Load) for e in walk_expr(cond))]
    names = sorted({var for cond, _ in known for var in free_vars(cond)} & set(loops), key=list(loops).index)
    extents = [loops[var] for var in names]
    points = math.prod(extents)
    if not known or points > _MOST_POINTS:
        return 1.0
    tests = [(compile_expr(cond, names), wanted) for cond, wanted in known]
    found = sum(all(bool(test(*point)) is wanted for test, wanted in tests) for point in np.ndindex(*extents))
    return found / points
