"""Linear forms over integer expressions: ``sum(coefficient * atom) + constant``."""

from __future__ import annotations

from collections.abc import Iterable

from compiler.ir import Binary, Expr, IntImm, Select, Var, walk_expr


class Affine:
    """``sum(c * a for a, c in terms.items()) + const``; never changed after it is made; coefficients are not 0."""

    __slots__ = ("terms", "const")

    def __init__(self, terms: dict[Expr, int], const: int = 0) -> None:
        self.terms, self.const = terms, const

    def __add__(self, other: Affine) -> Affine:
        if not other.terms:
            return Affine(self.terms, self.const + other.const) if other.const else self
        terms = dict(self.terms)
        for a, c in other.terms.items():
            n = terms.get(a, 0) + c
            if n:
                terms[a] = n
            else:
                del terms[a]
        return Affine(terms, self.const + other.const)

    def __sub__(self, other: Affine) -> Affine:
        if not other.terms:
            return Affine(self.terms, self.const - other.const) if other.const else self
        return self + other.scaled(-1)

    def scaled(self, k: int) -> Affine:
        if k == 1:
            return self
        if k == 0:
            return ZERO
        return Affine({a: c * k for a, c in self.terms.items()}, self.const * k)

    @property
    def is_const(self) -> bool:
        return not self.terms

    def same(self, other: Affine) -> bool:
        return self.const == other.const and self.terms == other.terms


ZERO = Affine({}, 0)


def linear_form(expr: Expr, variables: Iterable[Var]) -> Affine | None:
    """How ``expr`` moves with ``variables``: a linear form over them so that ``expr - form`` is free of them.

    None if ``expr`` is not affine in the variables with constant coefficients.  ``select`` on a condition without the
    variables is affine if both sides have the same coefficients.
    """
    wanted = set(variables)
    memo: dict[Expr, Affine | None] = {}

    def go(e: Expr) -> Affine | None:
        if e not in memo:
            memo[e] = compute(e)
        return memo[e]

    def compute(e: Expr) -> Affine | None:
        if e in wanted:
            return Affine({e: 1})
        if isinstance(e, Binary) and e.op in ("add", "sub", "mul"):
            a, b = go(e.a), go(e.b)
            if a is None or b is None:
                return None
            if e.op != "mul":
                return a + b if e.op == "add" else a - b
            if a.is_const and b.is_const:
                return ZERO
            moving, k = (b, e.a) if isinstance(e.a, IntImm) else (a, e.b)
            return moving.scaled(k.value) if isinstance(k, IntImm) else None
        if isinstance(e, Select):
            a, b = go(e.true_value), go(e.false_value)
            return a if a is not None and b is not None and a.same(b) and free(e.cond) else None
        return ZERO if free(e) else None

    def free(e: Expr) -> bool:
        return not any(n in wanted for n in walk_expr(e) if isinstance(n, Var))

    return go(expr)
