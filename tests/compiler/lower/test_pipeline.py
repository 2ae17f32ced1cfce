"""The pass list: order, timing, printing, a target's own passes, and each common pass by itself."""

from __future__ import annotations

import numpy as np
import pytest

from compiler import ir, te
from compiler.ir.interp import run
from compiler.lower import PASSES, Pass, PassContext, lower


def program() -> tuple[te.Schedule, list[te.Tensor]]:
    a = te.placeholder((4, 6), "int32", "A")
    b = te.compute((4, 6), lambda i, j: a[i, j] + 1, "B")
    s = te.create_schedule(b)
    s[b].split(b.op.axis[1], factor=4)
    return s, [a, b]


def test_every_pass_is_timed() -> None:
    s, args = program()
    context = PassContext()
    lower(s, args, context=context)
    assert list(context.timings) == ["make_loops", *[p.name for p in PASSES]]
    assert all(t >= 0 for t in context.timings.values())


def test_passes_are_printed_before_and_after() -> None:
    s, args = program()
    lines: list[str] = []
    lower(s, args, context=PassContext(dump=["make_loops", "flatten_storage"], emit=lines.append))
    assert [text.splitlines()[0] for text in lines] == [
        "# after make_loops", "# before flatten_storage", "# after flatten_storage",
    ]  # fmt: skip
    assert "B[i, j_outer * 4 + j_inner]" in lines[1] and "B[i * 6 + j_outer * 4 + j_inner]" in lines[2]


def test_target_passes_run_in_their_places() -> None:
    s, args = program()
    seen: list[tuple[str, int]] = []

    def spy(name: str):
        def look(func: ir.PrimFunc) -> ir.PrimFunc:
            seen.append((name, len(func.params[0].shape)))
            return func

        return look

    lower(s, args, target_passes=[Pass("early", spy("early"), before="flatten_storage"), Pass("late", spy("late"))])
    assert seen == [("early", 2), ("late", 1)]
    with pytest.raises(te.ScheduleError, match="wants to run before 'nowhere'"):
        lower(s, args, target_passes=[Pass("lost", spy("lost"), before="nowhere")])


def test_parameters_are_flat_and_keep_their_shapes() -> None:
    s, args = program()
    func = lower(s, args, name="f")
    assert func.name == "f"
    assert [p.shape for p in func.params] == [(24,), (24,)]
    assert func.attrs["shapes"] == [[4, 6], [4, 6]]


def test_unrolled_loops_disappear() -> None:
    a = te.placeholder((4,), "int32", "A")
    b = te.compute((4,), lambda i: a[i] * 2, "B")
    c = te.compute((4,), lambda i: b[i] + 1, "C")
    s = te.create_schedule(c)
    s[c].unroll(c.op.axis[0])
    s[b].compute_at(s[c], c.op.axis[0])
    func = lower(s, [a, c])
    assert not list(ir.loops_of(func.body))
    out = np.zeros(4, np.int32)
    run(func, [np.arange(4, dtype=np.int32), out])
    assert out.tolist() == [1, 3, 5, 7]


def test_guards_decided_by_the_extents_disappear() -> None:
    a = te.placeholder((8,), "int32", "A")
    b = te.compute((8,), lambda i: ir.select(i < 8, a[i], 0), "B")
    func = lower(te.create_schedule(b), [a, b])
    assert repr(func.body) == "for i in range(8):\n    B[i] = A[i]"


def test_aligned_rows() -> None:
    a = te.placeholder((3, 5), "int32", "A")
    b = te.compute((3, 5), lambda i, j: a[i, j] + 1, "B")
    c = te.compute((3, 5), lambda i, j: b[i, j] * 2, "C")
    s = te.create_schedule(c)
    s[b].storage_align(b.op.axis[0], 8, 1)
    func = lower(s, [a, c])
    allocation = next(x for x in ir.walk_stmt(func.body) if isinstance(x, ir.Allocate))
    assert allocation.buffer.shape == (2 * 9 + 4 + 1,)


def test_arguments_are_checked() -> None:
    s, (a, b) = program()
    with pytest.raises(te.TensorExprError, match="arguments lack A"):
        lower(s, [b])
    with pytest.raises(te.TensorExprError, match="is not a tensor"):
        lower(s, [a, b, 3])  # type: ignore[list-item]
