"""Each rule of the simplifier once, by its printed result, and what must be left alone."""

from __future__ import annotations

from math import inf
from time import perf_counter

import pytest

from compiler.arith import Bounds, Simplifier, const_bounds, linear_form, region
from compiler.ir import (
    Buffer,
    Expr,
    Var,
    cast,
    const,
    eq,
    logical_and,
    logical_not,
    maximum,
    minimum,
    ne,
    select,
)

H, J, K, N = Var("i"), Var("j"), Var("k"), Var("n")
A8 = Buffer("a", (16,), "int8")
A32 = Buffer("b", (16,), "int32")
AF = Buffer("f", (16,), "float32")


def simplifier() -> Simplifier:
    return Simplifier({H: (0, 13), J: (0, 3), K: (0, 15)})


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        ((H * 4 + J) // 4, "i"),
        ((H * 4 + J) % 4, "j"),
        ((H * 4 + J) // 8, "i // 2"),
        ((H * 4 + J) % 8, "j + i % 2 * 4"),
        ((N * 4 + 3) // 4, "n"),
        (H // 4 // 3, "i // 12"),
        (H % 8 // 4, "i // 4 % 2"),
        (H % 8 % 4, "i % 4"),
        (H // 4 * 4 + H % 4, "i"),
        (H - H // 4 * 4, "i % 4"),
        (H // 8 * 8 + H // 4 % 2 * 4 + H % 4, "i"),
        (N // -3, "-n // 3"),
        ((J - 4) // 4, "-1"),
        (H + J - H, "j"),
        (2 * (H + 3) - H, "i + 6"),
        (3 - H, "3 - i"),
        (minimum(H * 4 + J, 60), "i * 4 + j"),
        (maximum(H, -1), "i"),
        (minimum(H, J), "min(i, j)"),
        (H < 14, "True"),
        (H * 4 + J * 4 < 10, "i + j < 3"),
        (H <= 3, "i < 4"),
        (3 <= H + J, "i + j >= 3"),
        (eq(H * 2, 5), "False"),
        (ne(H * 2, 4), "i != 2"),
        (logical_not(H < 3), "i >= 3"),
        (logical_not(logical_and(H < 3, J < 2)), "i >= 3 or j >= 2"),
        (logical_and(H < 3, H < 14, H < 3), "i < 3"),
        (logical_and(H < 3, H >= 3), "False"),
        (select(H < 14, J, K), "j"),
        (select(H < 3, select(H < 3, J, K), N), "select(i < 3, j, n)"),
        (select(logical_not(eq(AF[H], 0.5)), J, K), "select(f[i] != 0.5, j, k)"),
        (cast("int32", A8[H]) + 1 - 1, "int32(a[i])"),
        (cast("int32", cast("int16", A8[H])), "int32(a[i])"),
    ],
)
def test_rule(expr: Expr, text: str) -> None:
    assert str(simplifier().simplify(expr)) == text


@pytest.mark.parametrize(
    "expr",
    [
        (A8[H] + const(1, "int8")) < A8[J],  # may wrap: 127 + 1
        (A8[H] * const(2, "int8")) // const(2, "int8"),
        (A32[H] * 4) // 4,
        A32[H] + 1 > A32[H],
        AF[H] + 0.0,
        AF[H] * 2.0 - AF[H],
        logical_not(AF[H] < 1.0),  # both are false on NaN
    ],
)
def test_what_may_wrap_or_is_float_is_left_alone(expr: Expr) -> None:
    assert simplifier().simplify(expr) is expr


def test_sums_are_canonical() -> None:
    s = simplifier()
    assert s.simplify(J + H * 4) is s.simplify(4 * H + J) is s.simplify(H * 2 + J + H * 2)
    assert s.equal((H * 4 + J) // 4 * 4, H * 4)
    assert not s.equal(H, J)


def test_bind_forgets_what_depended_on_the_old_range() -> None:
    s = Simplifier({H: (0, 7)})
    assert s.prove(H < 8)
    s.bind(H, 0, 9)
    assert not s.prove(H < 8)


def test_assume() -> None:
    s = simplifier()
    inside = s.assume(logical_and(H * 4 + J < 50, H >= 2))
    assert inside.prove(H * 4 + J < 51) and inside.prove(H >= 2)
    assert inside.bounds(H * 4 + J) == (8, 49)
    assert not s.prove(H >= 2)


def test_bounds() -> None:
    env = {H: (0, 13), J: (-2, 3)}
    assert const_bounds(H * -2 + J, env) == (-28, 3)
    assert const_bounds(J // 2, env) == (-1, 1)
    assert const_bounds(H % 5, env) == (0, 4)
    assert const_bounds(N, env) == (-inf, inf)
    assert const_bounds(cast("int32", A8[H]) * 2, env) == (-256, 254)
    assert const_bounds(A8[H] * const(2, "int8"), env) == (-128, 127)
    b = Bounds({H: (0, 2**30)})
    assert not b.exact(H * 4) and b.exact(H + 1)


def test_linear_form() -> None:
    found = linear_form(H * 4 + (J - H) * 2 + K * N, [H, J])
    assert found is not None
    coefficients, rest = found
    assert coefficients == {H: 2, J: 2} and str(rest) == "k * n"
    assert linear_form(H // 2, [H]) is None
    assert linear_form(H * J, [H, J]) is None


def test_region() -> None:
    s = simplifier()
    assert [(str(r[0]), r[1]) for r in [region(H * 2 + K, {K: (0, 2)}, s)] if r] == [("i * 2", 3)]
    assert [(str(r[0]), r[1]) for r in [region((H * 4 + J) // 8, {J: (0, 3)}, s)] if r] == [("i // 2", 1)]
    assert region(A32[H], {H: (0, 3)}, Simplifier()) is not None  # bounded by its type
    assert region(N * H, {H: (0, 3)}, Simplifier()) is None


def test_speed() -> None:
    start = perf_counter()
    for _ in range(20):
        vs = [Var(f"v{n}") for n in range(6)]
        s = Simplifier(dict.fromkeys(vs, (0, 7)))
        for q in range(10):
            e = ((vs[0] * 8 + vs[1]) * 56 + vs[2] * 8 + vs[3]) * 64 + vs[4] * 8 + vs[5] + q
            s.simplify(e // 64 % 56)
            s.simplify(e % 64 // 8)
            s.simplify(e < 1000 * q)
    assert perf_counter() - start < 2.0  # 600 simplifications take 0.05 s on an idle machine
