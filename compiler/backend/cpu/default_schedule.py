"""The schedule of CPU kernels: what is stored and what is recomputed, and in which order reductions run.

No search: a few rules that hold for every operator. LLVM unrolls and vectorizes the innermost loops; the rules only
give it loops where that pays, so that a CPU fallback is never absurdly slow.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from compiler.arith import linear_form
from compiler.backend.cpu.parallel import parallelize
from compiler.backend.cpu.vector_convolution import LANES
from compiler.ir import Call, Expr, Load, walk_expr
from compiler.ops.compute import PADDING
from compiler.te.schedule import Schedule, create_schedule
from compiler.te.stage import Stage
from compiler.te.tensor import ComputeOp, IterVar, Tensor

# A stage is recomputed where it is read, unless that costs this many times the work of storing it.
_CHEAP_RECOMPUTE = 4
# Functions that cost tens of instructions: never computed twice.
_EXPENSIVE = frozenset({"exp", "log", "tanh", "sigmoid", "erf", "pow"})
# Multiply-accumulates of one step of a recurrence that are worth starting threads for.
_WORTH_THREADS = 1 << 17
# Accumulators that run side by side: enough to hide the latency of an addition.
_SHORT_TILE = 4
_LONG_TILE = 8


def default_schedule(outputs: Sequence[Tensor]) -> Schedule:
    """A schedule that stores reductions and padding, inlines everything else that is cheap to recompute, and runs a
    reduction tile by tile inside the element-wise stage that follows it."""
    schedule = create_schedule(outputs)
    inline_cheap(schedule)
    for stage in list(schedule.stages):
        if isinstance(stage.op, ComputeOp) and stage.op.reduce_axis:
            tile = _arrange(stage)
            _attach(schedule, stage, tile)
    for stage in schedule.stages:
        vectorize_functions(stage)
    return schedule


def loads_of(op: ComputeOp) -> set[Load]:
    """What the body reads."""
    return {node for node in walk_expr(op.body) if isinstance(node, Load)}


def _points(op: ComputeOp) -> int:
    """How often the body is evaluated."""
    return math.prod(axis.extent for axis in (*op.axis, *op.reduce_axis))


def inline_cheap(schedule: Schedule) -> None:
    """Inline the stages that cost less to recompute where they are read than to store."""
    evaluations: dict[Stage, int] = {}
    for stage in reversed(schedule.stages):
        op = stage.op
        if not isinstance(op, ComputeOp):
            continue
        readers = schedule.readers_of(stage)
        needed = 0
        for reader in readers:
            if not isinstance(reader.op, ComputeOp):
                continue
            reads = sum(load.buffer is stage.tensor for load in loads_of(reader.op))
            needed += reads * (evaluations[reader] if reader.inlined else _points(reader.op))
        evaluations[stage] = needed
        if op.reduce_axis or stage.must_store:
            continue
        window = op.tag == PADDING and any(_reduces(reader) for reader in readers)
        limit = 1 if _is_expensive(op.body) else _CHEAP_RECOMPUTE
        if not window and needed <= limit * math.prod(stage.tensor.shape):
            stage.compute_inline()


def _reduces(stage: Stage) -> bool:
    return isinstance(stage.op, ComputeOp) and bool(stage.op.reduce_axis)


def _is_expensive(body: Expr) -> bool:
    return any(isinstance(node, Call) and node.name in _EXPENSIVE for node in walk_expr(body))


def _uses(exprs: Iterable[Expr], axis: IterVar) -> bool:
    return any(node is axis for expr in exprs for node in walk_expr(expr))


def divisor(extent: int, limit: int) -> int:
    """The greatest divisor of `extent` that is at most `limit`: tiles without a rest need no guard."""
    return max(d for d in range(1, limit + 1) if extent % d == 0)


def _arrange(stage: Stage) -> tuple[IterVar, int] | None:
    """Order the loops of a reduction; returns the axis of the output that was tiled, and the tile, if one was.

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
        return None
    last = data[-1]
    streams = [load for load in loads if load.indices and _uses(load.indices[-1:], last)]
    if last.extent < _SHORT_TILE or not streams:
        tiled = next((axis for axis in reversed(data) if axis.extent > 1), None)
        if tiled is None:
            return None
        size = divisor(tiled.extent, _LONG_TILE)
        blocks, inner = stage.split(tiled, factor=size)
        stage.reorder(*[blocks if axis is tiled else axis for axis in data], *reduce, inner)
        stage.unroll(inner)
        return tiled, size

    tiled = next((axis for axis in reversed(data[:-1]) if axis.extent > 1 and _reuses(streams, loads, axis)), None)
    outer, inside, size = data[:-1], [last], 1
    lanes = next((lanes for lanes in LANES if last.extent % lanes == 0), 1)
    wide = all(_is_dense(load, last) for load in streams) and (lanes >= 8 or lanes == last.extent)
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
    if stage.scan is not None and _points(op) >= _WORTH_THREADS * op.axis[0].extent:
        parallelize(stage, outer)
    return None if tiled is None else (tiled, size)


def vectorize_functions(stage: Stage) -> None:
    """Compute exponentials and the like in vectors, where whole ones fit: they are long, and LLVM is wary of them."""
    op = stage.op
    if not isinstance(op, ComputeOp) or stage.inlined or op.reduce_axis or not op.axis or not _is_expensive(op.body):
        return
    last = op.axis[-1]
    lanes = next((lanes for lanes in LANES if last.extent % lanes == 0), 1)
    if lanes > 1 and stage.leaf_iter_vars[-1] is last:
        stage.vectorize(stage.split(last, factor=lanes)[1])


def _reuses(streams: Sequence[Load], loads: Sequence[Load], axis: IterVar) -> bool:
    """Whether different values of `axis` read the same elements in `streams` and others elsewhere."""
    return not any(_uses(load.indices, axis) for load in streams) and any(_uses(load.indices, axis) for load in loads)


def _is_dense(load: Load, axis: IterVar) -> bool:
    """Whether steps along `axis` are steps from one element to the next."""
    form = linear_form(load.indices[-1], [axis])
    return form is not None and form.terms.get(axis) == 1 and not _uses(load.indices[:-1], axis)


def _attach(schedule: Schedule, stage: Stage, tile: tuple[IterVar, int] | None) -> None:
    """Compute a tiled reduction inside the loops of the stage that takes its tiles one by one."""
    if stage.is_output or tile is None:
        return
    axis, size = tile
    assert isinstance(stage.op, ComputeOp)
    depth = stage.op.axis.index(axis) + 1
    sink = _follow(schedule, stage, depth)
    if sink is None or not isinstance(sink.op, ComputeOp) or sink.leaf_iter_vars != list(sink.op.axis):
        return
    blocks, _ = sink.split(sink.op.axis[depth - 1], factor=size)
    stage.compute_at(sink, blocks)


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
