"""Virtual threads: the interleaving, what becomes private, and that the meaning stays."""

from __future__ import annotations

import numpy as np

from compiler import ir, te
from compiler.ir.interp import run
from compiler.lower import PassContext, lower


def matmul_schedule(threads: int = 2, axis: int = 0) -> tuple[te.Schedule, list[te.Tensor]]:
    a, b = te.placeholder((8, 6), "int32", "A"), te.placeholder((8, 6), "int32", "B")
    k = te.reduce_axis(6, "k")
    c = te.compute((8, 8), lambda i, j: te.sum(a[i, k] * b[j, k], axis=k), "C")
    s = te.create_schedule(c)
    acc = s.cache_write(c, "acc")
    al, bl = s.cache_read(a, "inp", [acc]), s.cache_read(b, "wgt", [acc])
    t, _ = s[c].split(s[c].op.axis[axis], nparts=threads)
    s[c].reorder(t, *[v for v in s[c].leaf_iter_vars if v is not t])
    s[c].bind(t, te.thread_axis("vthread"))
    s[acc].compute_at(s[c], t)
    ko, ki = s[acc].split(k, factor=3)
    s[acc].reorder(ko, *s[acc].op.axis, ki)
    s[al].compute_at(s[acc], ko)
    s[bl].compute_at(s[acc], ko)
    return s, [a, b, c]


def test_golden_interleaving() -> None:
    s, args = matmul_schedule()
    func = lower(s, args, context=PassContext(until="inject_vthreads"))
    assert (
        ir.stmt_text(func.body)
        == """\
C_acc = allocate(int32[2, 4, 8], scope='acc')
for i_init in range(4):
    for j_init in range(8):
        C_acc[0, i_init, j_init] = 0
for i_init_1 in range(4):
    for j_init_1 in range(8):
        C_acc[1, i_init_1, j_init_1] = 0
for k_outer in range(2):
    A_inp = allocate(int32[2, 4, 3], scope='inp')
    for ax0 in range(4):
        for ax1 in range(3):
            A_inp[0, ax0, ax1] = A[ax0, k_outer * 3 + ax1]
    for ax0_1 in range(4):
        for ax1_1 in range(3):
            A_inp[1, ax0_1, ax1_1] = A[ax0_1 + 4, k_outer * 3 + ax1_1]
    B_wgt = allocate(int32[8, 3], scope='wgt')
    for ax0_2 in range(8):
        for ax1_2 in range(3):
            B_wgt[ax0_2, ax1_2] = B[ax0_2, k_outer * 3 + ax1_2]
    for i in range(4):
        for j in range(8):
            for k_inner in range(3):
                C_acc[0, i, j] = C_acc[0, i, j] + A_inp[0, i, k_inner] * B_wgt[j, k_inner]
    for i_1 in range(4):
        for j_1 in range(8):
            for k_inner_1 in range(3):
                C_acc[1, i_1, j_1] = C_acc[1, i_1, j_1] + A_inp[1, i_1, k_inner_1] * B_wgt[j_1, k_inner_1]
for i_inner in range(4):
    for j_2 in range(8):
        C[i_inner, j_2] = C_acc[0, i_inner, j_2]
for i_inner_1 in range(4):
    for j_3 in range(8):
        C[i_inner_1 + 4, j_3] = C_acc[1, i_inner_1, j_3]"""
    )


def test_meaning_stays_for_any_number_of_threads() -> None:
    rng = np.random.default_rng(0)
    a = rng.integers(-9, 9, (8, 6)).astype(np.int32)
    b = rng.integers(-9, 9, (8, 6)).astype(np.int32)
    for axis in (0, 1):
        for threads in (1, 2, 3, 4, 8):
            s, args = matmul_schedule(threads, axis)
            out = np.zeros((8, 8), np.int32)
            run(lower(s, args), [x.reshape(-1) for x in (a, b, out)])
            np.testing.assert_array_equal(out, a @ b.T)


def test_two_virtual_thread_axes() -> None:
    a = te.placeholder((4, 4), "int32", "A")
    b = te.compute((4, 4), lambda i, j: a[i, j] * 2, "B")
    c = te.compute((4, 4), lambda i, j: b[i, j] + 1, "C")
    s = te.create_schedule(c)
    io, jo, _, _ = s[c].tile(c.op.axis[0], c.op.axis[1], 2, 2)
    s[c].bind(io, te.thread_axis("vthread"))
    s[c].bind(jo, te.thread_axis("vthread"))
    s[b].compute_at(s[c], jo)
    func = lower(s, [a, c], context=PassContext(until="inject_vthreads"))
    allocation = next(x for x in ir.walk_stmt(func.body) if isinstance(x, ir.Allocate))
    assert allocation.buffer.shape == (2, 2, 2, 2)
    order = [x.buffer.name for x in ir.walk_stmt(func.body) if isinstance(x, ir.Store)]
    assert order == ["B"] * 4 + ["C"] * 4
    value = np.arange(16, dtype=np.int32).reshape(4, 4)
    out = np.zeros((4, 4), np.int32)
    run(lower(s, [a, c]), [value.reshape(-1), out.reshape(-1)])
    np.testing.assert_array_equal(out, value * 2 + 1)


def test_a_loop_with_a_pragma_is_repeated_whole() -> None:
    a = te.placeholder((4, 6), "int32", "A")
    k = te.reduce_axis(6, "k")
    c = te.compute((4,), lambda i: te.sum(a[i, k], axis=k), "C")
    s = te.create_schedule(c)
    t, i = s[c].split(c.op.axis[0], nparts=2)
    s[c].bind(t, te.thread_axis("vthread"))
    s[c].pragma(i, "unit")
    func = lower(s, [a, c], context=PassContext(until="inject_vthreads"))
    assert isinstance(func.body, ir.Seq)
    assert [type(x) for x in func.body.stmts] == [ir.For, ir.For]
    assert all(isinstance(x, ir.For) and x.annotations == {"unit": True} for x in func.body.stmts)
