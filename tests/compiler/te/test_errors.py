"""A wrong primitive says which, where, why, and what would be right."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from compiler import te


class Example:
    """A matrix product with an element-wise stage behind it."""

    def __init__(self) -> None:
        self.a = te.placeholder((8, 6), "int32", "A")
        self.k = te.reduce_axis(6, "k")
        self.c = te.compute((8, 8), lambda i, j: te.sum(self.a[i, self.k] * self.a[j, self.k], axis=self.k), "C")
        self.d = te.compute((8, 8), lambda i, j: self.c[i, j] + 1, "D")
        self.s = te.create_schedule(self.d)
        self.sc, self.sd = self.s[self.c], self.s[self.d]
        self.i, self.j = self.c.op.axis  # type: ignore[attr-defined]
        self.di, self.dj = self.d.op.axis  # type: ignore[attr-defined]


def after(*calls: Callable[[Example], object]) -> Callable[[Example], object]:
    def run(e: Example) -> None:
        for call in calls:
            call(e)

    return run


CASES: list[tuple[Callable[[Example], object], str]] = [
    (lambda e: e.sc.split(e.i), "split: give exactly one of factor and nparts"),
    (lambda e: e.sc.split(e.i, factor=0), "factor must be a positive integer, got 0"),
    (lambda e: e.sc.split(e.i, factor=2.5), "factor must be a positive integer, got 2.5"),  # type: ignore[arg-type]
    (lambda e: e.sc.split(e.di, factor=2), r"s\[C\].split: parent .i. is not a loop of this stage; they are i, j, k"),
    (lambda e: e.sc.split("i", factor=2), "parent 'i' is not a loop axis"),  # type: ignore[arg-type]
    (
        after(lambda e: e.sc.split(e.i, factor=2), lambda e: e.sc.unroll(e.i)),
        "axis 'i' was split into i_outer, i_inner: use those",
    ),
    (after(lambda e: e.sc.fuse(e.i, e.j), lambda e: e.sc.unroll(e.j)), "axis 'j' was fused into i_j_fused: use that"),
    (lambda e: e.sc.fuse(e.j, e.i), "are not neighbours in this order; the loops are i, j, k"),
    (lambda e: e.sc.fuse(e.j, e.k), "mix data and reduce loops"),
    (lambda e: e.sc.fuse(), "needs at least one axis"),
    (lambda e: e.sc.reorder(e.i, e.i), "an axis is given twice"),
    (lambda e: e.sc.vectorize(e.k), "is a reduce axis"),
    (lambda e: e.sc.parallel(e.k), "is a reduce axis"),
    (lambda e: e.sc.bind(e.k, te.thread_axis("vthread")), "is a reduce axis"),
    (lambda e: e.sc.bind(e.i, e.j), "is not made by te.thread_axis"),
    (lambda e: e.sc.bind(e.i, te.thread_axis("vthread", 4)), "axis 'i' has extent 8, thread 'vthread' 4"),
    (after(lambda e: e.sc.unroll(e.i), lambda e: e.sc.parallel(e.i)), "axis 'i' is already unrolled"),
    (after(lambda e: e.sc.unroll(e.i), lambda e: e.sc.split(e.i, factor=2)), "already unrolled: do this first"),
    (lambda e: e.sc.pragma(e.i, ""), "key must be a name"),
    (lambda e: e.sc.tensorize(e.i, "gemm"), "is not made by te.decl_tensor_intrin"),  # type: ignore[arg-type]
    (lambda e: e.sd.compute_at(e.sc, e.i), "the stage is an output"),
    (lambda e: e.sc.compute_at(e.sc, e.i), "stage 'C' does not use 'C'"),
    (lambda e: e.sc.compute_at(e.d, e.di), "is not a stage of this schedule"),  # type: ignore[arg-type]
    (
        after(lambda e: e.sc.compute_at(e.sd, e.dj), lambda e: e.sd.split(e.dj, factor=2)),
        "is where 'C' is computed: do this first",
    ),
    (lambda e: e.sc.compute_inline(), "a reduction cannot be inlined"),
    (lambda e: e.sd.compute_inline(), "the stage is an output: it must be stored"),
    (lambda e: e.sd.set_scope("acc"), "cache_write it in 'acc'"),
    (lambda e: e.sc.set_scope(""), "scope must be a name"),
    (lambda e: e.s[e.a].split(e.i, factor=2), "'A' is a placeholder: it has no loops"),
    (lambda e: e.sc.storage_align(e.k, 8), "is not a dimension of 'C'; they are i, j"),
    (lambda e: e.sc.storage_align(e.i, 8, 9), "offset must lie in 0..7"),
    (lambda e: e.sd.double_buffer(), "the stage is an output"),
    (lambda e: e.s.cache_read(e.a, "inp", [e.d]), r"cache_read: reader 'D' does not read it; its readers are C"),
    (lambda e: e.s.cache_read(e.d, "inp"), "it has no readers"),
    (lambda e: e.s.cache_write(e.a, "acc"), "it is a placeholder"),
    (after(lambda e: e.sc.split(e.i, factor=2), lambda e: e.s.cache_write(e.c, "acc")), "do cache_write first"),
    (lambda e: e.s.rfactor(e.d, e.di), "rfactor: the stage is not a reduction"),
    (lambda e: e.s.rfactor(e.c, e.i), "axis 'i' is not a reduce loop"),
    (lambda e: e.s[te.placeholder((1,), name="Z")], "is not a tensor of this schedule; they are A, C, D"),
    (lambda e: e.s.tensor("Z"), "no tensor is named 'Z'; they are A, C, D"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c[1][:40])
def test_primitives_refuse(case: tuple[Callable[[Example], object], str]) -> None:
    call, message = case
    with pytest.raises(te.ScheduleError, match=message) as caught:
        call(Example())
    assert "test_errors.py:" in str(caught.value) and "\n" not in str(caught.value)


def test_compute_at_a_loop_that_another_consumer_is_outside_of() -> None:
    a = te.placeholder((8,), "int32", "A")
    b = te.compute((8,), lambda i: a[i] + 1, "B")
    c = te.compute((8,), lambda i: b[i] * 2, "C")
    d = te.compute((8,), lambda i: b[i] + c[i], "D")
    s = te.create_schedule(d)
    s[b].compute_at(s[d], d.op.axis[0])  # type: ignore[attr-defined]
    with pytest.raises(te.ScheduleError, match="its consumer 'C' is not computed inside 'D'.*test_errors.py"):
        s.nest()


EXPRESSIONS: list[tuple[Callable[[], object], str]] = [
    (lambda: te.placeholder((0,)), "must be an integer of at least 1"),
    (lambda: te.placeholder((2.5,)), "must be an integer of at least 1"),  # type: ignore[arg-type]
    (lambda: te.placeholder(("n",)), "shapes are static"),  # type: ignore[arg-type]
    (lambda: te.placeholder((1,), "int7"), "unknown dtype 'int7'"),
    (lambda: te.placeholder((2, 2))[0], r"has shape \(2, 2\), indexed with 1 indices"),
    (lambda: te.placeholder((2,))[0.5], "indices are int32"),
    (lambda: te.compute((2, 2), lambda i: i), "shape .* has 2 dimensions, function takes 1"),
    (lambda: te.reduce_axis((1, 4)), r"must be \(0, n\)"),
    (lambda: te.thread_axis("warp"), "unknown tag 'warp'"),
    (lambda: te.sum(te.placeholder((2,))[0], axis=[]), "needs at least one reduce axis"),
    (lambda: te.sum(te.placeholder((2,))[0], axis=te.thread_axis("vthread")), "is not made by te.reduce_axis"),
    (lambda: te.create_schedule([]), "needs at least one output"),
    (lambda: te.create_schedule(te.placeholder((2,), name="A")), "output 'A' is a placeholder"),
]


@pytest.mark.parametrize("case", EXPRESSIONS, ids=lambda c: c[1][:40])
def test_bad_expressions(case: tuple[Callable[[], object], str]) -> None:
    make, message = case
    with pytest.raises(te.TensorExprError, match=message):
        make()


def test_a_reduction_stands_alone() -> None:
    a = te.placeholder((4, 6), "int32", "A")
    k = te.reduce_axis(6, "k")
    with pytest.raises(te.TensorExprError, match="must be the whole expression"):
        te.compute((4,), lambda i: te.sum(a[i, k], axis=k) + 1)
    r = te.reduce_axis(4, "r")
    with pytest.raises(te.TensorExprError, match="inside a reduction"):
        te.sum(te.sum(a[r, k], axis=k), axis=r)
