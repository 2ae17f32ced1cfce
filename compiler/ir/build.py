"""Short-hands for building expressions; the constructors of single nodes are in :mod:`compiler.ir.expr`."""

from __future__ import annotations

from compiler.ir.expr import Call, Expr, ExprLike, as_expr, binary, const


def eq(a: ExprLike, b: ExprLike) -> Expr:
    return binary("eq", a, b)


def ne(a: ExprLike, b: ExprLike) -> Expr:
    return binary("ne", a, b)


def minimum(a: ExprLike, b: ExprLike) -> Expr:
    return binary("min", a, b)


def maximum(a: ExprLike, b: ExprLike) -> Expr:
    return binary("max", a, b)


def logical_and(*conds: ExprLike) -> Expr:
    """Conjunction (of none: true)."""
    out: Expr = const(1, "bool")
    for c in conds:
        out = binary("and", out, c)
    return out


def logical_or(*conds: ExprLike) -> Expr:
    """Disjunction (of none: false)."""
    out: Expr = const(0, "bool")
    for c in conds:
        out = binary("or", out, c)
    return out


def call(name: str, *args: ExprLike, dtype: str | None = None) -> Expr:
    """A pure math call; its dtype is the first argument's unless given."""
    exprs = [as_expr(a) for a in args]
    return Call(name, exprs, dtype or exprs[0].dtype)


def rshift_rne(x: ExprLike, shift: ExprLike) -> Expr:
    """``x / 2**shift`` rounded half to even, integers."""
    x = as_expr(x)
    return Call("rshift_rne", [x, as_expr(shift, x.dtype)], x.dtype)
