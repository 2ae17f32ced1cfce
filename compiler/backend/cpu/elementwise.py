"""Stages that compute every element by itself: as vectors, in blocks where an order of axes changes, as tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence

from compiler.backend.cpu.inlining import is_expensive
from compiler.backend.cpu.parallel import TASKS
from compiler.ir import ITEM_BYTES, Load
from compiler.te.analysis import computed_with, is_dense, loads_of, points, uses
from compiler.te.schedule import Schedule
from compiler.te.stage import Stage
from compiler.te.tensor import ComputeOp, IterVar
from compiler.te.tiling import divisor, fuse_leading

# Elements that are worth waking threads for: some ten microseconds. One with an expensive function counts as several.
WORTH_THREADS = 1 << 16
_EXPENSIVE = 8
# Lanes of an expensive function: several vectors side by side hide its latency.
_LANES = (32, 16)
# A block of a transposition: two lines of the cache along what is read, and few such rows, which may all fall into one
# set of the cache; shorter axes are not worth blocks.
_BLOCK = (32, 8)
# Less tasks of equal length are not made of a loop: its iterations are the tasks.
_FEWEST_TASKS = 8


def schedule_elements(schedule: Schedule, stage: Stage) -> None:
    """Arrange the loops of a stage that does not reduce, is stored and has its loops as they were declared."""
    op = stage.op
    assert isinstance(op, ComputeOp)
    worth = work(schedule, stage) >= WORTH_THREADS
    turned = _turned(op)
    if turned is not None:
        _transpose(stage, op, turned, worth)
        return
    divides = divisor(math.prod(stage.tensor.shape), TASKS[0]) >= _FEWEST_TASKS
    if op.axis and (divides or not worth) and _is_flat(schedule, stage):
        stage.fuse(*op.axis)
    vectorize_functions(schedule, stage)
    loops = stage.leaf_iter_vars
    if worth and (divides or len(loops) > 1):
        run_as_tasks(stage, loops[:-1] or loops)


def work(schedule: Schedule, stage: Stage) -> int:
    """Elements that a stage evaluates, weighted by what they cost."""
    assert isinstance(stage.op, ComputeOp)
    expensive = any(is_expensive(op.body) for op in computed_with(schedule, stage))
    return points(stage.op) * (_EXPENSIVE if expensive else 1)


def run_as_tasks(stage: Stage, loops: Sequence[IterVar]) -> IterVar | None:
    """Run leading loops (in loop order) in parallel: as few of them as give enough tasks, of equal length if they
    divide. The loop in which the others run then, None where there is but one iteration."""
    fused = fuse_leading(stage, loops, TASKS[0])
    if fused is None:
        return None
    tasks = divisor(fused.extent, TASKS[0])
    if tasks == fused.extent or tasks < _FEWEST_TASKS:
        stage.parallel(fused)
        return fused
    outer, inner = stage.split(fused, nparts=tasks)
    stage.parallel(outer)
    return inner


def vectorize_functions(schedule: Schedule, stage: Stage) -> None:
    """Compute exponentials and the like in vectors, where the widest ones are whole: they are long, and LLVM is wary of
    them. It does better than short vectors would."""
    op = stage.op
    if not isinstance(op, ComputeOp) or stage.inlined or op.reduce_axis:
        return
    if not op.axis or (stage.scan is not None and len(op.axis) == 1):  # a recurrence's steps follow each other
        return
    if not any(is_expensive(other.body) for other in computed_with(schedule, stage)):
        return
    last = stage.leaf_iter_vars[-1]
    lanes = next((lanes for lanes in _LANES if last.extent % lanes == 0), 0)
    if lanes:
        stage.vectorize(stage.split(last, factor=lanes)[1])


def _is_flat(schedule: Schedule, stage: Stage) -> bool:
    """Whether all that a stage reads, through inlined stages too, are scalars and its own place in other tensors: its
    axes are one to it."""
    for op in computed_with(schedule, stage):
        if op.output.shape != stage.tensor.shape:
            return False
        left = [op.body]
        while left:
            node = left.pop()
            if isinstance(node, Load) and node.buffer.shape == stage.tensor.shape and node.indices == op.axis:
                continue
            if node in op.axis:
                return False
            left.extend(node.children)
    return True


def _turned(op: ComputeOp) -> IterVar | None:
    """The axis along which a tensor is read from element to element, where that is not the last one and both are long
    enough for blocks."""
    if len(op.axis) < 2 or op.axis[-1].extent < _BLOCK[1]:
        return None
    for load in loads_of(op):
        for axis in op.axis[:-1]:
            if axis.extent >= _BLOCK[1] and is_dense(load, axis) and uses(load.indices[:-1], op.axis[-1]):
                return axis
    return None


def _transpose(stage: Stage, op: ComputeOp, turned: IterVar, worth: bool) -> None:
    """Block by block, in the order of what is read."""
    last = op.axis[-1]
    elements = 4 * _BLOCK[0] // ITEM_BYTES[stage.tensor.dtype]
    along, inside = stage.split(turned, factor=divisor(turned.extent, max(1, elements)))
    across, lines = stage.split(last, factor=divisor(last.extent, _BLOCK[1]))
    outer = [along if axis is turned else axis for axis in op.axis[:-1]]
    stage.reorder(*outer, across, lines, inside)
    if worth:
        run_as_tasks(stage, [*outer, across])
