"""LLVM code against the reference interpreter on random programs: results must agree to the bit."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compiler.ir import (
    FLOAT_DTYPES,
    Allocate,
    Buffer,
    Expr,
    For,
    If,
    IntImm,
    PrimFunc,
    Seq,
    Stmt,
    Store,
    Var,
    binary,
    call,
    cast,
    const,
    interp,
    logical_not,
    rshift_rne,
    select,
    verify,
)
from compiler.lower.simplify import simplify

DTYPES = ["int8", "uint8", "int16", "int32", "int64", "float32", "bool", "uint32", "float64"]
KINDS = ["serial", "vectorized", "unrolled", "parallel"]
SHAPE = (4, 6)


class Generator:
    """Random well-formed programs over one buffer of each type."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.loops: list[tuple[Var, int]] = []
        self.inputs = {d: Buffer(f"in_{d}", SHAPE, d) for d in DTYPES}
        self.outputs = {d: Buffer(f"out_{d}", (3, 8, 5), d) for d in DTYPES}

    def index(self, extent: int) -> Expr:
        rng = self.rng
        usable = [(v, n) for v, n in self.loops if n <= extent]
        if usable and rng.random() < 0.7:
            v, n = rng.choice(usable)
            return v + rng.randint(0, extent - n)
        if self.loops and rng.random() < 0.7:
            a, b = rng.choice(self.loops)[0], rng.choice(self.loops)[0]
            return (a * rng.randint(-3, 3) - b * rng.randint(0, 5) + rng.randint(-4, 9)) % extent
        return const(rng.randrange(extent), "int32")

    def load(self, dtype: str) -> Expr:
        return self.inputs[dtype][tuple(self.index(n) for n in SHAPE)]

    def constant(self, dtype: str) -> Expr:
        if dtype == "bool":
            return const(self.rng.random() < 0.5, dtype)
        if dtype in FLOAT_DTYPES:
            return const(self.rng.choice([0.0, 0.5, -1.5, 3.25, 1e9, -77.125]), dtype)
        return const(self.rng.choice([0, 1, 2, 3, 5, 7, 8, 31, 127, 128, 255, -1, -2, -3, -8, 2**31 - 1]), dtype)

    def divisor(self, dtype: str) -> Expr:
        c = self.rng.choice([1, 2, 3, 4, 7, 16, -1, -3, -4] if dtype[0] == "i" else [1, 2, 3, 8, 10])
        if self.rng.random() < 0.6:
            return const(c, dtype)
        x = self.expr(dtype, 1)
        return select(binary("eq", x, const(0, dtype)), const(c, dtype), x)

    def bool(self, depth: int) -> Expr:
        rng = self.rng
        kind = rng.random()
        if kind < 0.2:
            return logical_not(self.bool(depth - 1)) if depth > 0 else self.load("bool")
        if kind < 0.45 and depth > 0:
            return binary(rng.choice(["and", "or"]), self.bool(depth - 1), self.bool(depth - 1))
        d = rng.choice([d for d in DTYPES if d != "bool"])
        return binary(
            rng.choice(["eq", "ne", "lt", "le", "gt", "ge"]), self.expr(d, depth - 1), self.expr(d, depth - 1)
        )

    def expr(self, dtype: str, depth: int) -> Expr:
        rng = self.rng
        if depth <= 0:
            roll = rng.random()
            if dtype in ("int32", "int64") and roll < 0.4 and self.loops:
                return cast(dtype, rng.choice(self.loops)[0])
            return self.load(dtype) if roll < 0.8 else self.constant(dtype)
        kind = rng.random()
        if kind < 0.15:
            return select(self.bool(depth - 1), self.expr(dtype, depth - 1), self.expr(dtype, depth - 1))
        if kind < 0.3:
            return cast(dtype, self.expr(rng.choice(DTYPES), depth - 1))
        if dtype == "bool":
            return self.bool(depth)
        a, b = self.expr(dtype, depth - 1), self.expr(dtype, depth - 1)
        if dtype in FLOAT_DTYPES:
            if kind < 0.45:
                return call(rng.choice(["floor", "ceil", "round", "abs"]), a)
            return binary(rng.choice(["add", "sub", "mul", "div", "min", "max"]), a, b)
        if kind < 0.45:
            return binary(rng.choice(["floordiv", "floormod"]), a, self.divisor(dtype))
        if kind < 0.55 and dtype[0] == "i":
            shift = (
                const(rng.randint(0, 70 if dtype == "int64" else 35), dtype)
                if rng.random() < 0.6
                else b & const(63, dtype)
            )
            return rshift_rne(a, shift) if rng.random() < 0.7 else call("abs", a)
        if kind < 0.65:
            shift = const(rng.randint(0, 40), dtype) if rng.random() < 0.6 else b
            return binary(rng.choice(["shl", "shr"]), a, shift)
        return binary(rng.choice(["add", "sub", "mul", "min", "max", "bitand", "bitor", "bitxor"]), a, b)

    def store(self, depth: int) -> Stmt:
        dtype = self.rng.choice(DTYPES)
        out = self.outputs[dtype]
        value = self.expr(dtype, depth)
        indices = [self.index(n) for n in out.shape]
        if self.rng.random() < 0.3 and dtype not in ("bool", *FLOAT_DTYPES):
            value = out[tuple(indices)] + value
        return Store(out, indices, value)

    def stmt(self, depth: int) -> Stmt:
        rng = self.rng
        kind = rng.random()
        if depth == 0 or len(self.loops) > 3:
            return self.store(3)
        if kind < 0.6 or not self.loops:
            v, n = Var(rng.choice("ijk")), rng.choice([1, 2, 3, 4, 5, 8])
            self.loops.append((v, n))
            body = self.stmt(depth - 1)
            self.loops.pop()
            return For(v, n, body, rng.choice(KINDS))
        if kind < 0.75:
            return Seq([self.stmt(depth - 1), self.stmt(depth - 1)])
        if kind < 0.9:
            cond = self.bool(1)
            if isinstance(cond, IntImm):
                return self.store(2)
            return If(cond, self.stmt(depth - 1), self.stmt(depth - 1) if rng.random() < 0.5 else None)
        return self.local(depth)

    def local(self, depth: int) -> Stmt:
        """A local buffer, filled and read back."""
        dtype = self.rng.choice(DTYPES)
        size = self.rng.choice([4, 9000])
        tmp, v = Buffer("tmp", (size, 4), dtype, "local"), Var("t")
        fill = For(v, 4, Store(tmp, [v, v], self.expr(dtype, 1)), self.rng.choice(KINDS))
        i = const(self.rng.randrange(4), "int32")
        out = self.outputs[dtype]
        return Allocate(tmp, Seq([fill, Store(out, [self.index(n) for n in out.shape], tmp[i, i])]))

    def func(self, name: str) -> PrimFunc:
        body = Seq([self.stmt(4) for _ in range(3)])
        params = [*self.inputs.values(), *self.outputs.values()]
        return verify(PrimFunc(name, params, body, {"contract": False}))


def data(buffer: Buffer, rng: np.random.Generator) -> np.ndarray:
    if buffer.dtype == "bool":
        return rng.integers(0, 2, buffer.shape).astype(bool)
    if buffer.dtype in FLOAT_DTYPES:
        out = (rng.standard_normal(buffer.shape) * 10.0 ** rng.integers(-2, 11, buffer.shape)).astype(buffer.dtype)
        out.flat[0], out.flat[1], out.flat[2] = np.nan, np.inf, -0.0
        return out
    info = np.iinfo(buffer.dtype)
    out = rng.integers(info.min, info.max, buffer.shape, buffer.dtype, endpoint=True)
    small = rng.integers(max(info.min, -9), 9, buffer.shape).astype(buffer.dtype)
    out = np.where(rng.random(buffer.shape) < 0.5, out, small)
    out.flat[0], out.flat[1] = info.min, info.max
    return out


SEEDS = st.integers(0, 2**32 - 1)


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SEEDS)
def test_random_programs(native: Callable[..., dict[str, Any]], seed: int) -> None:
    check(native, seed, 4)


@pytest.mark.slow
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SEEDS)
def test_many_random_programs(native: Callable[..., dict[str, Any]], seed: int) -> None:
    check(native, seed, 8)


def check(native: Callable[..., dict[str, Any]], seed: int, count: int) -> None:
    """``count`` random programs, compiled together, give what the interpreter gives."""
    funcs = [Generator(seed + n).func(f"f{n}") for n in range(count)]
    compiled = native(funcs, opt=3 if seed % 2 else 1)
    for n, f in enumerate(funcs):
        rng = np.random.default_rng(seed + n)
        want = [data(b, rng) for b in f.params]
        got = [a.copy() for a in want]
        interp.run(f, want)
        compiled[f.name](*got)
        for b, w, g in zip(f.params, want, got, strict=True):
            assert np.array_equal(w, g, equal_nan=b.dtype in FLOAT_DTYPES), f"seed {seed + n}: {b.name} differs\n{f}"


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_simplified_programs_mean_the_same(seed: int) -> None:
    func = Generator(seed).func("f")
    simple = verify(simplify(func))
    rng = np.random.default_rng(seed)
    want = [data(b, rng) for b in func.params]
    got = [a.copy() for a in want]
    interp.run(func, want)
    interp.run(simple, got)
    for b, w, g in zip(func.params, want, got, strict=True):
        assert np.array_equal(w, g, equal_nan=b.dtype in FLOAT_DTYPES), f"seed {seed}: {b.name}\n{func}\n{simple}"
