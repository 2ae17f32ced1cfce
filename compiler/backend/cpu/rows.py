"""Reductions along what lies together: every lane of some vectors reduces a part of a row, then the parts are reduced.

A group of them (a softmax with its maximum and its sum, say, or a layer normalisation) works row by row, each of which
stays in a core's cache.
"""

from __future__ import annotations

import math

from compiler.backend.cpu.elementwise import WORTH_THREADS, run_as_tasks, schedule_elements, vectorize_functions, work
from compiler.backend.cpu.inlining import inline_cheap
from compiler.graph.fuse import FusedGroup, is_elementwise, pattern_of
from compiler.graph.ir import Node
from compiler.ops import Pattern
from compiler.te.analysis import is_dense, loads_of, reduces, shared_loops, uses
from compiler.te.schedule import Schedule
from compiler.te.stage import Stage
from compiler.te.tensor import ComputeOp, IterVar, PlaceholderOp
from compiler.te.tiling import divisor

# Elements of one vector; several vectors side by side hide the latency of an addition.
_LANES = (16, 8)
_VECTORS = 8
# Rows that are enough for the threads of a processor: fewer long ones are better cut themselves.
_ENOUGH_ROWS = 16


def are_rows(group: FusedGroup) -> bool:
    """Whether `applies` will hold for a group of the graph, and its rows are short or many enough for one kernel.

    Every node keeps the rows apart: it works element by element, with one number a row for some operands, or reduces
    whole rows and keeps their axes.
    """
    sums = [node for node in group.nodes if pattern_of(node) is Pattern.REDUCTION]
    spans = {_reduced_axes(node) for node in sums}
    axes = next(iter(spans)) if len(spans) == 1 else None
    whole = sums[0].inputs[0].shape
    if not axes or len(group.outputs) != 1 or axes != tuple(range(axes[0], len(whole))):
        return False
    rows, last = whole[: axes[0]], whole[-1]
    shapes = (whole, (*rows, *(1 for _ in axes)))
    alike = all(
        node.output.shape in shapes and node.output.dtype.startswith("float") and (node in sums or is_elementwise(node))
        for node in group.nodes
    )
    vectors = any(last % lanes == 0 and last >= 2 * lanes for lanes in _LANES)
    return alike and vectors and (math.prod(rows) >= _ENOUGH_ROWS or math.prod(whole) < WORTH_THREADS)


def _reduced_axes(node: Node) -> tuple[int, ...] | None:
    """The axes a reduction keeps with extent 1 or, like softmax, goes along; None for one that drops them."""
    if "axis" in node.attrs:
        return (node.attrs["axis"],)
    return tuple(sorted(node.attrs["axes"])) if node.attrs.get("keepdims") else None


def applies(schedule: Schedule) -> bool:
    """Whether a group has one output and reductions, all of floats along rows."""
    known = all(isinstance(stage.op, ComputeOp | PlaceholderOp) for stage in schedule.stages)
    sums = [stage for stage in schedule.stages if reduces(stage)]
    return known and len(schedule.outputs) == 1 and bool(sums) and all(lanes_along(stage) > 1 for stage in sums)


def lanes_along(stage: Stage) -> int:
    """Elements of a vector that holds parts of a row, 1 where a stage reduces something else or rows are short."""
    op = stage.op
    assert isinstance(op, ComputeOp)
    last = op.reduce_axis[-1]
    loads = [load for load in loads_of(op) if uses(load.indices, last)]
    if not op.output.dtype.startswith("float") or not loads or not all(is_dense(load, last) for load in loads):
        return 1
    return next((lanes for lanes in _LANES if last.extent % lanes == 0 and last.extent >= 2 * lanes), 1)


def schedule_rows(schedule: Schedule) -> None:
    """Arrange a group to which this applies, nothing of which is inlined yet."""
    (output,) = schedule.outputs
    out = schedule[output]
    if reduces(out):
        schedule.cache_write(output, "local")
    inline_cheap(schedule)
    stored = [s for s in schedule.stages if isinstance(s.op, ComputeOp) and not s.inlined and s is not out]
    inside = {stage: count for stage, count in shared_loops(schedule, out).items() if count and stage in stored}
    worth = work(schedule, out) + sum(work(schedule, stage) for stage in inside) >= WORTH_THREADS
    for stage in stored:
        if reduces(stage):
            add_parts(schedule, stage, tasks=stage not in inside and work(schedule, stage) >= WORTH_THREADS)
        elif stage in inside:
            vectorize_functions(schedule, stage)
        else:
            schedule_elements(schedule, stage)
    if not inside:
        schedule_elements(schedule, out)
        return
    assert isinstance(out.op, ComputeOp)
    loops = out.op.axis
    if max(inside.values()) < len(loops):
        vectorize_functions(schedule, out)
    task = run_as_tasks(out, loops[: min(inside.values())]) if worth else None
    for stage, count in inside.items():
        loop = loops[count - 1]
        stage.compute_at(out, loop if task is None or loop in out.leaf_iter_vars else task)


def add_parts(schedule: Schedule, stage: Stage, tasks: bool) -> None:
    """Some vectors of parts of each row, one vector of their sums, halves of that until two numbers are left and added;
    rows as `tasks` if asked."""
    assert isinstance(stage.op, ComputeOp)
    lanes, last = lanes_along(stage), stage.op.reduce_axis[-1]
    vectors = divisor(last.extent // lanes, _VECTORS)
    found = [_in_parts(schedule, stage, last, vectors * lanes, lanes)]
    if vectors > 1:
        found.append(_in_parts(schedule, stage, stage.op.reduce_axis[0], lanes, lanes))
    while lanes > 2:
        lanes //= 2
        found.append(_in_parts(schedule, stage, stage.op.reduce_axis[0], lanes, lanes))
    stage.unroll(stage.op.reduce_axis[0])
    data = stage.op.axis
    if not data:
        return
    task = run_as_tasks(stage, data) if tasks else None
    for parts in found:
        parts.compute_at(stage, data[-1] if task is None or data[-1] in stage.leaf_iter_vars else task)


def _in_parts(schedule: Schedule, stage: Stage, axis: IterVar, count: int, lanes: int) -> Stage:
    """The reduction over `axis` as one of `count` parts, which the stage reduces then; all parts side by side."""
    _, part = stage.split(axis, factor=count)
    parts = schedule[schedule.rfactor(stage.tensor, part)]
    assert isinstance(parts.op, ComputeOp)
    part, *data = parts.op.axis
    side, lane = parts.split(part, factor=lanes)
    parts.reorder(*data, *parts.op.reduce_axis, side, lane)
    parts.unroll(side)
    parts.vectorize(lane)
    return parts
