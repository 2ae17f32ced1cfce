"""Index arithmetic, bounds, linear forms and spans against brute force over every value of the variables."""

from __future__ import annotations

from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.arith import Affine, Bounds, Indexer, linear_form
from compiler.ir import Binary, Expr, IntImm, Not, Select, Var, binary, const, free_vars, logical_not, select

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


def indexer_of(ranges: dict[Var, tuple[int, int]]) -> tuple[Indexer, dict[Var, Affine], dict[Var, Var]]:
    """An indexer with a loop ``v`` from 0 for each variable, the variables' values over the loops, and the loops."""
    indexer = Indexer()
    loops = {v: Var(f"{v.name}_loop") for v in ranges}
    for v, (lo, hi) in ranges.items():
        indexer.declare(loops[v], hi - lo + 1)
    values = {v: indexer.var(loops[v]) + Affine({}, lo) for v, (lo, _) in ranges.items()}
    return indexer, values, loops


def on_loops(env: dict[Var, int], ranges: dict[Var, tuple[int, int]], loops: dict[Var, Var]) -> dict[Var, int]:
    return {loops[v]: n - ranges[v][0] for v, n in env.items()}


@settings(max_examples=400, deadline=None)
@given(expressions(), RANGES)
def test_every_value_is_kept(e: Expr, ranges: dict[Var, tuple[int, int]]) -> None:
    indexer, values, loops = indexer_of(ranges)
    form = indexer.affine(e, values)
    out, rewritten = indexer.expr(form), indexer.rewrite(e, values)
    unbounded = Indexer().rewrite(e)
    low, high = indexer.range(form)
    lo, hi = Bounds(ranges).of(e)
    for env in assignments(ranges):
        value, inside = evaluate(e, env), on_loops(env, ranges, loops)
        assert evaluate(out, inside) == value, (e, out, env)
        assert evaluate(rewritten, inside) == value, (e, rewritten, env)
        assert evaluate(unbounded, env) == value, (e, unbounded, env)
        assert lo <= value <= hi and low <= value <= high, (e, (lo, hi), (low, high))


@settings(max_examples=200, deadline=None)
@given(expressions(), RANGES)
def test_the_normal_form_is_one(e: Expr, ranges: dict[Var, tuple[int, int]]) -> None:
    indexer, values, _ = indexer_of(ranges)
    once = indexer.expr(indexer.affine(e, values))
    assert indexer.expr(indexer.affine(once)) is once


@settings(max_examples=150, deadline=None)
@given(expressions(), expressions(), RANGES)
def test_comparisons(a: Expr, b: Expr, ranges: dict[Var, tuple[int, int]]) -> None:
    indexer, values, loops = indexer_of(ranges)
    for op in ("lt", "le", "gt", "ge", "eq", "ne"):
        out = indexer.compare(op, indexer.affine(a, values), indexer.affine(b, values))
        rewritten = indexer.rewrite(logical_not(binary(op, a, b)), values)
        for env in assignments(ranges):
            inside, holds = on_loops(env, ranges, loops), evaluate(binary(op, a, b), env)
            assert evaluate(out, inside) == holds, (op, a, b, out, env)
            assert evaluate(rewritten, inside) == 1 - holds, (op, a, b, rewritten, env)


@settings(max_examples=200, deadline=None)
@given(expressions(), RANGES)
def test_linear_form(e: Expr, ranges: dict[Var, tuple[int, int]]) -> None:
    form = linear_form(e, [X, Y])
    if form is None:
        return
    rest: dict[int, int] = {}
    for env in assignments(ranges):
        value = evaluate(e, env) - sum(k * evaluate(v, env) for v, k in form.terms.items())
        assert rest.setdefault(env[Z], value) == value, (e, form.terms, env)


@settings(max_examples=300, deadline=None)
@given(expressions(), RANGES, st.sets(st.sampled_from(VARS)))
def test_a_span_holds_every_value(e: Expr, ranges: dict[Var, tuple[int, int]], fixed: set[Var]) -> None:
    indexer, values, loops = indexer_of(ranges)
    outside = {loops[v] for v in fixed}
    found = indexer.span(indexer.affine(e, values), outside)
    assert found is not None
    lowest, n = indexer.expr(found[0]), found[1]
    assert free_vars(lowest) <= outside
    for env in assignments(ranges):
        start = evaluate(lowest, on_loops(env, ranges, loops))
        assert start <= evaluate(e, env) <= start + n, (e, lowest, n, env)
