"""Schedules of the int8 convolutions: tensorized sums, and their rounding to int8 while they are in the first cache."""

from __future__ import annotations

from compiler.backend.cpu import amx
from compiler.backend.cpu.dot_product import dot_product_of
from compiler.backend.cpu.parallel import parallelize
from compiler.backend.cpu.processor import Processor
from compiler.backend.cpu.vector_convolution import LANES
from compiler.te.schedule import Schedule
from compiler.te.stage import Stage
from compiler.te.tensor import ComputeOp, IterVar
from compiler.tune.space import Knobs

# Bytes of vectors on which widening costs little beside a product.
_SHORT = 16
# The padded input is copied by whole vectors of this many bytes.
_COPIED = 64


def schedule_matrix(schedule: Schedule, conv: Stage, out: Stage, processor: Processor, knobs: Knobs) -> None:
    """A block of sums at a time on the matrix unit; the group's other operators follow vector by vector."""
    op = conv.op
    assert isinstance(op, ComputeOp) and isinstance(out.op, ComputeOp)
    vectors = out.op.axis[4].extent // amx.LANES
    fitting = amx.blocks(vectors, *conv.tensor.shape[2:4])
    block = amx.Block(*knobs.choice("block", [(b.vectors, b.rows, b.columns) for b in fitting]))
    at = _tiles(out, block.vectors, block.rows, block.columns)
    conv.compute_at(out, at)
    _copy(schedule, conv)
    source, weights = conv.op.inputs
    n, o, h, w, lane = op.axis
    outer, inner = zip(
        conv.split(o, factor=block.vectors),
        conv.split(h, factor=block.rows),
        conv.split(w, factor=block.columns),
        strict=True,
    )
    conv.reorder(n, *outer, *inner, lane, *op.reduce_axis)
    conv.tensorize(inner[0], amx.conv_block(source.shape[1:], weights.shape, block, amx.Window.of(op, source)))


def schedule_dot(schedule: Schedule, conv: Stage, out: Stage, processor: Processor, knobs: Knobs) -> None:
    """A tile of sums in registers; each step of the reduction takes a few channels."""
    op = conv.op
    assert isinstance(op, ComputeOp) and isinstance(out.op, ComputeOp)
    instruction = dot_product_of(op.tag, processor)
    vectors = out.op.axis[4].extent // amx.LANES
    count, columns = instruction.tile(vectors, *conv.tensor.shape[2:4])
    at = _tiles(out, count, 1, columns)
    conv.compute_at(out, at)
    _copy(schedule, conv)
    _, o, h, w, lane = op.axis
    inner = len(instruction.reduced)
    steps, reduced = op.reduce_axis[:-inner], op.reduce_axis[-inner:]
    conv.reorder(*steps, h, o, w, lane, *reduced)
    for axis in (o, w):
        conv.unroll(axis)
    conv.tensorize(lane, instruction.intrinsic())


def schedule_depthwise(schedule: Schedule, conv: Stage, out: Stage, processor: Processor, knobs: Knobs) -> None:
    """A row's tile of pixels, one vector of channels each, in registers.

    The rows that it reads are widened before on long vectors, where that costs as much as a product; else at each load.
    """
    assert isinstance(conv.op, ComputeOp) and isinstance(out.op, ComputeOp)
    n, c, h, w, i = out.op.axis
    sizes = [d for d in range(1, processor.registers // 2 + 1) if w.extent % d == 0]
    vectors, lane = out.split(i, factor=min(processor.lanes, i.extent))
    wo, wi = out.split(w, factor=knobs.choice("columns", sizes[::-1]))
    out.reorder(n, c, h, vectors, wo, wi, lane)
    out.unroll(wi)
    out.vectorize(lane)
    for stage in schedule.stages:
        if not isinstance(stage.op, ComputeOp) or not schedule.reads(conv, stage) or stage is conv:
            continue
        if schedule.readers_of(stage) != [conv] or processor.vector_bytes <= _SHORT:
            stage.compute_inline()
        else:
            stage.compute_at(out, vectors)
            stage.vectorize(stage.op.axis[4])
    conv.compute_at(out, wo)
    parallelize(out, [n, c, h])
    column, lanes = conv.op.axis[3:]
    rh, rw = conv.op.reduce_axis
    conv.reorder(rh, rw, column, lanes)
    for axis in (rw, column):
        conv.unroll(axis)
    conv.vectorize(lanes)


def schedule_quads(schedule: Schedule, anchor: Stage, out: Stage, processor: Processor, knobs: Knobs) -> None:
    """A row at a time: what precedes is computed in whole vectors, then four channels are put beside each other."""
    assert isinstance(out.op, ComputeOp)
    n, c, h, _, i = out.op.axis
    out.unroll(i)
    stages = [stage for stage in schedule.stages if isinstance(stage.op, ComputeOp) and stage is not out]
    for stage in stages:
        if schedule.readers_of(stage) != [out]:
            stage.compute_inline()
    fused = parallelize(out, [n, c, h])
    at = h if fused is None else fused
    for stage in stages:
        if not stage.inlined:
            assert isinstance(stage.op, ComputeOp)
            stage.compute_at(out, at)
            lanes = next((lanes for lanes in LANES if stage.tensor.shape[3] % lanes == 0), 1)
            stage.vectorize(stage.split(stage.op.axis[3], factor=lanes)[1])


def _tiles(out: Stage, vectors: int, rows: int, columns: int) -> IterVar:
    """Split the output [N,O/b,H,W,b] into tiles, each vector by vector; returns the loop over tiles."""
    assert isinstance(out.op, ComputeOp)
    n, c, h, w, i = out.op.axis
    io, ii = out.split(i, factor=vectors * amx.LANES)
    iv, lane = out.split(ii, factor=amx.LANES)
    ho, hi = out.split(h, factor=rows)
    wo, wi = out.split(w, factor=columns)
    out.reorder(n, c, io, ho, wo, iv, hi, wi, lane)
    out.vectorize(lane)
    parallelize(out, [n, c, io, ho])
    return wo


def _copy(schedule: Schedule, conv: Stage) -> None:
    """The input's padded copy: rows of channels in whole vectors, on all threads."""
    for stage in schedule.stages:
        if not isinstance(stage.op, ComputeOp) or not schedule.reads(conv, stage) or stage is conv:
            continue
        if schedule.readers_of(stage) != [conv]:
            stage.compute_inline()
            continue
        n, c, h, _, lane = stage.op.axis
        if lane.extent in (4, 16, 32, _COPIED):
            stage.vectorize(lane)
        parallelize(stage, [n, c, h])
