"""Index expressions as the emitter needs them: compiled to Python, and split into parts by variable."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from compiler.ir import Binary, Cast, Expr, IntImm, Not, Select, Var, free_vars
from vdla.target.errors import LoweringError

_INFIX = {
    "add": "+", "sub": "-", "mul": "*", "floordiv": "//", "floormod": "%", "eq": "==", "ne": "!=", "lt": "<",
    "le": "<=", "gt": ">", "ge": ">=", "and": "and", "or": "or", "shl": "<<", "shr": ">>",
}  # fmt: skip


def python_source(expr: Expr, names: dict[Var, str]) -> str:
    """``expr`` as Python source over ``names``.  Raises LoweringError for what an index cannot hold (a load)."""
    if isinstance(expr, IntImm):
        return str(bool(expr.value)) if expr.dtype == "bool" else str(expr.value)
    if isinstance(expr, Var):
        if expr not in names:
            raise LoweringError(f"index uses {expr.name}, which no enclosing loop defines")
        return names[expr]
    if isinstance(expr, Binary):
        a, b = python_source(expr.a, names), python_source(expr.b, names)
        if expr.op in ("min", "max"):
            return f"{expr.op}({a}, {b})"
        if expr.op in _INFIX:
            return f"({a} {_INFIX[expr.op]} {b})"
    if isinstance(expr, Select):
        c, t, f = (python_source(e, names) for e in expr.children)
        return f"({t} if {c} else {f})"
    if isinstance(expr, Not):
        return f"(not {python_source(expr.a, names)})"
    if isinstance(expr, Cast):
        return python_source(expr.value, names)
    raise LoweringError(f"an address may hold only loop variables and constants, found {expr}")


def compile_expr(expr: Expr, args: Sequence[Var]) -> Callable[..., int]:
    """``expr`` as a Python function of the variables ``args``, in that order."""
    names = {v: f"v{i}" for i, v in enumerate(args)}
    return eval(f"lambda {', '.join(names.values())}: {python_source(expr, names)}")


def conjuncts(cond: Expr) -> list[Expr]:
    """The conditions that ``cond`` is the conjunction of."""
    if isinstance(cond, Binary) and cond.op == "and":
        return conjuncts(cond.a) + conjuncts(cond.b)
    if isinstance(cond, IntImm) and cond.value:
        return []
    return [cond]


def terms(expr: Expr, sign: int = 1) -> list[tuple[int, Expr]]:
    """``expr`` as a sum of ``coefficient * term``."""
    if isinstance(expr, Binary):
        if expr.op == "add":
            return terms(expr.a, sign) + terms(expr.b, sign)
        if expr.op == "sub":
            return terms(expr.a, sign) + terms(expr.b, -sign)
        if expr.op == "mul" and isinstance(expr.b, IntImm):
            return terms(expr.a, sign * expr.b.value)
    return [(sign, expr)]


class Split:
    """An index as ``base(outer variables) + sum of coefficient * inner variable + sum of other inner terms``.

    ``coefficients``: inner variable -> int.  ``base``: expression over the outer variables only.  ``others``: terms
    that hold inner variables but are not linear, as (coefficient, expression).
    """

    def __init__(self, expr: Expr, inner: Sequence[Var]) -> None:
        inside = set(inner)
        self.coefficients: dict[Var, int] = dict.fromkeys(inner, 0)
        self.others: list[tuple[int, Expr]] = []
        base: Expr = IntImm(0)
        for coefficient, term in terms(expr):
            if isinstance(term, Var) and term in inside:
                self.coefficients[term] += coefficient
            elif free_vars(term) & inside:
                self.others.append((coefficient, term))
            else:
                base = base + term * coefficient
        self.base = base
