"""Features of loop programs: the numbers of a small matrix product by hand, and what must not change them."""

from __future__ import annotations

import math

import numpy as np

from compiler import te
from compiler.ir import PrimFunc
from compiler.lower import PassContext, lower
from compiler.tune.declaration import declare
from compiler.tune.features import (
    ACCESSES,
    FEATURES,
    SAMPLES,
    KnobFeatures,
    LoopTable,
    ProgramFeatures,
    global_bytes,
    program_features,
    program_table,
    table_features,
)
from compiler.tune.space import Knobs

N, K = 8, 16


def matmul(split: int = 1, annotation: str = "") -> PrimFunc:
    a, b = te.placeholder((N, K), "float32", "A"), te.placeholder((K, N), "float32", "B")
    k = te.reduce_axis(K, "k")
    c = te.compute((N, N), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), "C")
    s = te.create_schedule(c)
    i, j = c.op.axis
    jo, ji = s[c].split(j, factor=split)
    s[c].reorder(i, jo, k, ji)
    if annotation:
        getattr(s[c], annotation)(ji)
    return lower(s, [a, b, c], context=PassContext(until="make_loops"))


def test_touched_elements_and_reuse() -> None:
    table = program_table(matmul(4))
    # accesses by name: A, B, then C of the initialisation and C of the update, read and written at one element
    row = program_features(matmul(4)).reshape(-1)[: 4 * (4 + 2 * len(SAMPLES))].reshape(4, -1)
    assert table.extents[0, 3].tolist() == [N, 2, K, 4]
    a, b, c = row[0], row[1], row[3]
    assert c[0] == math.log2(N * N * K)  # C is updated so often
    assert c[1:3].tolist() == [math.log2(N * N), math.log2(K)]  # distinct elements, reuse of each
    assert a[1] == math.log2(N * K) and b[1] == math.log2(N * K)
    assert a[2] == b[2] == math.log2(N)
    # after 16 executions (i and j outer): A[i, 0..15] reused 4 times, B[0..15, 4 columns] once
    sample = 4 + 2 * SAMPLES.index(16)
    assert a[sample : sample + 2].tolist() == [4, 2]
    assert b[sample : sample + 2].tolist() == [6, 0]


def test_loops_of_one_iteration_make_no_difference() -> None:
    assert not np.array_equal(program_features(matmul(1)), program_features(matmul(4)))
    table = program_table(matmul(4))
    wider = [np.insert(table.extents, 2, 1, axis=2), np.insert(table.steps, 2, 99, axis=3)]
    padded = LoopTable(wider[0], wider[1], table.sizes, table.launches, table.kinds)
    assert np.array_equal(table_features(padded), table_features(table))


def test_annotations_show() -> None:
    plain, vector = program_features(matmul(4)), program_features(matmul(4, "vectorize"))
    assert plain.shape == (FEATURES,)
    changed = np.flatnonzero(plain != vector)
    assert changed.size and changed.min() >= FEATURES - 10


def test_indices_that_are_not_affine() -> None:
    a = te.placeholder((64,), "int32", "A")
    b = te.compute((8, 4), lambda i, j: a[(i * 4 + j) // 3 + (i * 4 + j) % 3], "B")
    func = lower(te.create_schedule(b), [a, b], context=PassContext(until="make_loops"))
    assert np.isfinite(program_features(func)).all()
    assert program_table(func).steps[0, 0, 0].tolist() == [4, 1]


def test_of_many_accesses_those_in_the_innermost_loops_have_features() -> None:
    a, b = (te.placeholder((N, K), "float32", name) for name in ("cold", "zero_and_hot"))
    cold = te.compute((N,), lambda i: sum((a[i, k] for k in range(ACCESSES)), a[i, 0]), "a_first")
    k = te.reduce_axis(K, "k")
    hot = te.compute((N, N), lambda i, j: te.sum(b[i, k] * b[j, k] * cold[i], axis=k), "hot")
    s = te.create_schedule(hot)
    table = program_table(lower(s, [a, b, hot], context=PassContext(until="make_loops")))
    assert table.extents.shape[1] == ACCESSES
    executed = table.extents[0].prod(axis=1).tolist()
    assert executed.count(N * N * K) == 4 and table.sizes[0, np.array(executed) == N * N * K].tolist() == [
        [N, 1], [N, N], [N, K], [N, K]
    ]  # fmt: skip


def test_global_bytes() -> None:
    assert global_bytes(matmul()) == 4 * (N * N + 3 * N * N * K)


def test_of_points() -> None:
    def template(knobs: Knobs) -> None:
        knobs.split("j", N, 2)
        knobs.choice("annotation", ("", "vectorize"))
        knobs.choice("count", (1, 2, 4))

    space = declare(template)
    lowered: list[int] = []

    def lower_point(index: int) -> PrimFunc:
        lowered.append(index)
        at = space.values(index)
        return matmul(at["j"][1], at["annotation"])

    features = ProgramFeatures(lower_point)
    rows = features([3, 1, 3])
    assert lowered == [3, 1] and np.array_equal(rows[0], rows[2])
    knobs = KnobFeatures(space)(range(space.size))
    assert knobs.shape == (space.size, 2 + 2 + 1) and len(np.unique(knobs, axis=0)) == space.size
