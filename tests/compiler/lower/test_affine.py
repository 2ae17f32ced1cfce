"""Index arithmetic against brute force: values, ranges and spans of random index expressions."""

from __future__ import annotations

import itertools
import random

import pytest

from compiler import ir
from compiler.ir.interp import evaluate
from compiler.lower.affine import ZERO, Affine, Indexer, is_index

EXTENTS = [3, 4, 2, 1]


def random_expr(rng: random.Random, variables: list[ir.Var], depth: int) -> ir.Expr:
    if depth == 0 or rng.random() < 0.2:
        return rng.choice(variables) if rng.random() < 0.75 else ir.const(rng.randrange(-6, 7), "int32")
    a = random_expr(rng, variables, depth - 1)
    op = rng.choice(["add", "sub", "mul", "floordiv", "floormod", "min", "max", "select"])
    if op in ("mul", "floordiv", "floormod"):
        return ir.binary(op, a, rng.choice([2, 3, 4, 6]))
    b = random_expr(rng, variables, depth - 1)
    if op == "select":
        return ir.select(ir.binary(rng.choice(["lt", "le", "gt", "ge", "eq", "ne"]), a, b), a, b)
    return ir.binary(op, a, b)


@pytest.mark.parametrize("number", range(60))
def test_against_brute_force(number: int) -> None:
    rng = random.Random(number)
    variables = [ir.Var(name) for name in "abcd"]
    indexer = Indexer()
    for v, n in zip(variables, EXTENTS, strict=True):
        indexer.declare(v, n)
    points = [dict(zip(variables, p, strict=True)) for p in itertools.product(*map(range, EXTENTS))]
    fixed = set(rng.sample(variables, rng.randrange(4)))
    for _ in range(6):
        e = random_expr(rng, variables, 3)
        form = indexer.affine(e, {})
        same = indexer.expr(form)
        low, high = indexer.range(form)
        span = indexer.span(form, fixed)
        rewritten = indexer.rewrite(e, {}, None)
        for env in points:
            value = evaluate(e, env)
            assert evaluate(same, env) == value == evaluate(rewritten, env), (e, same, rewritten)
            assert low <= value <= high, (e, low, high)
            if span is not None:
                start = evaluate(indexer.expr(span[0]), env)
                assert start <= value <= start + span[1], (e, span[1])
                assert all(n in fixed for n in ir.walk_expr(indexer.expr(span[0])) if isinstance(n, ir.Var))


def form(text: str) -> str:
    names = {name: ir.Var(name) for name in ("x", "y")}
    indexer = Indexer()
    indexer.declare(names["x"], 8)
    indexer.declare(names["y"], 4)
    return repr(indexer.rewrite(eval(text, {}, names), {}, None))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(x * 4 + y) // 4", "x"),
        ("(x * 4 + y) % 4", "y"),
        ("(x * 4 + y) // 8", "(x * 4 + y) // 8"),
        ("(x // 2) // 2", "x // 4"),
        ("x - y - x", "y * -1"),
        ("3 - y + x * 0", "3 - y"),
        ("(x + 8) // 8", "1"),
        ("x + y < 11", "True"),
        ("x + 3 < 8", "x < 5"),
        ("x * 0 + 2", "2"),
    ],
)
def test_normal_form(text: str, expected: str) -> None:
    assert form(text) == expected


def test_forms_are_values() -> None:
    v = ir.Var("v")
    a = Affine({v: 2}, 3)
    assert (a - a).same(ZERO)
    assert a.scaled(0) is ZERO and a.scaled(1) is a
    assert (a + Affine({v: -2})).is_const
    assert is_index(v + 1) and not is_index(ir.const(1, "int64"))
