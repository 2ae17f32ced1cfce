"""The count of a function's operations, against running through its loops and against formulas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from compiler import te
from compiler.backend.cpu import CpuTarget, winograd
from compiler.backend.llvm.cache import VARIABLE
from compiler.ir import (
    COMPARE_OPS,
    LOGIC_OPS,
    Binary,
    Call,
    Expr,
    For,
    If,
    Load,
    PrimFunc,
    Stmt,
    Store,
    Var,
    maximum,
    select,
    stmt_children,
)
from compiler.ir.count import operations
from compiler.ir.interp import evaluate
from compiler.lower import lower
from tests.compiler.cpu.test_convolution import AVX512, convolution, relaid


def terms(expr: Expr) -> set[Expr]:
    """The operations of a value without choices."""
    found: set[Expr] = set()
    if isinstance(expr, Load):
        return found
    if isinstance(expr, Call) or (isinstance(expr, Binary) and expr.op not in COMPARE_OPS | LOGIC_OPS):
        found.add(expr)
    return found.union(*(terms(child) for child in expr.children))


def run_through(s: Stmt, env: dict[Var, int]) -> int:
    """The operations of a statement, one iteration after the other."""
    if isinstance(s, For):
        return sum(run_through(s.body, {**env, s.var: i}) for i in range(s.extent))
    if isinstance(s, If):
        if evaluate(s.cond, env):
            return run_through(s.then, env)
        return 0 if s.otherwise is None else run_through(s.otherwise, env)
    if isinstance(s, Store):
        return len(terms(s.value))
    return sum(run_through(child, env) for child in stmt_children(s))


def product(factors: Sequence[int], unrolled: bool) -> PrimFunc:
    """A matrix product with the rectifier, split by factors that do not divide it."""
    a, b = te.placeholder((7, 5), "float32", "a"), te.placeholder((5, 9), "float32", "b")
    k = te.reduce_axis(5, "k")
    c = te.compute((7, 9), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), "c")
    out = te.compute((7, 9), lambda i, j: maximum(c[i, j] + 1.0, 0.0), "out")
    schedule = te.create_schedule(out)
    stage: Any = schedule[c]
    i, j = stage.op.axis
    io, ii = stage.split(i, factor=factors[0])
    jo, ji = stage.split(j, factor=factors[1])
    ko, ki = stage.split(stage.op.reduce_axis[0], factor=factors[2])
    stage.reorder(io, jo, ko, ii, ki, ji)
    if unrolled:
        stage.unroll(ji)
    return lower(schedule, [a, b, out], "product")


@pytest.mark.parametrize("factors", [(7, 9, 5), (2, 4, 3), (3, 3, 2)])
@pytest.mark.parametrize("unrolled", [False, True])
def test_guarded_loops(factors: Sequence[int], unrolled: bool) -> None:
    func = product(factors, unrolled)
    assert operations(func) == run_through(func.body, {}) == 7 * 9 * (2 * 5 + 2)


def test_choices_and_repeated_terms() -> None:
    x = te.placeholder((10,), "float32", "x")

    def element(i: Expr) -> Expr:
        square = x[i] * x[i]
        return select(x[i] > 0.0, square + square * 3.0, square)

    out = te.compute((10,), element, "out")
    assert operations(lower(te.create_schedule(out), [x, out], "choices")) == 10 * (1 + 3)


def kernel(monkeypatch: pytest.MonkeyPatch, transform: winograd.Transform | None, size: int) -> PrimFunc:
    """A padded convolution 16 -> 32 of a square image, with bias, residual and rectifier."""
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.setattr(winograd, "algorithms", lambda x, shape, processor: [transform])
    attrs = {"strides": (1, 1), "pads": (1, 1, 1, 1)}
    graph, _ = convolution(np.random.default_rng(0), (1, 16, size, size), 32, (3, 3), attrs)
    target = CpuTarget(processor=AVX512)
    groups = relaid(graph, target)[1]
    (func,) = [target.compile(g).func for g in groups if any(v.shape == (32, 16, 3, 3) for v in g.inputs)]
    return func


def row_operations(matrix: Sequence[Sequence[float]]) -> int:
    """Of a product of a vector by a matrix whose zeros and ones are left out."""
    factors = [[f for f in row if f] for row in matrix]
    products = sum(f not in (1, -1) for row in factors for f in row) + sum(row[0] == -1 for row in factors)
    return products + sum(len(row) - 1 for row in factors)


@pytest.mark.parametrize("transform", [winograd.F2, winograd.F4], ids=["F2", "F4"])
def test_winograd_executes_what_its_matrices_say(
    monkeypatch: pytest.MonkeyPatch, transform: winograd.Transform
) -> None:
    size, tiles, alpha, m = 8, (8 // transform.m) ** 2, transform.alpha, transform.m
    products = 2 * alpha**2 * tiles * 16 * 32
    inward = 16 * tiles * 2 * alpha * row_operations(transform.input)
    outward = 32 * tiles * (alpha + m) * row_operations(transform.output)
    executed = operations(kernel(monkeypatch, transform, size))
    assert executed == products + inward + outward + 3 * 32 * size * size
    assert executed < 2 * size * size * 16 * 32 * 9


def test_the_direct_sum_executes_its_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    assert operations(kernel(monkeypatch, None, 6)) == 32 * 6 * 6 * (2 * 16 * 9 + 3)
