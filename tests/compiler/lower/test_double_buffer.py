"""Double buffering rotates two slices and keeps the meaning."""

from __future__ import annotations

import numpy as np
import pytest

from compiler import ir, te
from compiler.ir.interp import run
from compiler.lower import lower


def matmul() -> tuple[te.Schedule, list[te.Tensor], te.Tensor, te.Tensor]:
    a, b = te.placeholder((4, 9), "int32", "A"), te.placeholder((5, 9), "int32", "B")
    k = te.reduce_axis(9, "k")
    c = te.compute((4, 5), lambda i, j: te.sum(a[i, k] * b[j, k], axis=k), "C")
    s = te.create_schedule(c)
    al, bl = s.cache_read(a, "inp"), s.cache_read(b, "wgt")
    ko, ki = s[c].split(k, factor=2)
    s[c].reorder(ko, *c.op.axis, ki)  # type: ignore[attr-defined]
    s[al].compute_at(s[c], ko)
    s[bl].compute_at(s[c], ko)
    return s, [a, b, c], al, bl


@pytest.mark.parametrize("which", [[0], [1], [0, 1]])
def test_meaning_stays(which: list[int]) -> None:
    s, args, *caches = matmul()
    for n in which:
        s[caches[n]].double_buffer()
    func = lower(s, args)
    sizes = {x.buffer.name: x.buffer.shape[0] for x in ir.walk_stmt(func.body) if isinstance(x, ir.Allocate)}
    assert sizes == {"A_inp": 8 * (2 if 0 in which else 1), "B_wgt": 10 * (2 if 1 in which else 1)}
    rng = np.random.default_rng(1)
    a, b = rng.integers(-9, 9, (4, 9)).astype(np.int32), rng.integers(-9, 9, (5, 9)).astype(np.int32)
    out = np.zeros((4, 5), np.int32)
    run(func, [x.reshape(-1) for x in (a, b, out)])
    np.testing.assert_array_equal(out, a @ b.T)


def test_stage_at_the_root_is_refused() -> None:
    s, args, al, _ = matmul()
    s[al].compute_root()
    s[al].double_buffer()
    with pytest.raises(te.ScheduleError, match="not computed at a loop"):
        lower(s, args)


def test_parallel_loop_is_refused() -> None:
    a = te.placeholder((8, 4), "int32", "A")
    b = te.compute((8, 4), lambda i, j: a[i, j] + 1, "B")
    c = te.compute((8, 4), lambda i, j: b[i, j] * 2, "C")
    s = te.create_schedule(c)
    s[b].compute_at(s[c], c.op.axis[0])  # type: ignore[attr-defined]
    s[b].double_buffer()
    s[c].parallel(c.op.axis[0])  # type: ignore[attr-defined]
    with pytest.raises(te.ScheduleError, match="loop 'i' is parallel"):
        lower(s, [a, c])


def test_a_chain_in_one_iteration_is_refused() -> None:
    a = te.placeholder((8, 4), "int32", "A")
    b = te.compute((8, 4), lambda i, j: a[i, j] + 1, "B")
    c = te.compute((8, 4), lambda i, j: b[i, 3 - j], "C")
    d = te.compute((8, 4), lambda i, j: c[i, j] * 2, "D")
    s = te.create_schedule(d)
    for t in (c, b):
        s[t].compute_at(s[d], d.op.axis[0])  # type: ignore[attr-defined]
    s[c].double_buffer()
    with pytest.raises(te.ScheduleError, match="it reads 'B', which the same iteration computes"):
        lower(s, [a, d])
