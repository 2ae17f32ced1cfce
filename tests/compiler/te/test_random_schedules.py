"""Any schedule of a computation computes what the plain loops compute, through the interpreter and as machine code."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from compiler import ir, te
from compiler.ir.interp import run
from compiler.lower import lower
from vdla import host


def matmul() -> list[te.Tensor]:
    a, b = te.placeholder((6, 10), "int8", "A"), te.placeholder((7, 10), "int8", "B")
    k = te.reduce_axis(10, "k")
    c = te.compute((6, 7), lambda i, j: te.sum(a[i, k].astype("int32") * b[j, k].astype("int32"), axis=k), "C")
    d = te.compute((6, 7), lambda i, j: ir.maximum(c[i, j], 0) + 1, "D")
    return [a, b, d]


def padded_conv() -> list[te.Tensor]:
    x = te.placeholder((2, 7, 6), "int32", "X")
    w = te.placeholder((3, 2, 3, 3), "int32", "W")
    p = te.compute(
        (2, 9, 8),
        lambda c, y, z: ir.select(ir.logical_and(y >= 1, y < 8, z >= 1, z < 7), x[c, y - 1, z - 1], 9),
        "P",
    )
    rc, ry, rx = te.reduce_axis(2, "rc"), te.reduce_axis(3, "ry"), te.reduce_axis(3, "rx")
    c = te.compute(
        (3, 4, 3),
        lambda o, y, z: te.sum(p[rc, y * 2 + ry, z * 2 + rx] * w[o, rc, ry, rx], axis=[rc, ry, rx]),
        "C",
    )
    d = te.compute((3, 4, 3), lambda o, y, z: (c[o, y, z] >> 2) + c[o, y, 2 - z], "D")
    return [x, w, d]


def pooling() -> list[te.Tensor]:
    x = te.placeholder((5, 11), "int8", "X")
    t = te.compute((5, 11), lambda i, j: ir.minimum(x[i, j], 100), "T")
    r = te.reduce_axis(3, "r")
    m = te.compute((5, 5), lambda i, j: te.max(t[i, j * 2 + r], axis=r), "M")
    o = te.compute((5, 5), lambda i, j: m[4 - i, j] + m[i, j], "O")
    return [x, o]


def elementwise() -> list[te.Tensor]:
    x = te.placeholder((12, 5), "int32", "X")
    a = te.compute((12, 5), lambda i, j: x[i, j] * 3, "A")
    b = te.compute((60,), lambda i: a[i // 5, i % 5] + i, "B")
    c = te.compute((5, 12), lambda i, j: b[j * 5 + i] - a[j, i], "C")
    d = te.compute((4, 11), lambda i, j: c[i + 1, j] + c[i, j + 1], "D")
    return [x, d]


def float_softmax() -> list[te.Tensor]:
    x = te.placeholder((3, 8), "float32", "X")
    k, r = te.reduce_axis(8, "k"), te.reduce_axis(8, "r")
    m = te.compute((3,), lambda i: te.max(x[i, k], axis=k), "M")
    e = te.compute((3, 8), lambda i, j: ir.call("exp", x[i, j] - m[i]), "E")
    z = te.compute((3,), lambda i: te.sum(e[i, r], axis=r), "Z")
    o = te.compute((3, 8), lambda i, j: e[i, j] / z[i], "O")
    return [x, o]


def recurrence() -> list[te.Tensor]:
    x = te.placeholder((6, 5), "int32", "X")
    w = te.placeholder((5, 5), "int8", "W")
    state = te.placeholder((6, 5), "int32", "state")
    first = te.compute((1, 5), lambda t, i: x[t, i] - 1, "first")
    scaled = te.compute((6, 5), lambda t, i: x[t, i] * 3, "scaled")
    k = te.reduce_axis(5, "k")
    product = te.compute((6, 5), lambda t, i: te.sum(state[t - 1, k] * w[i, k].astype("int32"), axis=k), "product")
    kept = te.compute((6, 5), lambda t, i: (product[t, i] >> 3) + scaled[t, i], "kept")
    step = te.compute((6, 5), lambda t, i: kept[t, i] - state[t - 1, 4 - i], "step")
    total = te.scan(first, step, state, [x, w], name="total")
    assert isinstance(total, te.Tensor)
    out = te.compute((6, 5), lambda t, i: total[5 - t, i] + total[t, 4 - i], "O")
    return [x, w, out]


PROGRAMS: list[Callable[[], list[te.Tensor]]] = [
    matmul,
    padded_conv,
    pooling,
    elementwise,
    float_softmax,
    recurrence,
]


def random_schedule(out: te.Tensor, rng: random.Random) -> te.Schedule:
    """A schedule from random primitives; those that do not apply here are skipped."""
    s = te.create_schedule(out)
    for _ in range(rng.randrange(3)):  # caches first, since they want untouched stages
        stage = rng.choice(s.stages)
        try:
            if rng.random() < 0.5:
                s.cache_read(stage.tensor, rng.choice(["local", "inp"]), None)
            else:
                s.cache_write(stage.tensor, "acc")
        except te.ScheduleError:
            pass
    stages = [x for x in s.stages if isinstance(x.op, te.ComputeOp)]
    for stage in stages:
        for _ in range(rng.randrange(4)):
            _restructure(stage, rng)
        if stage.op.reduce_axis and rng.random() < 0.15 and not stage.attrs:  # type: ignore[attr-defined]
            try:
                s.rfactor(stage.tensor, rng.choice([v for v in stage.leaf_iter_vars if v.kind == "reduce"]))
            except te.ScheduleError:
                pass
    for stage in reversed([x for x in s.stages if isinstance(x.op, te.ComputeOp)]):
        if stage.is_output:
            continue
        pick = rng.random()
        if pick < 0.15 and not stage.op.reduce_axis:  # type: ignore[attr-defined]
            try:
                stage.compute_inline()
            except te.ScheduleError:
                pass
        elif pick < 0.85:
            _attach(s, stage, rng)
        if rng.random() < 0.2 and not stage.inlined and not stage.shares_memory:
            stage.storage_align(rng.choice(stage.op.axis), rng.choice([4, 8]), rng.randrange(4))  # type: ignore
    for stage in s.stages:
        if isinstance(stage.op, te.ComputeOp) and not stage.inlined:
            _annotate(stage, rng)
    return s


def _restructure(stage: te.Stage, rng: random.Random) -> None:
    leaves = list(stage.leaf_iter_vars)
    pick = rng.randrange(3)
    if pick == 0:
        axis = rng.choice(leaves)
        n = rng.randrange(1, 6)
        stage.split(axis, **{rng.choice(["factor", "nparts"]): n})
    elif pick == 1:
        chosen = rng.sample(leaves, min(len(leaves), rng.randrange(1, 4)))
        stage.reorder(*chosen)
    elif len(leaves) > 1:
        at = rng.randrange(len(leaves) - 1)
        if leaves[at].kind == leaves[at + 1].kind:
            stage.fuse(leaves[at], leaves[at + 1])


def _attach(s: te.Schedule, stage: te.Stage, rng: random.Random) -> None:
    """Compute the stage at a random loop under which all its consumers run, if there is one."""
    places = [(p, a) for p in s.stages if not p.inlined and s.reads(p, stage) for a in p.leaf_iter_vars]
    rng.shuffle(places)
    for parent, axis in places[:6]:
        try:
            stage.compute_at(parent, axis)
            s.nest()
        except te.ScheduleError:
            stage.compute_root()
        else:
            return


def _annotate(stage: te.Stage, rng: random.Random) -> None:
    for axis in stage.leaf_iter_vars:
        pick = rng.random()
        if pick < 0.1:
            stage.unroll(axis)
        elif pick < 0.3 and axis.kind == "data":
            stage.bind(axis, te.thread_axis("vthread"))
        elif pick < 0.4 and axis.kind == "data":
            stage.parallel(axis)
        elif pick < 0.5:
            stage.pragma(axis, "mark")


def evaluate(schedule: te.Schedule, args: list[te.Tensor], *, native: bool = False) -> np.ndarray:
    rng = np.random.default_rng(7)
    arrays = []
    for t in args[:-1]:
        if t.dtype == "float32":
            arrays.append(rng.standard_normal(t.shape).astype(np.float32))
        else:
            arrays.append(rng.integers(-100, 100, t.shape).astype(t.dtype))
    if native:
        return host.run(schedule, args, *arrays)[0]
    arrays.append(np.zeros(args[-1].shape, args[-1].dtype))
    run(lower(schedule, args), [a.reshape(-1) for a in arrays])
    return arrays[-1]


def check(make: Callable[[], list[te.Tensor]], number: int, *, native: bool = False) -> None:
    args = make()
    expected = evaluate(te.create_schedule(args[-1]), args)
    schedule = random_schedule(args[-1], random.Random(number))
    try:
        found = evaluate(schedule, args, native=native)
    except Exception as error:
        raise AssertionError(f"schedule {number} of {make.__name__}:\n{schedule.trace()}") from error
    if expected.dtype == np.float32:
        np.testing.assert_allclose(found, expected, rtol=1e-5, err_msg=schedule.trace())
    else:
        np.testing.assert_array_equal(found, expected, err_msg=schedule.trace())


@pytest.mark.parametrize("make", PROGRAMS, ids=lambda f: f.__name__)
@seed(1)
@settings(max_examples=25, deadline=None, database=None)
@given(number=st.integers(0, 1 << 30))
def test_random_schedules_keep_the_meaning(make: Callable[[], list[te.Tensor]], number: int) -> None:
    check(make, number)


@pytest.mark.parametrize("make", PROGRAMS, ids=lambda f: f.__name__)
def test_machine_code_of_random_schedules(make: Callable[[], list[te.Tensor]]) -> None:
    for number in range(8):
        check(make, number, native=True)


@pytest.mark.slow
@pytest.mark.parametrize("make", PROGRAMS, ids=lambda f: f.__name__)
def test_many_random_schedules_keep_the_meaning(make: Callable[[], list[te.Tensor]]) -> None:
    for number in range(1000):
        check(make, number)


@pytest.mark.parametrize("make", PROGRAMS, ids=lambda f: f.__name__)
def test_traces_run(make: Callable[[], list[te.Tensor]]) -> None:
    """The printed trace of a random schedule rebuilds it."""
    for number in range(10):
        out = make()[-1]
        schedule = random_schedule(out, random.Random(number))
        again = te.create_schedule(out)
        exec(schedule.trace(), {"s": again, "te": te})
        assert again.nest() == schedule.nest()


@pytest.mark.parametrize("make", PROGRAMS, ids=lambda f: f.__name__)
def test_default_schedule(make: Callable[[], list[te.Tensor]]) -> None:
    args = make()
    expected = evaluate(te.create_schedule(args[-1]), args)
    np.testing.assert_array_equal(evaluate(te.schedule_for_cpu(args[-1]), args), expected)
