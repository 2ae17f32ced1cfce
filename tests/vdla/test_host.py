"""Schedules run on the computer that compiles."""

from __future__ import annotations

import numpy as np
import pytest

from compiler import te
from compiler.errors import CompileError
from hw.config import Config
from runtime.errors import InputError
from vdla import host
from vdla.target import intrinsics


def product() -> tuple[te.Schedule, list[te.Tensor]]:
    """int32[3, 5] = int8[3, 7] times int8[5, 7], the output first among the arguments."""
    x, w = te.placeholder((3, 7), "int8", "x"), te.placeholder((5, 7), "int8", "w")
    k = te.reduce_axis(7, "k")
    y = te.compute((3, 5), lambda i, j: te.sum(x[i, k].astype("int32") * w[j, k].astype("int32"), axis=k), "y")
    return te.create_schedule(y), [y, x, w]


def operands() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(-128, 128, (3, 7), np.int8), rng.integers(-128, 128, (5, 7), np.int8)


def test_computes_in_any_order_of_arguments() -> None:
    s, args = product()
    x, w = operands()
    (y,) = host.run(s, args, x, w)
    np.testing.assert_array_equal(y, x.astype(np.int32) @ w.T.astype(np.int32))


def test_scopes_and_pragmas_of_a_target_are_plain_memory_and_loops() -> None:
    s, args = product()
    y, x, _ = args
    copy = s.cache_read(x, "inp", [y])
    s[copy].pragma(s[copy].op.axis[0], "dma_copy")
    xs, ws = operands()
    np.testing.assert_array_equal(host.run(s, args, xs, ws)[0], xs.astype(np.int32) @ ws.T.astype(np.int32))


def test_several_outputs_and_repeated_runs() -> None:
    x = te.placeholder((4,), "float32", "x")
    a, b = te.compute((4,), lambda i: x[i] + 1.0, "a"), te.compute((4,), lambda i: x[i] * 2.0, "b")
    data = np.arange(4, dtype=np.float32)
    for _ in range(2):
        plus, twice = host.run(te.create_schedule([a, b]), [x, a, b], data, name="both")
        np.testing.assert_array_equal(plus, data + 1)
        np.testing.assert_array_equal(twice, data * 2)


def test_arrays_that_are_not_contiguous() -> None:
    s, args = product()
    x, w = operands()
    (y,) = host.run(s, args, np.asfortranarray(x), w[::-1])
    np.testing.assert_array_equal(y, x.astype(np.int32) @ w[::-1].T.astype(np.int32))


def test_wrong_inputs() -> None:
    s, args = product()
    x, w = operands()
    with pytest.raises(InputError, match="main takes 2 inputs, got 1"):
        host.run(s, args, x)
    with pytest.raises(InputError, match=r"input 'w' must be int8\[5, 7\], got int8\[3, 7\]"):
        host.run(s, args, x, x)
    with pytest.raises(InputError, match=r"input 'x' must be int8\[3, 7\], got int32\[3, 7\]"):
        host.run(s, args, x.astype(np.int32), w)


def test_an_accelerators_instruction_is_refused() -> None:
    cfg = Config.load("tiny")
    x = te.placeholder((2, 1, 4), "int8", "x")
    y = te.compute((2, 1, 4), lambda i, b, o: x[i, b, o].astype("int32"), "y")
    s = te.create_schedule(y)
    s[y].tensorize(y.op.axis[1], intrinsics.widen(cfg))
    with pytest.raises(CompileError, match="vdla.alu"):
        host.run(s, [x, y], np.zeros((2, 1, 4), np.int8))
