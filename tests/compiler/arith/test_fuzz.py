"""Simplifier, bounds, linear forms and regions against brute force over every value of the variables."""

from __future__ import annotations

from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.arith import Bounds, Simplifier, linear_form, region
from compiler.ir import Binary, Expr, IntImm, Not, Select, Var, binary, const, eq, logical_not, ne, select

X, Y, Z = VARS = (Var("x"), Var("y"), Var("z"))


def evaluate(e: Expr, env: dict[Var, int]) -> int:
    """Mathematical integers, no wrap-around: what index arithmetic means."""
    if isinstance(e, IntImm):
        return e.value
    if isinstance(e, Var):
        return env[e]
    if isinstance(e, Not):
        return int(not evaluate(e.a, env))
    if isinstance(e, Select):
        return evaluate(e.true_value if evaluate(e.cond, env) else e.false_value, env)
    assert isinstance(e, Binary), e
    a, b = evaluate(e.a, env), evaluate(e.b, env)
    return int(
        {
            "add": lambda: a + b, "sub": lambda: a - b, "mul": lambda: a * b, "floordiv": lambda: a // b,
            "floormod": lambda: a % b, "min": lambda: min(a, b), "max": lambda: max(a, b), "lt": lambda: a < b,
            "le": lambda: a <= b, "gt": lambda: a > b, "ge": lambda: a >= b, "eq": lambda: a == b,
            "ne": lambda: a != b, "and": lambda: a and b, "or": lambda: a or b,
        }[e.op]()
    )  # fmt: skip


def expressions() -> st.SearchStrategy[Expr]:
    constants = st.integers(-9, 9).map(lambda v: const(v, "int32"))
    divisors = st.sampled_from([1, 2, 3, 4, 5, 6, 8, 12, 16, -1, -2, -3, -4]).map(lambda v: const(v, "int32"))
    leaves = st.one_of(st.sampled_from(VARS), st.sampled_from(VARS), constants)

    def grow(children: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
        conds = st.one_of(
            st.tuples(st.sampled_from(["lt", "le", "gt", "ge", "eq", "ne"]), children, children).map(
                lambda t: binary(*t)
            ),
        )
        conds = st.one_of(
            conds,
            conds.map(logical_not),
            st.tuples(st.sampled_from(["and", "or"]), conds, conds).map(lambda t: binary(*t)),
        )
        return st.one_of(
            st.tuples(st.sampled_from(["add", "sub", "add"]), children, children).map(lambda t: binary(*t)),
            st.tuples(children, divisors).map(lambda t: binary("mul", *t)),
            st.tuples(st.sampled_from(["floordiv", "floormod"]), children, divisors).map(lambda t: binary(*t)),
            st.tuples(st.sampled_from(["min", "max", "mul"]), children, children).map(lambda t: binary(*t)),
            st.tuples(conds, children, children).map(lambda t: select(*t)),
        )

    return st.recursive(leaves, grow, max_leaves=10)


RANGES = st.tuples(*(st.tuples(st.integers(-5, 5), st.integers(0, 6)) for _ in VARS)).map(
    lambda rs: {v: (lo, lo + n) for v, (lo, n) in zip(VARS, rs, strict=True)}
)


def assignments(ranges: dict[Var, tuple[int, int]]) -> list[dict[Var, int]]:
    return [
        dict(zip(ranges, values, strict=True)) for values in product(*(range(lo, hi + 1) for lo, hi in ranges.values()))
    ]


@settings(max_examples=400, deadline=None)
@given(expressions(), RANGES)
def test_simplify_keeps_every_value(e: Expr, ranges: dict[Var, tuple[int, int]]) -> None:
    s = Simplifier(ranges)
    out = s.simplify(e)
    lo, hi = Bounds(ranges).of(e)
    lo2, hi2 = s.bounds(e)
    assert s.simplify(out) is out
    unbounded = Simplifier().simplify(e)
    for env in assignments(ranges):
        value = evaluate(e, env)
        assert evaluate(out, env) == value, (e, out, env)
        assert evaluate(unbounded, env) == value, (e, unbounded, env)
        assert lo <= value <= hi and lo2 <= value <= hi2, (e, (lo, hi), (lo2, hi2))


@settings(max_examples=150, deadline=None)
@given(expressions(), expressions(), RANGES)
def test_comparisons_and_proofs(a: Expr, b: Expr, ranges: dict[Var, tuple[int, int]]) -> None:
    s = Simplifier(ranges)
    envs = assignments(ranges)
    for cond in (a < b, a <= b, a > b, a >= b, eq(a, b), ne(a, b), logical_not(a < b)):
        out = s.simplify(cond)
        for env in envs:
            assert evaluate(out, env) == evaluate(cond, env), (cond, out, env)
    if s.equal(a, b):
        assert all(evaluate(a, env) == evaluate(b, env) for env in envs)


@settings(max_examples=150, deadline=None)
@given(expressions(), expressions(), expressions(), RANGES)
def test_assumptions(a: Expr, b: Expr, e: Expr, ranges: dict[Var, tuple[int, int]]) -> None:
    cond = binary("and", a < b, X + Y * 2 >= 1)
    inside = Simplifier(ranges).assume(cond)
    out = inside.simplify(binary("lt", e, a))
    lo, hi = inside.bounds(e)
    for env in assignments(ranges):
        if evaluate(cond, env):
            assert evaluate(out, env) == evaluate(e < a, env), (cond, e < a, out, env)
            assert lo <= evaluate(e, env) <= hi


@settings(max_examples=200, deadline=None)
@given(expressions(), RANGES)
def test_linear_form(e: Expr, ranges: dict[Var, tuple[int, int]]) -> None:
    form = linear_form(e, [X, Y])
    if form is None:
        return
    coefficients, rest = form
    for env in assignments(ranges):
        value = sum(k * env[v] for v, k in coefficients.items()) + evaluate(rest, {Z: env[Z]})
        assert value == evaluate(e, env)


@settings(max_examples=300, deadline=None)
@given(expressions(), RANGES)
def test_region_holds_every_value(e: Expr, ranges: dict[Var, tuple[int, int]]) -> None:
    found = region(e, {X: ranges[X], Y: ranges[Y]}, Simplifier({Z: ranges[Z]}))
    assert found is not None
    start, extent = found
    for env in assignments(ranges):
        first = evaluate(start, {Z: env[Z]})
        assert first <= evaluate(e, env) < first + extent, (e, start, extent, env)
