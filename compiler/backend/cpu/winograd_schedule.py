"""The schedule of Winograd's convolutions: transform tiles, multiply, transform back with what follows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from compiler.backend.cpu.convolution import LANES, Tile, load_vectors, tiles_to_try
from compiler.backend.cpu.direct import CODE_SIZE, in_registers
from compiler.backend.cpu.nest import Nest
from compiler.backend.cpu.parallel import parallelize
from compiler.backend.cpu.processor import Processor
from compiler.backend.cpu.winograd import INPUT, INPUT_ROWS, OUTPUT_ROWS, PRODUCTS
from compiler.ir import ITEM_BYTES
from compiler.te.schedule import Schedule
from compiler.te.stage import Stage
from compiler.te.tensor import ComputeOp, IterVar
from compiler.te.tiling import divisor
from compiler.tune.space import Knobs, Values

ProductsSchedule = Callable[[Schedule, Stage, Processor, Knobs], None]
"""Of the stage of products, all of them in one pass."""


def schedule_winograd(schedule: Schedule, anchor: Stage, out: Stage, processor: Processor, knobs: Knobs) -> None:
    """The passes of a float32 convolution, with the group's epilogue in the last one."""
    schedule_passes(schedule, anchor, out, processor, knobs, _schedule_products)


def schedule_passes(
    schedule: Schedule, anchor: Stage, out: Stage, processor: Processor, knobs: Knobs, products: ProductsSchedule
) -> None:
    """Three parallel passes; `anchor` is what `winograd.transformed_output` made."""
    if anchor is not out:
        anchor.compute_inline()
    half_y = _reads(schedule, anchor, OUTPUT_ROWS)
    sums = _reads(schedule, half_y, PRODUCTS)
    v, m = _reads(schedule, sums, INPUT), half_y.tensor.shape[2]
    _schedule_output(out, half_y, m, processor, knobs)
    products(schedule, sums, processor, knobs)
    _schedule_input(schedule, v, -(-out.tensor.shape[3] // m), processor, knobs)


def _schedule_output(out: Stage, half_y: Stage, m: int, processor: Processor, knobs: Knobs) -> None:
    n, o, h, w, i = _axes(out)
    vectors, lane = _vectors(out, i, half_y.tensor.dtype, processor)
    ho, hi = out.split(h, factor=m)
    wo, wi = out.split(w, factor=m)
    out.reorder(n, o, ho, wo, vectors, hi, wi, lane)
    in_registers(out, [hi, wi], lane)
    _tile_in_registers(half_y, out, vectors)
    outward = knobs.choice("output order", ("channels", "rows"))
    if outward == "rows":
        out.reorder(n, ho, o)
    parallelize(out, [n, o, ho] if outward == "channels" else [n, ho, o])


def _schedule_products(schedule: Schedule, products: Stage, processor: Processor, knobs: Knobs) -> None:
    """A tile of tiles by vectors of channels in registers, as of a convolution's pixels."""
    (v,) = (tensor for tensor in products.op.inputs if tensor.name == INPUT)
    accumulators = schedule[schedule.cache_write(products.tensor, "local")]
    a, o, t, lane = _axes(products)
    blocks, tiles = o.extent, t.extent
    fitting = tiles_to_try(blocks, 1, tiles, processor)

    def sizes(at: Values) -> Mapping[str, int]:
        return {"o": blocks // at["tile"][0], "t": tiles // at["tile"][2]}

    tile = Tile(*knobs.choice("tile", [(f.vectors, f.rows, f.columns) for f in fitting]))
    nest = Nest.ask(knobs, sizes, ("ot", "to"))
    assert isinstance(accumulators.op, ComputeOp)
    rc, ri = accumulators.op.reduce_axis
    unrolls = (LANES, 1, 2) if processor.by_lane else (1, 2, 4, 8)
    unroll = knobs.choice("unroll", [u for u in unrolls if ri.extent % u == 0])
    knobs.require("unrolled code is short", lambda at: math.prod(at["tile"]) * at["unroll"] <= CODE_SIZE)
    oo, oi = products.split(o, factor=tile.vectors)
    to, ti = products.split(t, factor=tile.columns)
    loops = nest.arrange(products, {"o": oo, "t": to})
    products.reorder(a, *loops, ti, oi, lane)
    in_registers(products, (ti, oi), lane)
    accumulators.compute_at(products, nest.parallelize(products, a, loops, len(loops) - 1))
    _, ao, at, alane = _axes(accumulators)
    step, written = accumulators.split(ri, factor=unroll)
    accumulators.unroll(written)
    accumulators.reorder(rc, step, written, at, ao, alane)
    in_registers(accumulators, (at, ao), alane)
    if processor.by_lane and unroll == LANES:
        load_vectors(schedule, v, accumulators, rc)


def _schedule_input(schedule: Schedule, v: Stage, columns: int, processor: Processor, knobs: Knobs) -> None:
    half_v = _reads(schedule, v, INPUT_ROWS)
    source = next(schedule[tensor] for tensor in half_v.op.inputs)
    a, c, t, i = _axes(v)
    vectors, lane = _vectors(v, i, v.tensor.dtype, processor)
    to, ti = v.split(t, factor=divisor(t.extent, columns))
    v.reorder(c, to, ti, vectors, a, lane)
    in_registers(v, [a], lane)
    _tile_in_registers(half_v, v, vectors)
    _tile_in_registers(source, v, vectors)
    inward = knobs.choice("input order", ("channels", "rows"))
    if inward == "rows":
        v.reorder(to, c)
    parallelize(v, [c, to] if inward == "channels" else [to, c])


def _tile_in_registers(stage: Stage, user: Stage, loop: IterVar) -> None:
    """What one iteration of the user's loop reads of a stage, two axes of vectors of lanes, just before it is read."""
    stage.compute_at(user, loop)
    _, _, rows, columns, lane = _axes(stage)
    in_registers(stage, [rows, columns], lane)


def _vectors(stage: Stage, axis: IterVar, dtype: str, processor: Processor) -> tuple[IterVar, IterVar]:
    """A block of channels as vectors of a type, and their lanes."""
    return stage.split(axis, factor=min(axis.extent, processor.vector_bytes // ITEM_BYTES[dtype]))


def _axes(stage: Stage) -> tuple[IterVar, ...]:
    assert isinstance(stage.op, ComputeOp)
    return tuple(stage.op.axis)


def _reads(schedule: Schedule, stage: Stage, name: str) -> Stage:
    """The stage of that name which `stage` reads."""
    return next(schedule[tensor] for tensor in stage.op.inputs if tensor.name == name)
