"""Regions: what an index runs through while some of its variables run, as a symbolic start and a constant extent."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

from compiler.arith.bounds import INDEX_DTYPES
from compiler.arith.simplify import Simplifier
from compiler.ir import Binary, Cast, Expr, IntImm, Select, Var, binary, const, maximum, minimum, walk_expr

#: ``(start, extent)``: the values lie in ``start .. start + extent - 1``
Region = tuple[Expr, int]


def region(expr: Expr, inner: Mapping[Var, tuple[int, int]], simplifier: Simplifier) -> Region | None:
    """The values of ``expr`` while the ``inner`` variables run through their inclusive ``(low, high)`` ranges.

    ``start`` contains no inner variable.  The region contains every value; it is tight for sums of terms in distinct
    inner variables.  None if no constant extent is known (an index read from memory, a product of variables).
    ``simplifier`` knows the ranges of the outer variables and may or may not know those of the inner ones.
    """
    memo: dict[Expr, Region | None] = {}

    def go(e: Expr) -> Region | None:
        if e not in memo:
            memo[e] = compute(e)
        return memo[e]

    def compute(e: Expr) -> Region | None:
        if e in inner and isinstance(e, Var):
            low, high = inner[e]
            return const(low, e.dtype), high - low + 1
        if not any(v in inner for v in walk_expr(e) if isinstance(v, Var)):
            return e, 1
        if isinstance(e, Binary) and e.op in ("add", "sub", "mul"):
            return linear(e)
        if isinstance(e, Binary) and e.op in ("floordiv", "floormod") and isinstance(e.b, IntImm) and e.b.value > 0:
            return division(e, e.b.value)
        if isinstance(e, Binary) and e.op in ("min", "max"):
            a, b = go(e.a), go(e.b)
            if a is None or b is None:
                return constant(e)
            pick = minimum if e.op == "min" else maximum
            # pick(a, b) moves no further than the faster of the two, once both start at pick(starts)
            return pick(a[0], b[0]), max(a[1], b[1])
        if isinstance(e, Select):
            a, b = go(e.true_value), go(e.false_value)
            if a is not None and b is not None:
                lo, hi = simplifier.bounds(binary("sub", b[0], a[0]))
                if lo >= 0 and hi != inf:
                    return a[0], max(a[1], int(hi) + b[1])
                if hi <= 0 and lo != -inf:
                    return b[0], max(b[1], int(-lo) + a[1])
            return constant(e)
        if isinstance(e, Cast) and e.dtype in INDEX_DTYPES and e.value.dtype in INDEX_DTYPES:
            value = go(e.value)
            return None if value is None else (value[0].astype(e.dtype), value[1])
        return constant(e)

    def linear(e: Expr) -> Region | None:
        constant_part, terms = simplifier.linear(e)
        start: Expr = const(constant_part, e.dtype)
        extent = 1
        for atom, k in terms.items():
            if atom is e:
                return constant(e)
            part = go(atom)
            if part is None:
                return None
            low, n = part
            start = start + (low if k > 0 else low + (n - 1)) * k
            extent += abs(k) * (n - 1)
        return start, extent

    def division(e: Binary, c: int) -> Region | None:
        part = go(e.a)
        if part is None:
            return constant(e)
        start, n = part
        lo, hi = simplifier.bounds(start % c)
        if e.op == "floordiv":
            return start // c, (n - 1 + int(hi)) // c + 1
        if n - 1 + hi < c:  # never crosses a multiple of c
            return start % c, n
        return const(0, e.dtype), c

    def constant(e: Expr) -> Region | None:
        """The interval of an expression that depends on nothing but inner variables and bounded outer ones."""
        own = Simplifier({v: r for v in _vars(e) if (r := _known(v)) is not None})
        lo, hi = own.bounds(e)
        if lo == -inf or hi == inf:
            return None
        return const(int(lo), e.dtype), int(hi - lo) + 1

    def _known(v: Var) -> tuple[int, int] | None:
        if v in inner:
            return inner[v]
        lo, hi = simplifier.bounds(v)
        return None if lo == -inf or hi == inf else (int(lo), int(hi))

    found = go(simplifier.simplify(expr))
    if found is None:
        return None
    return simplifier.simplify(found[0]), found[1]


def _vars(e: Expr) -> set[Var]:
    return {n for n in walk_expr(e) if isinstance(n, Var)}
