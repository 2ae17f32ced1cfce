"""Golden texts of the printer."""

from __future__ import annotations

import pytest

from compiler.ir import (
    Allocate,
    Attr,
    Buffer,
    Call,
    Evaluate,
    Expr,
    For,
    If,
    PrimFunc,
    Seq,
    Store,
    Var,
    binary,
    call,
    cast,
    const,
    eq,
    func_text,
    logical_and,
    logical_not,
    logical_or,
    minimum,
    rshift_rne,
    select,
    stmt_text,
)

H, J = Var("i"), Var("j")
H2 = Var("i")
A = Buffer("A", (4, 8), "int8")
F = Buffer("F", (), "float32")


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        ((H + J) * 2, "(i + j) * 2"),
        (H + J * 2, "i + j * 2"),
        (H - (J - 1), "i - (j - 1)"),
        (H - J - 1, "i - j - 1"),
        (H // 4 % 2, "i // 4 % 2"),
        (H // (J % 2), "i // (j % 2)"),
        (-(H + J), "-(i + j)"),
        (-H * 2, "-i * 2"),
        (H + H2, "i + i_1"),
        (minimum(H, 3) + 1, "min(i, 3) + 1"),
        (logical_or(logical_and(H < 1, J < 2), eq(H, J)), "i < 1 and j < 2 or i == j"),
        (logical_and(H < 1, logical_or(J < 2, eq(H, J))), "i < 1 and (j < 2 or i == j)"),
        (logical_not(logical_and(H < 1, J < 2)), "not (i < 1 and j < 2)"),
        (binary("eq", H < 1, J < 1), "(i < 1) == (j < 1)"),
        ((H & J) << 2, "(i & j) << 2"),
        (A[H, J + 1], "A[i, j + 1]"),
        (A[H, J] + 1, "A[i, j] + 1"),
        (A[H, J].astype("int32") * 3, "int32(A[i, j]) * 3"),
        (F[()] * 0.1, "F[()] * 0.1"),
        (const(3, "int8"), "int8(3)"),
        (const(0.5, "float64"), "float64(0.5)"),
        (const(1, "bool"), "True"),
        (select(H < 3, A[H, J], 0), "select(i < 3, A[i, j], 0)"),
        (rshift_rne(cast("int64", H), 3), "rshift_rne(int64(i), int64(3))"),
        (call("exp", F[()]), "exp(F[()])"),
        (Call("x.go", ["fast", H]), "x.go('fast', i)"),
    ],
)
def test_expr(expr: Expr, text: str) -> None:
    assert str(expr) == text


def test_func() -> None:
    tile = Buffer("tile", (8,), "int32", "local")
    out = Buffer("out", (4, 8), "int32", strides=(16, 1))
    k = Var("k")
    body = For(
        H,
        4,
        Allocate(
            tile,
            Seq(
                [
                    For(J, 8, Store(tile, [J], 0), "vectorized"),
                    Attr("layer", "conv", For(H2, 8, Store(tile, [H2], tile[H2] + A[H, H2].astype("int32")))),
                    For(k, 8, If(k < 3, Store(out, [H, k], tile[k]), Evaluate(Call("x.go", [k]))), "thread", "t.x"),
                ]
            ),
        ),
        annotations={"unroll": 2},
    )
    func = PrimFunc("f", [A, out], body, {"target": "cpu"})
    assert (
        func_text(func)
        == """\
def f(A: int8[4, 8], out: int32[4, 8], strides=[16, 1]):
    # target = 'cpu'
    for i in range(4):  # unroll=2
        tile = allocate(int32[8], scope='local')
        for j in vectorized(8):
            tile[j] = 0
        with attr('layer', 'conv'):
            for i_1 in range(8):
                tile[i_1] = tile[i_1] + int32(A[i, i_1])
        for k in thread(8, 't.x'):
            if k < 3:
                out[i, k] = tile[k]
            else:
                x.go(k)"""
    )
    assert stmt_text(Seq([])) == "pass"
