"""Linear forms: ``constant + sum(coefficient * atom)`` over integer expressions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from compiler.ir import Binary, Expr, IntImm, Select, Var, as_expr, binary, const, walk_expr

#: constant and ``atom -> coefficient`` (no zero coefficients)
Linear = tuple[int, dict[Expr, int]]


def combine(a: Linear, b: Linear, scale: int = 1) -> Linear:
    """``a + scale * b``; neither is changed."""
    if not b[1]:
        return a[0] + scale * b[0], a[1]
    terms = dict(a[1])
    for atom, k in b[1].items():
        total = terms.get(atom, 0) + scale * k
        if total:
            terms[atom] = total
        else:
            terms.pop(atom, None)
    return a[0] + scale * b[0], terms


def scaled(a: Linear, k: int) -> Linear:
    """``k * a``."""
    if k == 0:
        return 0, {}
    return a[0] * k, {atom: c * k for atom, c in a[1].items()}


def build(form: Linear, dtype: str) -> Expr:
    """The expression of a linear form: positive terms in creation order of their atoms, negative ones, the constant."""
    constant, terms = form
    if not terms:
        return const(constant, dtype)
    ordered = sorted(terms.items(), key=_by_serial) if len(terms) > 1 else terms.items()
    out: Expr | None = None
    for atom, k in ordered:
        if k > 0:
            term = atom if k == 1 else binary("mul", atom, IntImm(k, dtype))
            out = term if out is None else binary("add", out, term)
    for atom, k in ordered:
        if k < 0:
            term = atom if k == -1 else binary("mul", atom, IntImm(-k, dtype))
            if out is None:
                out, constant = binary("sub", IntImm(constant, dtype), term), 0
            else:
                out = binary("sub", out, term)
    assert out is not None  # there is at least one term
    return binary("add", out, IntImm(constant, dtype)) if constant else out


def _by_serial(item: tuple[Expr, int]) -> int:
    return item[0].serial


def linear_form(expr: Expr, variables: Iterable[Var]) -> tuple[dict[Var, int], Expr] | None:
    """``expr`` as ``sum(coefficient * variable) + rest`` with ``rest`` free of ``variables``.

    Returns ``(coefficients, rest)`` (variables with coefficient 0 are absent), or None if ``expr`` is not affine in
    the variables with constant coefficients.  ``select`` on a condition without the variables is affine if both sides
    have the same coefficients.
    """
    wanted = set(variables)
    memo: dict[Expr, tuple[dict[Var, int], Expr] | None] = {}

    def go(e: Expr) -> tuple[dict[Var, int], Expr] | None:
        if e not in memo:
            memo[e] = compute(e)
        return memo[e]

    def compute(e: Expr) -> tuple[dict[Var, int], Expr] | None:
        if isinstance(e, Var):
            return ({e: 1}, const(0, e.dtype)) if e in wanted else ({}, e)
        if isinstance(e, Binary) and e.op in ("add", "sub", "mul"):
            a, b = go(e.a), go(e.b)
            if a is None or b is None:
                return None
            if e.op == "mul":
                if not a[0] and not b[0]:
                    return {}, e
                if isinstance(e.a, IntImm):
                    a, b = b, a
                k = b[1]
                if b[0] or not isinstance(k, IntImm):
                    return None
                return _drop_zeros({v: c * k.value for v, c in a[0].items()}), a[1] * k
            sign = 1 if e.op == "add" else -1
            coefficients = dict(a[0])
            for v, c in b[0].items():
                coefficients[v] = coefficients.get(v, 0) + sign * c
            return _drop_zeros(coefficients), binary(e.op, a[1], b[1])
        if isinstance(e, Select):
            a, b = go(e.true_value), go(e.false_value)
            if a is None or b is None or a[0] != b[0] or not _free(e.cond, wanted):
                return None
            return a[0], Select(e.cond, as_expr(a[1]), as_expr(b[1])) if a[1] is not b[1] else a[1]
        return ({}, e) if _free(e, wanted) else None

    return go(expr)


def _drop_zeros(coefficients: Mapping[Var, int]) -> dict[Var, int]:
    return {v: c for v, c in coefficients.items() if c}


def _free(expr: Expr, variables: set[Var]) -> bool:
    return not any(n in variables for n in walk_expr(expr) if isinstance(n, Var))
