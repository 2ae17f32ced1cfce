"""The interpreter against numpy and against the definitions it documents."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from compiler.errors import InterpError
from compiler.ir import (
    Allocate,
    Buffer,
    Call,
    Evaluate,
    For,
    If,
    PrimFunc,
    Seq,
    Store,
    Var,
    call,
    cast,
    const,
    logical_and,
    rshift_rne,
    select,
)
from compiler.ir.interp import evaluate, run
from compiler.ir.scalar_ops import rshift_rne as rne

H, J, K = Var("i"), Var("j"), Var("k")


def test_matmul() -> None:
    a, b, c = (Buffer(n, (5, 5), "float32") for n in "abc")
    body = For(H, 5, For(J, 5, Seq([Store(c, [H, J], 0), For(K, 5, Store(c, [H, J], c[H, J] + a[H, K] * b[K, J]))])))
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 5, 5)).astype(np.float32)
    z = np.zeros((5, 5), np.float32)
    run(PrimFunc("mm", [a, b, c], body), [x, y, z])
    assert np.allclose(z, x @ y, atol=1e-5)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64"])
def test_integers_wrap_as_numpys(dtype: str) -> None:
    a, b = Buffer("a", (64,), dtype), Buffer("b", (64,), dtype)
    out = [Buffer(f"o{n}", (64,), dtype) for n in range(6)]
    x, y = a[H], b[H]
    values = [x + y, x - y, x * y, x // y, x % y, x ^ (x & y)]
    body = For(H, 64, Seq([Store(o, [H], v) for o, v in zip(out, values, strict=True)]))
    info = np.iinfo(dtype)
    rng = np.random.default_rng(1)
    p, q = rng.integers(info.min, info.max, (2, 64), dtype, endpoint=True)
    q[q == 0] = 3
    if info.min < 0:
        p[0], q[0] = info.min, info.max
    got = [np.zeros(64, dtype) for _ in out]
    run(PrimFunc("f", [a, b, *out], body), [p, q, *got])
    with np.errstate(over="ignore"):
        for g, w in zip(got, [p + q, p - q, p * q, p // q, p % q, p ^ (p & q)], strict=True):
            assert np.array_equal(g, w)


def test_rshift_rne_is_exact() -> None:
    for x in range(-70, 70):
        for s in range(8):
            assert rne(x, s) == round(Fraction(x, 1 << s))
    assert evaluate(rshift_rne(const(-24, "int32"), 4)) == -2
    assert evaluate(rshift_rne(const(2**31 - 1, "int32"), 31)) == 1
    with pytest.raises(InterpError, match="must not be negative"):
        evaluate(rshift_rne(H, J), {H: 3, J: -1})


def test_casts() -> None:
    x = Var("x", "float32")
    to8 = cast("int8", x)
    for value, want in [(3.9, 3), (-3.9, -3), (1e9, 127), (-1e9, -128), (float("nan"), 0), (float("inf"), 127)]:
        assert evaluate(to8, {x: value}) == want
    assert evaluate(cast("int8", H), {H: 200}) == -56
    assert evaluate(cast("uint8", H), {H: -1}) == 255
    assert evaluate(cast("float32", H), {H: 16777217}) == 16777216.0
    assert evaluate(cast("bool", H), {H: 2}) is True


def test_shifts_outside_the_width() -> None:
    assert evaluate(H << J, {H: -5, J: 32}) == 0
    assert evaluate(H >> J, {H: -5, J: 99}) == -1
    assert evaluate(H >> J, {H: 5, J: -1}) == 0


def test_rounding_functions_round_half_to_even() -> None:
    x = Var("x", "float32")
    assert [evaluate(call("round", x), {x: v}) for v in (0.5, 1.5, 2.5, -0.5)] == [0.0, 2.0, 2.0, 0.0]
    assert math.copysign(1, evaluate(call("ceil", x), {x: -0.5})) == -1


def test_shared_and_deep_expressions() -> None:
    e = H.astype("int32")
    for _ in range(60):
        e = e * e + 1  # 2**60 nodes if written out
    want = 3
    for _ in range(60):
        want = (want * want + 1 + 2**31) % 2**32 - 2**31
    assert evaluate(e, {H: 3}) == want


def test_only_the_chosen_side_is_evaluated() -> None:
    a, o = Buffer("a", (4,), "int32"), Buffer("o", (6,), "int32")
    padded = select(logical_and(H >= 1, H < 5), a[H - 1], -7)
    got = np.zeros(6, np.int32)
    run(PrimFunc("pad", [a, o], For(H, 6, Store(o, [H], padded))), [np.arange(4, dtype=np.int32), got])
    assert got.tolist() == [-7, 0, 1, 2, 3, -7]


def test_out_of_bounds_and_division_by_zero() -> None:
    a = Buffer("a", (4, 2), "int32")
    data = np.zeros((4, 2), np.int32)
    with pytest.raises(InterpError, match=r"f: a: index 4 outside 0\.\.3 in dimension 0"):
        run(PrimFunc("f", [a], For(H, 5, Store(a, [H, 0], 1))), [data])
    with pytest.raises(InterpError, match=r"index -1 outside"):
        run(PrimFunc("f", [a], For(H, 4, Store(a, [H, H - 1], 1))), [data])
    with pytest.raises(InterpError, match="1 // 0"):
        run(PrimFunc("f", [a], Store(a, [0, 0], const(1, "int32") // a[3, 1])), [data])


def test_local_buffers_start_as_poison() -> None:
    t, o = Buffer("t", (2,), "float32", "local"), Buffer("o", (2,), "float32")
    got = np.zeros(2, np.float32)
    run(PrimFunc("f", [o], Allocate(t, Seq([Store(t, [0], 1), For(H, 2, Store(o, [H], t[H]))]))), [got])
    assert got[0] == 1 and np.isnan(got[1])


def test_strided_parameters_and_views() -> None:
    o = Buffer("o", (2, 3), "int32", strides=(4, 1))
    func = PrimFunc("f", [o], For(H, 2, For(J, 3, Store(o, [H, J], H * 10 + J))))
    shaped, flat = np.zeros((2, 3), np.int32), np.zeros(7, np.int32)
    run(func, [shaped])
    run(func, [flat])
    assert shaped.tolist() == [[0, 1, 2], [10, 11, 12]] and flat.tolist() == [0, 1, 2, 0, 10, 11, 12]
    dense = PrimFunc("g", [Buffer("o", (2, 3), "int32")], func.body)
    transposed = np.zeros((3, 2), np.int32).T
    d = dense.params[0]
    run(dense.with_body(For(H, 2, For(J, 3, Store(d, [H, J], H * 10 + J)))), [transposed])
    assert np.array_equal(transposed, shaped)


def test_intrinsics() -> None:
    a = Buffer("a", (4, 4), "int32")
    calls: list[tuple[str, int, int]] = []

    def fill(mode: str, where: tuple[np.ndarray, int], value: int) -> int:
        array, offset = where
        array[offset : offset + 4] = value
        calls.append((mode, offset, value))
        return 0

    body = For(H, 4, If(H >= 2, Evaluate(Call("x.fill", ["row", Call("address_of", [a[H, 0]], "handle"), H * 3]))))
    func, data = PrimFunc("f", [a], body), np.zeros((4, 4), np.int32)
    run(func, [data], {"x.fill": fill})
    assert calls == [("row", 8, 6), ("row", 12, 9)] and data.sum() == 60
    with pytest.raises(InterpError, match="calls x.fill"):
        run(func, [data])


def test_arguments_must_fit() -> None:
    a = Buffer("a", (4,), "int32")
    func = PrimFunc("f", [a], Store(a, [0], 1))
    with pytest.raises(InterpError, match="takes 1 arrays"):
        run(func, [])
    with pytest.raises(InterpError, match="a is int32, got an array of float32"):
        run(func, [np.zeros(4, np.float32)])
    with pytest.raises(InterpError, match=r"shape \[4\], got \[2, 3\]"):
        run(func, [np.zeros((2, 3), np.int32)])
