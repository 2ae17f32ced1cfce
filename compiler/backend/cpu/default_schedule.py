"""The schedule of CPU kernels: what is stored and what is recomputed, and in which order reductions run.

No search: a few rules that hold for every operator. LLVM unrolls and vectorizes the innermost loops; the rules only
give it loops where that pays, so that a CPU fallback is never absurdly slow.
"""

from __future__ import annotations

from collections.abc import Sequence

from compiler.backend.cpu import rows
from compiler.backend.cpu.elementwise import WORTH_THREADS, run_as_tasks, schedule_elements, vectorize_functions, work
from compiler.backend.cpu.inlining import inline_cheap
from compiler.backend.cpu.parallel import parallelize
from compiler.backend.cpu.vector_convolution import LANES
from compiler.ir import Load
from compiler.te.analysis import is_dense, loads_of, points, reduces, uses
from compiler.te.schedule import Schedule, create_schedule
from compiler.te.stage import Stage
from compiler.te.tensor import ComputeOp, IterVar, Tensor
from compiler.te.tiling import divisor

# Multiply-accumulates of one step of a recurrence that are worth starting threads for.
_WORTH_THREADS = 1 << 17
# Accumulators that run side by side: enough to hide the latency of an addition.
_SHORT_TILE = 4
_LONG_TILE = 8


def default_schedule(outputs: Sequence[Tensor]) -> Schedule:
    """A schedule that stores reductions and padding, inlines everything else that is cheap to recompute, and runs a
    reduction tile by tile inside the element-wise stage that follows it, or row by row; long loops as tasks."""
    schedule = create_schedule(outputs)
    if rows.applies(schedule):
        rows.schedule_rows(schedule)
        return schedule
    inline_cheap(schedule)
    enclosing: set[Stage] = set()
    for stage in list(schedule.stages):
        if reduces(stage):
            outer, tile = _arrange(stage)
            sink = _attach(schedule, stage, tile)
            if sink is not None:
                enclosing.add(sink)
            elif stage.scan is None and work(schedule, stage) >= WORTH_THREADS:
                run_as_tasks(stage, outer)
    for stage in schedule.stages:
        if not isinstance(stage.op, ComputeOp) or stage.inlined or reduces(stage) or stage in enclosing:
            continue
        if stage.scan is None:
            schedule_elements(schedule, stage)
        else:
            vectorize_functions(schedule, stage)
    return schedule


def _arrange(stage: Stage) -> tuple[list[IterVar], tuple[IterVar, int] | None]:
    """Order the loops of a reduction; returns those outside of it, and the axis of the output that was tiled with the
    tile, if one was.

    Where neighbouring outputs read neighbouring inputs the last axis runs innermost, as vectors that stay in registers
    if whole vectors fit, and an axis along which that input is reused is tiled around it. Elsewhere several outputs
    accumulate side by side.
    """
    op = stage.op
    assert isinstance(op, ComputeOp)
    loads = list(loads_of(op))
    time = 0 if stage.scan is None else 1  # a recurrence makes one step at a time
    data, reduce = list(op.axis[time:]), list(op.reduce_axis)
    if not data:
        return [], None
    last = data[-1]
    streams = [load for load in loads if load.indices and uses(load.indices[-1:], last)]
    if last.extent < _SHORT_TILE or not streams:
        tiled = next((axis for axis in reversed(data) if axis.extent > 1), None)
        if tiled is None:
            return data, None
        size = divisor(tiled.extent, _LONG_TILE)
        blocks, inner = stage.split(tiled, factor=size)
        outer = [blocks if axis is tiled else axis for axis in data]
        stage.reorder(*outer, *reduce, inner)
        stage.unroll(inner)
        return outer, (tiled, size)

    tiled = next((axis for axis in reversed(data[:-1]) if axis.extent > 1 and _reuses(streams, loads, axis)), None)
    outer, inside, size = data[:-1], [last], 1
    lanes = next((lanes for lanes in LANES if last.extent % lanes == 0), 1)
    wide = all(is_dense(load, last) for load in streams) and (lanes >= 8 or lanes == last.extent)
    if tiled is not None:
        size = divisor(tiled.extent, _LONG_TILE if wide and lanes < 16 else _SHORT_TILE)
        blocks, inner = stage.split(tiled, factor=size)
        stage.unroll(inner)
        outer[outer.index(tiled)] = blocks
        inside.insert(0, inner)
    if wide:
        vectors, lane = stage.split(last, factor=lanes)
        stage.vectorize(lane)
        outer.append(vectors)
        inside[-1] = lane
        side = next((axis for axis in reversed(outer) if axis.extent > 1), None)
        if tiled is None and side is not None:  # nothing is reused: vectors accumulate side by side
            outer[outer.index(side)], inner = stage.split(side, factor=divisor(side.extent, _LONG_TILE))
            stage.unroll(inner)
            inside.insert(0, inner)
    stage.reorder(*outer, *reduce, *inside)
    if stage.scan is not None and points(op) >= _WORTH_THREADS * op.axis[0].extent:
        parallelize(stage, outer)
    return outer, (None if tiled is None else (tiled, size))


def _reuses(streams: Sequence[Load], loads: Sequence[Load], axis: IterVar) -> bool:
    """Whether different values of `axis` read the same elements in `streams` and others elsewhere."""
    return not any(uses(load.indices, axis) for load in streams) and any(uses(load.indices, axis) for load in loads)


def _attach(schedule: Schedule, stage: Stage, tile: tuple[IterVar, int] | None) -> Stage | None:
    """Compute a tiled reduction inside the loops of the stage that takes its tiles one by one; that stage, if any."""
    if stage.is_output or tile is None:
        return None
    axis, size = tile
    assert isinstance(stage.op, ComputeOp)
    depth = stage.op.axis.index(axis) + 1
    sink = _follow(schedule, stage, depth)
    if sink is None or not isinstance(sink.op, ComputeOp) or sink.leaf_iter_vars != list(sink.op.axis):
        return None
    blocks, _ = sink.split(sink.op.axis[depth - 1], factor=size)
    task = None
    if stage.scan is sink.scan is None and work(schedule, stage) + work(schedule, sink) >= WORTH_THREADS:
        task = run_as_tasks(sink, [*sink.op.axis[: depth - 1], blocks])
    stage.compute_at(sink, blocks if task is None or blocks in sink.leaf_iter_vars else task)
    return sink


def _follow(schedule: Schedule, stage: Stage, depth: int) -> Stage | None:
    """The stored stage that reads `stage` at the same first `depth` indices as its own, perhaps through inlined stages;
    None when there is not exactly one. What it computes in one iteration of those loops nobody else needs."""
    sinks: set[Stage] = set()
    path = [stage]
    seen = {stage}
    while path:
        current = path.pop()
        for reader in schedule.readers_of(current):
            op = reader.op
            if (
                not isinstance(op, ComputeOp)
                or op.reduce_axis
                or reader.tensor.shape[:depth] != stage.tensor.shape[:depth]
            ):
                return None
            reads = [load for load in loads_of(op) if load.buffer is current.tensor]
            if any(load.indices[:depth] != op.axis[:depth] for load in reads):
                return None
            if not reader.inlined:
                sinks.add(reader)
            elif reader not in seen:
                seen.add(reader)
                path.append(reader)
    return sinks.pop() if len(sinks) == 1 else None
