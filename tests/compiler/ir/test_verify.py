"""The verifier names the broken rule and the statement."""

from __future__ import annotations

import pytest

from compiler.errors import IRTypeError, VerifyError
from compiler.ir import (
    Allocate,
    Binary,
    Buffer,
    Call,
    Cast,
    Evaluate,
    For,
    If,
    Load,
    PrimFunc,
    Select,
    Seq,
    Stmt,
    Store,
    Var,
    as_expr,
    call,
    verify,
)

H, J = Var("i"), Var("j")
L = Var("l", "int8")
A = Buffer("A", (4,), "int32")
B = Buffer("B", (4,), "int32")
F = Buffer("F", (4,), "float32")


def loop(body: Stmt, extent: int = 4) -> Stmt:
    return For(H, extent, body)


def narrow() -> Store:
    """A store whose value has the wrong type (the constructor refuses it, a faulty pass might not)."""
    s = Store(A, [H], 0)
    s.value = as_expr(1.5)
    return s


CASES: list[tuple[Stmt, str]] = [
    (Store(A, [J], 1), r"variable j .* in `A\[j\] = 1`"),
    (Seq([loop(Store(A, [H], 1)), Store(A, [H], 2)]), "variable i is used outside"),
    (Seq([loop(Store(A, [H], 1)), loop(Store(A, [H], 1))]), "belongs to two loops"),
    (loop(Store(B, [H], 1)), "buffer B is written"),
    (loop(Store(A, [H], B[H])), "buffer B is read"),
    (Seq([Allocate(B, Store(B, [0], 1)), Store(A, [0], B[0])]), "buffer B is read"),
    (loop(Store(A, [H], 1), 0), "loop extent 0"),
    (For(L, 4, Store(A, [0], 1)), "loop variable l is int8"),
    (Allocate(Buffer("Z", (0,), "int8"), Store(A, [0], 1)), r"shape \[0\]"),
    (Allocate(A, Store(A, [0], 1)), "allocated inside its own scope"),
    (loop(narrow()), "float32 stored into A"),
    (loop(Store(A, [F[H].astype("int8")], 1)), "index .* is int8"),
    (loop(Store(A, [H], Binary("add", A[H], F[H]))), "operands of .* are int32 and float32"),
    (loop(Store(A, [H], Binary("div", A[H], A[H]))), "use // on integers"),
    (loop(Store(F, [H], Binary("shl", F[H], F[H]))), "'<<'|'shl' of float32"),
    (loop(Store(A, [H], Binary("and", A[H], A[H]))), "it takes bools"),
    (loop(Store(A, [H], Select(A[H], A[H], A[H] + 1))), "select of int32"),
    (loop(If(A[H], Store(A, [H], 1))), "condition .* is int32"),
    (loop(Store(A, [H], Call("sine", [A[H]]))), "unknown function 'sine'"),
    (loop(Store(A, [H], call("exp", A[H]))), "exp.int32. -> int32"),
    (loop(Store(A, [H], Call("rshift_rne", [A[H]]))), "takes 2 argument"),
    (loop(Evaluate(Call("address_of", [A[H] + 1], "handle"))), "takes a buffer element"),
    (loop(Store(A, [H], Cast("int33", A[H]).astype("int32"))), "unknown type 'int33'"),
]


@pytest.mark.parametrize(("body", "message"), CASES)
def test_refused(body: Stmt, message: str) -> None:
    with pytest.raises(VerifyError, match=message) as caught:
        verify(PrimFunc("f", [A, F], body))
    assert str(caught.value).startswith("f: ") and "\n" not in str(caught.value)


def test_accepted() -> None:
    body = loop(
        Allocate(B, Seq([Store(B, [H], A[H] + J), Evaluate(Call("x.go", ["w", Call("address_of", [B[H]], "handle")]))]))
    )
    func = PrimFunc("f", [A, F], body)
    assert verify(func, free=[J]) is func


def test_constructors_refuse() -> None:
    with pytest.raises(IRTypeError, match="2 dimensions|1 dimensions, indexed with 2"):
        Load(A, (H, H))
    with pytest.raises(IRTypeError, match="cast one with"):
        _ = A[H] + F[H]
    with pytest.raises(IRTypeError, match="no truth value"):
        bool(H < 3)


def test_too_deep() -> None:
    e = A[H]
    for _ in range(250):
        e = e * e + 1
    with pytest.raises(VerifyError, match="nested more than 150 deep"):
        verify(PrimFunc("f", [A], loop(Store(A, [H], e))))
