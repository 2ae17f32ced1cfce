"""The schedule of a direct convolution, and the decisions that tuning may take about it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from compiler.backend.cpu.convolution import LANES, Tile, load_vectors, schedule_padding, tiles_to_try
from compiler.backend.cpu.nest import Nest, orders
from compiler.backend.cpu.processor import Processor
from compiler.ops.compute import PADDING
from compiler.te.schedule import Schedule
from compiler.te.stage import Stage
from compiler.te.tensor import ComputeOp, IterVar
from compiler.tune.space import Knobs, Values

#: statements that a loop's body has at most
CODE_SIZE = 256
# Sums of a block of tiles lie on the stack of whoever computes them.
_HELD_BYTES = 32 << 10
_REDUCTIONS = {"window inside": "chw", "channels inside": "hwc"}
_INPUT_PARTS = (1, 4)
# A padded input of which a tile of channels reads each vector so often is copied: each time a choice at the load costs
# as much, but a copy waits for all threads, and moves rows from one's cache to another's.
_READ_AGAIN = 4


@dataclass(frozen=True)
class Decisions:
    """How a direct convolution is computed.

    tile: what is held in registers. nest: the loops around it. input_parts: into how many parts the input channels are
    cut; with more than one, sums are held in memory between the parts, those of the innermost `held` loops together.
    reduction: order of input channels and window. unroll: input channels written out after each other. padding: when
    the padded copy of the input is made.
    """

    tile: Tile
    nest: Nest
    input_parts: int
    held: int
    reduction: str
    unroll: int
    padding: str


def schedule_direct(schedule: Schedule, conv: Stage, out: Stage, processor: Processor, knobs: Knobs) -> None:
    """Tile `out`, the last stage of the group, and compute the convolution and its tile's epilogue in registers."""
    source = next((stage for stage in schedule.stages if _is_padding(stage)), None)
    how = _ask(conv, out, source, processor, knobs)
    n, o, h, w, lane = _axes(out)
    outer, inner = _tile(out, (o, h, w), how.tile)
    loops = how.nest.arrange(out, outer)
    out.reorder(n, *loops, *inner, lane)
    in_registers(out, inner, lane)

    partial = conv
    if how.input_parts > 1:
        parts, _ = conv.split(_reduce_axes(conv)[0], nparts=how.input_parts)
        partial = schedule[schedule.rfactor(conv.tensor, parts)]
    position = len(loops) - 1 - (how.held if how.input_parts > 1 else 0)
    copied = how.padding == "with its rows"
    task = how.nest.parallelize(out, n, loops, 0 if copied else position)
    conv.compute_at(out, loops[position] if copied and position else task)
    if source is not None and how.padding == "at the load":
        source.compute_inline()
    elif source is not None and copied:
        source.compute_at(out, task)
        source.vectorize(_axes(source)[-1])
    else:
        schedule_padding(schedule, unrolled=processor.by_lane)
    if partial is not conv:
        _, o, h, w, lane = _axes(conv)
        outer, inner = _tile(conv, (o, h, w), how.tile)
        inside = how.nest.order[-how.held :]
        held = [outer[letter] for letter in inside]
        rest = [axis for letter, axis in outer.items() if letter not in inside]
        (part,) = _reduce_axes(conv)
        conv.reorder(part, *rest, *held, *inner, lane)
        in_registers(conv, inner, lane)
        partial.compute_at(conv, held[-1])
    loop = _sum_in_registers(partial, how)
    vectors = next((tensor for tensor in partial.op.inputs if tensor.ndim == 5), None)
    if processor.by_lane and vectors is not None and how.unroll == LANES:
        load_vectors(schedule, vectors, partial, loop)


def _ask(conv: Stage, out: Stage, source: Stage | None, processor: Processor, knobs: Knobs) -> Decisions:
    _, blocks, height, width, lanes = conv.tensor.shape
    channels, kh, kw, *block = [axis.extent for axis in _reduce_axes(conv)]
    window = kh * kw > 1
    rows, columns = out.tensor.shape[2:4]
    fitting = tiles_to_try(blocks, height, width, processor)

    def sizes(at: Values) -> Mapping[str, int]:
        vectors, high, wide = at["tile"]
        return {"o": blocks // vectors, "h": -(-rows // high), "w": -(-columns // wide)}

    tile = Tile(*knobs.choice("tile", [(t.vectors, t.rows, t.columns) for t in fitting]))
    image, weights = conv.op.inputs
    nest = Nest.ask(knobs, sizes, orders(math.prod(image.shape) > math.prod(weights.shape)))
    parts = knobs.choice("input parts", [p for p in _INPUT_PARTS if channels % p == 0])
    held = knobs.choice("held", (1, 2))
    reduction = knobs.choice("reduction", tuple(_REDUCTIONS) if window else tuple(_REDUCTIONS)[:1])
    unrolls = (LANES, 1) if processor.by_lane else (1, 4)
    unroll = knobs.choice("unroll", [u for u in unrolls if (block or [1])[0] % u == 0])
    times = ("before", "with its rows", "at the load") if source is not None else ("before",)
    if source is not None and not processor.by_lane:
        reads = math.prod((kh, kw, height, width)) / math.prod(source.tensor.shape[2:4])
        # Few channels, which are not in blocks, would be copied element by element.
        if reads < _READ_AGAIN or not block:
            times = ("at the load", *times[:2])
    padding = knobs.choice("padding", times)

    def holds(at: Values) -> bool:
        if at["input parts"] == 1:
            return at["held"] == 1
        vectors, high, wide = at["tile"]
        extents = Nest(at["order"], at["parts"]).extents(sizes(at))[-at["held"] :]
        count = vectors * high * wide * math.prod(extent for _, extent in extents)
        return 1 < extents[0][1] and 4 * lanes * count <= _HELD_BYTES

    def written_out(at: Values) -> bool:
        vectors, high, wide = at["tile"]
        return vectors * high * wide * at["unroll"] <= CODE_SIZE

    def copied_once(at: Values) -> bool:
        if at["padding"] != "with its rows":
            return True
        return (at["order"][1] if at["parts"] > 1 else at["order"][0]) == "h"

    knobs.require("sums between parts of the input fit the stack, and hold more than a tile", holds)
    knobs.require("unrolled code is short", written_out)
    knobs.require("rows of the padded copy are made once", copied_once)
    return Decisions(tile, nest, parts, held, reduction, unroll, padding)


def _tile(stage: Stage, axes: Sequence[IterVar], tile: Tile) -> tuple[dict[str, IterVar], list[IterVar]]:
    """Split channels, rows and columns of a stage: the loops around the tiles by letter, those inside in order."""
    o, h, w = axes
    oo, oi = stage.split(o, factor=tile.vectors)
    ho, hi = stage.split(h, factor=tile.rows)
    wo, wi = stage.split(w, factor=tile.columns)
    return {"o": oo, "h": ho, "w": wo}, [hi, wi, oi]


def _sum_in_registers(conv: Stage, how: Decisions) -> IterVar:
    """One tile of sums: the reduction's loops around it, written out as far as that is wanted; the innermost loop over
    channels' blocks and window."""
    *_, co, ch, cw, lane = _axes(conv)
    channels, rows, columns, *inner = _reduce_axes(conv)
    axes = {"c": channels, "h": rows, "w": columns}
    order = [axes[letter] for letter in _REDUCTIONS[how.reduction]]
    if how.unroll > 1:
        outer, written = conv.split(inner[0], factor=how.unroll)
        conv.unroll(written)
        inner = [outer, written]
    conv.reorder(*order, *inner, ch, cw, co, lane)
    in_registers(conv, (ch, cw, co), lane)
    return order[-1]


def in_registers(stage: Stage, axes: Sequence[IterVar], lane: IterVar) -> None:
    """Unroll the loops over registers, each of them a vector."""
    for axis in axes:
        stage.unroll(axis)
    stage.vectorize(lane)


def _is_padding(stage: Stage) -> bool:
    return isinstance(stage.op, ComputeOp) and stage.op.tag == PADDING


def _axes(stage: Stage) -> tuple[IterVar, ...]:
    assert isinstance(stage.op, ComputeOp)
    return tuple(stage.op.axis)


def _reduce_axes(stage: Stage) -> tuple[IterVar, ...]:
    """Those of the stage as it is now."""
    assert isinstance(stage.op, ComputeOp)
    return tuple(stage.op.reduce_axis)
