"""Conversions to integers and fused multiply-add on whole vectors: the machine's against the interpreter's and exact
ones."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from compiler.backend.llvm.intrinsics import invoke, vector_load
from compiler.errors import CodegenError
from compiler.ir import Buffer, Call, Evaluate, For, Load, PrimFunc, Store, Var, call, const
from compiler.ir.interp import run
from tests.compiler.backend.conftest import load

LANES = 16
EDGES = (0.0, -0.0, 0.5, -1.5, 127.5, -129.0, 300.0, -40000.0, 2.0**31 - 128, 2.0**31, -(2.0**31), 3e38, -3e38)
EDGES += (float("inf"), float("-inf"), float("nan"))


@pytest.mark.parametrize("source", ["float32", "float64"])
@pytest.mark.parametrize("target", ["int8", "int16", "int32"])
def test_conversions_saturate(source: str, target: str) -> None:
    a, o, i = Buffer("a", (LANES,), source), Buffer("o", (LANES,), target), Var("i")
    body = For(i, LANES, Store(o, [i], Load(a, (i,)).astype(target)), "vectorized")
    func = PrimFunc("convert", [a, o], body)
    x = np.array(EDGES, source)
    got, want = np.zeros(LANES, target), np.zeros(LANES, target)
    load([func])["convert"](x, got)
    run(func, [x, want])
    np.testing.assert_array_equal(got, want)
    limits = np.iinfo(target)
    assert got.min() == limits.min and got.max() == limits.max and got[-1] == 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fma_rounds_once(dtype: str) -> None:
    buffers = [Buffer(name, (LANES,), dtype) for name in "xyzo"]
    i = Var("i")
    value = call("fma", *[Load(b, (i,)) for b in buffers[:3]])
    func = PrimFunc("fused", buffers, For(i, LANES, Store(buffers[3], [i], value), "vectorized"))
    rng = np.random.default_rng(0)
    digits = np.finfo(dtype).nmant
    # Products that are about half of the sum's last place: what rounding twice gets wrong.
    x = (1 + rng.integers(1, 9, LANES) * 2.0**-digits).astype(dtype)
    y = (rng.choice([-1, 1], LANES) * (0.5 + rng.integers(-2, 3, LANES) * 2.0 ** -(digits + 1))).astype(dtype)
    z = (rng.integers(2**digits, 2 ** (digits + 1), LANES)).astype(dtype)
    got, want = np.zeros(LANES, dtype), np.zeros(LANES, dtype)
    load([func])["fused"](x, y, z, got)
    run(func, [x, y, z, want])
    np.testing.assert_array_equal(got, want)
    for a, b, c, o in zip(x.tolist(), y.tolist(), z.tolist(), got, strict=True):
        exact = Fraction(a) * Fraction(b) + Fraction(c)
        others = np.nextafter(np.array([o, o], dtype), np.array([-np.inf, np.inf], dtype)).tolist()
        assert abs(exact - Fraction(float(o))) <= min(abs(exact - Fraction(other)) for other in others)


def test_malformed_llvm_type_is_refused() -> None:
    a = Buffer("a", (LANES,), "float32")
    address = Call("address_of", (Load(a, (const(0, "int32"),)),), "handle")
    func = PrimFunc("odd", [a], Evaluate(invoke("llvm.fabs.v16f32", vector_load("16xf32", address), returns="v16f32")))
    with pytest.raises(CodegenError, match="'16xf32' is no LLVM type"):
        load([func])
