"""The template-free space: every schedule drawn from it computes the same, and tuning it makes kernels faster."""

from __future__ import annotations

import doctest
from collections.abc import Callable

import numpy as np
import pytest

from compiler import te
from compiler.ir import IntImm, PrimFunc, logical_and, maximum, select
from compiler.lower import lower
from compiler.tune import generic
from compiler.tune.cpu import LoadedKernel
from compiler.tune.declaration import declare
from compiler.tune.generic import generic_schedule
from compiler.tune.measure import Cost, InlineMeasurer
from compiler.tune.search import RandomSearch
from compiler.tune.timing import CpuTimer
from compiler.tune.tuner import Task, tune


def matmul(n: int = 12) -> list[te.Tensor]:
    a, b = te.placeholder((n, n), "int32", "a"), te.placeholder((n, n), "int32", "b")
    k = te.reduce_axis(n, "k")
    product = te.compute((n, n), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), "product")
    return [a, b, te.compute((n, n), lambda i, j: maximum(product[i, j], IntImm(0)) + 1, "result")]


def convolution() -> list[te.Tensor]:
    x, w = te.placeholder((3, 9, 9), "int32", "x"), te.placeholder((4, 3, 3, 3), "int32", "w")
    padded = te.compute((3, 11, 11), lambda c, i, j: select(
        logical_and(i >= 1, i < 10, j >= 1, j < 10), x[c, i - 1, j - 1], 0), "padded")  # fmt: skip
    c, p, q = te.reduce_axis(3, "c"), te.reduce_axis(3, "p"), te.reduce_axis(3, "q")
    y = te.compute((4, 9, 9), lambda o, i, j: te.sum(padded[c, i + p, j + q] * w[o, c, p, q], axis=[c, p, q]), "y")
    return [x, w, y]


def elementwise() -> list[te.Tensor]:
    a = te.placeholder((6, 20), "int32", "a")
    double = te.compute((6, 20), lambda i, j: a[i, j] * 2, "double")
    return [a, te.compute((6, 20), lambda i, j: double[i, j] - 3, "b")]


def lowered(point: object, args: list[te.Tensor]) -> PrimFunc:
    return lower(generic_schedule(point, args[-1:]), args)  # type: ignore[arg-type]


def result(func: PrimFunc) -> np.ndarray:
    kernel = LoadedKernel(func)
    kernel.run()
    return kernel.arrays[-1]


def test_doctest() -> None:
    failed, tried = doctest.testmod(generic)
    assert tried and not failed


def several() -> list[te.Tensor]:
    """Two outputs, one of which the other is computed from; the sums of rows and columns, and an axis that turns."""
    a = te.placeholder((8, 32), "int32", "a")
    k, m = te.reduce_axis(32, "k"), te.reduce_axis(8, "m")
    rows = te.compute((8,), lambda i: te.sum(a[i, k], axis=k), "rows")
    columns = te.compute((32,), lambda j: te.sum(a[m, j], axis=m), "columns")
    return [a, rows, te.compute((32, 8), lambda j, i: a[i, j] * rows[i] - columns[j], "turned")]


@pytest.mark.parametrize("build", [matmul, convolution, elementwise, several])
def test_every_point_computes_the_same(build: Callable[[], list[te.Tensor]]) -> None:
    args = build()
    outputs = args[-2:] if build is several else args[-1:]
    space = declare(generic_schedule, outputs)
    expected = result(lower(te.create_schedule(outputs), args))
    assert expected.any()
    texts = set()
    for index in space.sample(12, np.random.default_rng(0)):
        func = lower(generic_schedule(space.entity(index), outputs), args)
        texts.add(repr(func))
        assert np.array_equal(result(func), expected), space.values(index)
    assert len(texts) > 8


def test_tuning_a_kernel_of_this_processor() -> None:
    args = matmul(96)
    space = declare(generic_schedule, args[-1:])
    plain = lower(te.create_schedule(args[-1]), args)
    timer, reference = CpuTimer(repeats=2, shortest=1e-4), LoadedKernel(plain)

    def measure(point: int) -> Cost:
        return Cost(timer(LoadedKernel(lowered(space.entity(point), args)).run, reference.run))

    values = {"depth": 2, "tile": (1, 1), "tasks": 0, "vectors": "none", "lanes": 4, "steps": 1}
    task = Task("matmul", ("matmul", "cpu", "here", "1"), space, space.find(values).index, "seconds", lambda p: p)
    found = tune(task, RandomSearch(space, 3), InlineMeasurer(measure), trials=16)
    assert not found.failed and found.gain > 1.3, found
