"""Channels into blocks and out of them, by the interleaved loads and stores that some processors have."""

from __future__ import annotations

from compiler.backend.cpu.parallel import parallelize
from compiler.backend.cpu.processor import Processor
from compiler.te.schedule import Schedule
from compiler.te.stage import Stage
from compiler.te.tensor import ComputeOp
from compiler.te.tiling import divisor

#: the name of the expressions that only change a layout
NAME = "layout_transform"
# Pixels of a vector, and so many vectors of each channel in a step of the loop.
_LANES = 4
_UNROLLED = 4


def applies(schedule: Schedule, stage: Stage, processor: Processor) -> bool:
    """Whether a group only stores [N,C/b,H,W,b] as [N,C,H,W] or the other way round, and a block is a structure that
    the processor loads and stores as so many vectors."""
    if stage.op.name != NAME or len(schedule.stages) != 2:
        return False
    plain, blocked = sorted((*stage.op.inputs, stage.tensor), key=lambda tensor: tensor.ndim)
    return (plain.ndim, blocked.ndim) == (4, 5) and blocked.shape[4] in processor.interleaved


def schedule_blocks(out: Stage) -> None:
    """All channels of a block at once, pixel by pixel, rows without a break. Into blocks whole vectors of pixels are
    written as structures, some of them after each other; elsewhere LLVM makes vectors of the pixels."""
    assert isinstance(out.op, ComputeOp)
    n, c, h, w, *channel = out.op.axis
    blocked = bool(channel)
    if not blocked:
        c, inside = out.split(c, factor=out.op.inputs[0].shape[4])
        channel = [inside]
    out.reorder(n, c, h, w, *channel)
    out.unroll(channel[0])
    pixels = out.fuse(h, w)
    if blocked and pixels.extent % _LANES == 0:
        vectors, lane = out.split(pixels, factor=_LANES)
        _, after = out.split(vectors, factor=divisor(vectors.extent, _UNROLLED))
        out.reorder(after, *channel, lane)
        out.unroll(after)
        out.vectorize(lane)
    parallelize(out, [n, c])
