"""A schedule that is right for every computation: what the CPU fallback uses when nothing better is known."""

from __future__ import annotations

from collections.abc import Sequence

from compiler.ir import Expr, FloatImm, IntImm, Load, Select
from compiler.te.schedule import Schedule, create_schedule
from compiler.te.tensor import ComputeOp, Tensor


def schedule_for_cpu(outputs: Tensor | Sequence[Tensor]) -> Schedule:
    """Element-wise stages inlined into what uses them, everything else computed at the root.

    An element-wise stage that a reduction reads stays a stage of its own if it does more than move data: inlined, it
    would be computed again for every element of the reduction.

    >>> A = te.placeholder((8,), "int32", "A")
    >>> B = te.compute((8,), lambda i: A[i] + 1, "B")
    >>> C = te.compute((8,), lambda i: B[i] * 2, "C")
    >>> schedule_for_cpu(C).show()
    for i in range(8):
        C[i] = (A[i] + 1) * 2
    """
    schedule = create_schedule(outputs)
    for stage in schedule.stages:
        op = stage.op
        if not isinstance(op, ComputeOp) or op.reduce_axis or stage.must_store:
            continue
        readers = [r.op for r in schedule.readers_of(stage)]
        reduced = any(isinstance(r, ComputeOp) and r.reduce_axis for r in readers)
        if reduced and not _moves_data(op):
            continue
        stage.compute_inline()
    return schedule


def _moves_data(op: ComputeOp) -> bool:
    """True if the expression only picks an element (a transposition, a padding, a slice)."""
    stack: list[Expr] = [op.body]
    while stack:
        e = stack.pop()
        if isinstance(e, Select):
            stack += [e.true_value, e.false_value]
        elif not isinstance(e, (Load, IntImm, FloatImm)):
            return False
    return True
