"""Each rule of the index arithmetic once, by its printed result, and what must be left alone."""

from __future__ import annotations

from math import inf

import pytest

from compiler.arith import ZERO, Affine, Bounds, Indexer, is_index, linear_form
from compiler.ir import (
    Buffer,
    Expr,
    Var,
    cast,
    const,
    eq,
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


def indexer() -> Indexer:
    out = Indexer()
    for var, extent in ((H, 14), (J, 4), (K, 16)):
        out.declare(var, extent)
    return out


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        ((H * 4 + J) // 4, "i"),
        ((H * 4 + J) % 4, "j"),
        ((H * 4 + J) // 8, "i // 2"),
        ((H * 4 + J) % 8, "j + i % 2 * 4"),
        ((N * 4 + 3) // 4, "n"),
        (H // 4 // 3, "i // 12"),
        ((N // 4 + 1) // 3, "(n + 4) // 12"),
        (H % 8 // 4, "i // 4 % 2"),
        (H % 8 % 4, "i % 4"),
        ((N + N % 12 * 2) % 4, "n * 3 % 4"),
        (H // 4 * 4 + H % 4, "i"),
        (H - H // 4 * 4, "i % 4"),
        (H // 8 * 8 + H // 4 % 2 * 4 + H % 4, "i"),
        ((J - 4) // 4, "-1"),
        (H + J - H, "j"),
        (2 * (H + 3) - H, "i + 6"),
        (3 - H, "3 - i"),
        (J - H - J, "i * -1"),
        (minimum(H * 4 + J, 60), "i * 4 + j"),
        (maximum(H, -1), "i"),
        (minimum(H, J), "min(i, j)"),
        (H < 14, "True"),
        (H + 3 < 8, "i < 5"),
        (H // 4 * 4 + H % 4 < 14, "True"),
        (eq(H, 20), "False"),
        (ne(H, 20), "True"),
        (logical_not(H < 14), "False"),
        (select(H < 14, J, K), "j"),
        (A32[select(H < 14, J, K) + 1 - J], "b[1]"),
        (cast("int32", A8[H + 1 - 1]) + 1, "int32(a[i]) + 1"),
    ],
)
def test_rule(expr: Expr, text: str) -> None:
    assert str(indexer().rewrite(expr)) == text


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
def test_data_is_left_alone(expr: Expr) -> None:
    assert indexer().rewrite(expr) is expr


def test_variables_stand_in_the_order_of_their_loops() -> None:
    s = indexer()
    assert s.rewrite(J + H * 4) is s.rewrite(4 * H + J) is s.rewrite(H * 2 + J + H * 2)
    assert str(s.rewrite(J + H * 4)) == "i * 4 + j"


def test_a_read_is_replaced_by_rule() -> None:
    found = indexer().rewrite(A32[H] + 1, {H: Affine({J: 2}, 1)}, lambda load, env: A8[env[H].const].astype("int32"))
    assert str(found) == "int32(a[1]) + 1"


def test_forms_are_values() -> None:
    a = Affine({N: 2}, 3)
    assert (a - a).same(ZERO)
    assert a.scaled(0) is ZERO and a.scaled(1) is a
    assert (a + Affine({N: -2})).is_const
    assert is_index(N + 1) and not is_index(const(1, "int64")) and not is_index(A32[N])


def test_bounds() -> None:
    b = Bounds({H: (0, 13), J: (-2, 3)})
    assert b.of(H * -2 + J) == (-28, 3)
    assert b.of(J // 2) == (-1, 1)
    assert b.of(H % 5) == (0, 4)
    assert b.of(N) == (-inf, inf)
    b.env[N] = (0, 1)  # a loop met later
    assert b.of(N) == (0, 1)
    assert b.of(cast("int32", A8[H]) * 2) == (-256, 254)
    assert b.of(A8[H] * const(2, "int8")) == (-128, 127)
    wide = Bounds({H: (0, 2**30)})
    assert not wide.exact(H * 4) and wide.exact(H + 1)


def test_linear_form() -> None:
    found = linear_form(H * 4 + (J - H) * 2 + K * N, [H, J])
    assert found is not None and found.terms == {H: 2, J: 2} and found.const == 0
    chosen = linear_form(select(K < N, H * 3 + K, H * 3), [H])
    assert chosen is not None and chosen.terms == {H: 3}
    assert linear_form(select(H < N, H, H + 1), [H]) is None
    assert linear_form(H // 2, [H]) is None
    assert linear_form(H * J, [H, J]) is None


def test_span() -> None:
    s = indexer()

    def span(expr: Expr, *fixed: Var) -> tuple[str, int] | None:
        found = s.span(s.affine(expr), set(fixed))
        return None if found is None else (str(s.expr(found[0])), found[1])

    assert span(H * 2 + J, H) == ("i * 2", 3)
    assert span(H * 2 - J, H) == ("i * 2 - 3", 3)
    assert span((H * 8 + J) // 4, H) == ("i * 2", 0)
    assert span((H * 4 + K) // 8, H) == ("i // 2", 2)
    assert span(minimum(H, J + 2), H) == ("min(i, 2)", 3)
    assert span(N + J) is None
    assert span(N * H, H) is None
