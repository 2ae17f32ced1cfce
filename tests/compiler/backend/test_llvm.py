"""The LLVM back end: functions, memory, vectors, other processors, refusals."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from compiler import te
from compiler.arith import Indexer
from compiler.backend.llvm import compile_functions, llvm_ir
from compiler.backend.llvm.prefetch import PREFETCH
from compiler.errors import CodegenError, VerifyError
from compiler.ir import (
    Allocate,
    Buffer,
    Call,
    Evaluate,
    For,
    PrimFunc,
    Seq,
    Stmt,
    Store,
    Var,
    call,
    logical_and,
    select,
    verify,
)
from compiler.ir.interp import run
from compiler.lower import lower
from compiler.tune.cpu import LoadedKernel

Native = Callable[..., dict[str, Any]]
H, J, K = Var("i"), Var("j"), Var("k")
EXACT = {
    "exp": math.exp, "tanh": math.tanh,
    "sigmoid": lambda v: 1 / (1 + math.exp(-v)), "erf": math.erf, "floor": math.floor,
    "ceil": math.ceil, "round": round, "abs": abs, "sqrt": math.sqrt, "log": math.log,
}  # fmt: skip


def unary(name: str, dtype: str, n: int, kind: str) -> PrimFunc:
    a, o, j, k = Buffer("a", (n,), dtype), Buffer("o", (n,), dtype), Var("j"), Var("k")
    at = j * 16 + k
    return PrimFunc(f"{name}_{kind}", [a, o], For(j, n // 16, For(k, 16, Store(o, [at], call(name, a[at])), kind)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_functions(native: Native, dtype: str) -> None:
    n = 4096
    rng = np.random.default_rng(3)
    wide = (rng.standard_normal(n) * 10.0 ** rng.uniform(-6, 1.9, n)).clip(-87, 88).astype(dtype)
    funcs = [unary(name, dtype, n, kind) for name in EXACT for kind in ("serial", "vectorized")]
    compiled = native(funcs)
    tolerance = 6e-7 if dtype == "float32" else 1e-14
    for f in funcs:
        name = f.name.split("_")[0]
        x = np.abs(wide) + np.array(1e-6, dtype) if name in ("sqrt", "log") else wide
        got = np.zeros(n, dtype)
        compiled[f.name](x, got)
        want = np.array([EXACT[name](float(v)) for v in x])
        assert np.all(np.abs(got - want) <= tolerance * np.abs(want)), f.name


def test_exp_and_tanh_at_the_edges(native: Native) -> None:
    funcs = [unary("exp", "float32", 16, "vectorized"), unary("tanh", "float32", 16, "vectorized")]
    compiled = native(funcs)
    x = np.array(
        [np.nan, np.inf, -np.inf, 0, -0.0, 1e30, -1e30, 88.7, 88.8, -87.3, -200, 1e-30, 50, -50, 1, -1], np.float32
    )
    e, t = np.zeros(16, np.float32), np.zeros(16, np.float32)
    compiled["exp_vectorized"](x, e)
    compiled["tanh_vectorized"](x, t)
    with np.errstate(over="ignore"):
        assert np.allclose(e, np.exp(x), rtol=2e-6, atol=1e-37, equal_nan=True)
    assert np.allclose(t, np.tanh(x), rtol=1e-6, atol=0, equal_nan=True)


def test_pow(native: Native) -> None:
    a, b, o = (Buffer(n, (8,), "float32") for n in "abo")
    f = native([PrimFunc("power", [a, b, o], For(H, 8, Store(o, [H], call("pow", a[H], b[H])), "vectorized"))])["power"]
    x, y = np.linspace(0.5, 4, 8, dtype=np.float32), np.linspace(-3, 3, 8, dtype=np.float32)
    got = np.zeros(8, np.float32)
    f(x, y, got)
    assert np.allclose(got, x**y, rtol=1e-6)


def test_a_guarded_load_is_not_executed(native: Native) -> None:
    """The guarded element lies far outside the array: reading it would fault."""
    a, o = Buffer("a", (4,), "int32"), Buffer("o", (8,), "int32")
    far = select(logical_and(H >= 2, H < 6), a[H - 2], a[0])
    wild = select(H < 8, far, a[(H + 1) * 100_000_000])
    f = native([PrimFunc("f", [a, o], For(H, 8, Store(o, [H], wild), "vectorized"))])["f"]
    got = np.zeros(8, np.int32)
    f(np.arange(5, 9, dtype=np.int32), got)
    assert got.tolist() == [5, 5, 5, 6, 7, 8, 5, 5]


def test_register_tile_becomes_vector_code(native: Native) -> None:
    a, b, c = Buffer("a", (32, 32), "float32"), Buffer("b", (32, 32), "float32"), Buffer("c", (32, 32), "float32")
    acc, t, u, v = Buffer("acc", (4, 16), "float32", "local"), Var("t"), Var("u"), Var("v")
    r = [Var(f"r{n}") for n in range(3)]
    tile = Seq(
        [
            For(r[0], 4, For(t, 16, Store(acc, [r[0], t], 0), "vectorized"), "unrolled"),
            For(K, 32, For(r[1], 4, For(u, 16, Store(acc, [r[1], u],
                acc[r[1], u] + a[H * 4 + r[1], K] * b[K, J * 16 + u]), "vectorized"), "unrolled")),
            For(r[2], 4, For(v, 16, Store(c, [H * 4 + r[2], J * 16 + v], acc[r[2], v]), "vectorized"), "unrolled"),
        ]
    )  # fmt: skip
    func = PrimFunc("tiled", [a, b, c], For(H, 8, For(J, 2, Allocate(acc, tile))))
    text = llvm_ir([func])
    assert "fmul contract <16 x float>" in text and "load <16 x float>" in text
    x, y = np.random.default_rng(0).standard_normal((2, 32, 32)).astype(np.float32)
    got = np.zeros((32, 32), np.float32)
    native([func])["tiled"](x, y, got)
    assert np.allclose(got, x @ y, atol=1e-4)


def test_weights_are_fetched_ahead_once_a_vector(native: Native) -> None:
    k = te.reduce_axis(40, "k")
    a, w = te.placeholder((4, 40), "float32", "a"), te.placeholder((40, 16), "float32", "w")
    c = te.compute((4, 16), lambda i, v: te.sum(a[i, k] * w[k, v], axis=k), "c")
    s = te.create_schedule(c)
    i, v = s[c].op.axis  # pyright: ignore[reportAttributeAccessIssue]
    s[c].reorder(k, i, v)
    s[c].unroll(i)
    s[c].vectorize(v)
    s[c].pragma(k, PREFETCH, ("w", 512))
    func = lower(s, [a, w, c], "ahead")
    assert llvm_ir([func]).count('call void @"llvm.prefetch') == 1  # four products read one vector
    rng = np.random.default_rng(4)
    data, weights = (rng.standard_normal(t.shape, dtype=np.float32) for t in (a, w))
    out = np.zeros((4, 16), np.float32)
    native([func])["ahead"](data, weights, out)
    np.testing.assert_allclose(out, data @ weights, rtol=1e-5, atol=1e-5)


def test_maximum_of_padded_vectors_keeps_nan(native: Native) -> None:
    k = te.reduce_axis(6, "k")
    x = te.placeholder((5, 16), "float32", "x")
    c = te.compute((16,), lambda v: te.max(select(k < 5, x[k, v], float("-inf")), axis=k), "c")
    s = te.create_schedule(c)
    (v,) = s[c].op.axis  # pyright: ignore[reportAttributeAccessIssue]
    s[c].reorder(k, v)
    s[c].vectorize(v)
    func = lower(s, [x, c], "maximum")
    assert "load <16 x float>" in llvm_ir([func])
    data = np.random.default_rng(5).standard_normal((5, 16), dtype=np.float32)
    data[[0, 2, 4], [3, 7, 11]] = np.nan
    out = np.zeros(16, np.float32)
    native([func])["maximum"](data, out)
    np.testing.assert_array_equal(out, data.max(axis=0))


def test_vectorized_reduction_still_sums(native: Native) -> None:
    a, o = Buffer("a", (16,), "int32"), Buffer("o", (1,), "int32")
    f = native([PrimFunc("s", [a, o], For(H, 16, Store(o, [0], o[0] + a[H]), "vectorized"))])["s"]
    got = np.zeros(1, np.int32)
    f(np.arange(16, dtype=np.int32), got)
    assert got[0] == 120


def test_large_local_buffers_come_from_the_heap(native: Native) -> None:
    big, o = Buffer("big", (1 << 20,), "int64", "local"), Buffer("o", (8,), "int64")
    body = Allocate(
        big, Seq([For(H, 1 << 20, Store(big, [H], H.astype("int64"))), For(J, 8, Store(o, [J], big[J * 131072]))])
    )
    got = np.zeros(8, np.int64)
    native([PrimFunc("f", [o], body)])["f"](got)
    assert got.tolist() == [n * 131072 for n in range(8)]


@pytest.mark.parametrize(
    ("triple", "cpu"),
    [
        ("aarch64-unknown-linux-gnu", "cortex-a72"),
        ("armv7-unknown-linux-gnueabihf", "cortex-a9"),
        ("x86_64-unknown-linux-gnu", "generic"),
    ],
)
def test_other_processors(triple: str, cpu: str) -> None:
    funcs = [unary(name, "float32", 64, "vectorized") for name in EXACT]
    big = Buffer("big", (1 << 16,), "int32", "local")
    a = Buffer("a", (4,), "int32")
    funcs.append(PrimFunc("heap", [a], Allocate(big, Seq([Store(big, [7], a[0]), Store(a, [1], big[7])]))))
    obj = compile_functions(funcs, target_triple=triple, cpu=cpu)
    assert obj[:4] == b"\x7fELF"
    machine = int.from_bytes(obj[18:20], "little")
    assert machine == {"aarch64": 183, "armv7": 40, "x86_64": 62}[triple.split("-")[0]]


def store_one(name: str = "f") -> PrimFunc:
    a = Buffer("a", (4,), "int32")
    return PrimFunc(name, [a], Store(a, [0], 1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target_triple": "mips-unknown-linux-gnu"}, "architecture 'mips' is not one of"),
        ({"target_triple": "armv7-linux-gnueabihf", "cpu": "cortex-a9"}, "four parts"),
        ({"target_triple": "aarch64-unknown-linux-gnu"}, "cpu 'host' is a|unknown"),
        ({"cpu": "pentium9"}, "unknown cpu 'pentium9'"),
        ({"opt": 7}, "optimisation level 7"),
    ],
)
def test_wrong_targets_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(CodegenError, match=message):
        compile_functions([store_one()], **options)


@pytest.mark.parametrize("name", ["malloc", "expf", "two words", "", "9lives", 'quo"te'])
def test_wrong_names_are_refused(name: str) -> None:
    with pytest.raises(CodegenError, match="is not a free C symbol name"):
        compile_functions([store_one(name)])


def test_names_must_differ() -> None:
    with pytest.raises(CodegenError, match="is used twice"):
        compile_functions([store_one(), store_one()])


def test_target_intrinsics_have_no_cpu_code() -> None:
    a = Buffer("a", (4,), "int32")
    bodies: list[Stmt] = [Evaluate(Call("x.go", [H])), Store(a, [0], Call("x.go", [H]))]
    for body in bodies:
        with pytest.raises(CodegenError, match="no code for intrinsic 'x.go'"):
            compile_functions([PrimFunc("f", [a], For(H, 4, body))])


def test_objects_are_reproducible() -> None:
    assert compile_functions([store_one()]) == compile_functions([store_one()])


def test_the_deepest_expression_the_verifier_lets_through(native: Native) -> None:
    a = Buffer("a", (1,), "int32")
    e = a[0]
    while True:
        deeper = call("abs", e * 3 - a[0])
        try:
            verify(PrimFunc("deep", [a], Store(a, [0], deeper)))
        except VerifyError:
            break
        e = deeper
    func = PrimFunc("deep", [a], Store(a, [0], Indexer().rewrite(e)))
    got = np.array([3], np.int32)
    want = got.copy()
    run(func, [want])
    native([func])["deep"](got)
    assert got[0] == want[0] and str(func)


def test_reads_by_remainders_are_right() -> None:
    """A nest that LLVM's vectorizer gets wrong for AVX-512."""
    x = te.placeholder((2, 3, 4, 5), "float32", "x")
    y = te.compute((2, 18, 16, 10), lambda a, b, c, d: x[a % 2, b % 3, c % 4, d % 5], "y")
    kernel = LoadedKernel(lower(te.create_schedule(y), [x, y], "tile"))
    kernel.run()
    source, found = kernel.arrays
    expected = np.tile(source.reshape(2, 3, 4, 5), (1, 6, 4, 2))
    np.testing.assert_array_equal(found.reshape(expected.shape), expected)
