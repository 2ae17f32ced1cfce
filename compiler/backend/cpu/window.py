"""The schedule of depthwise convolution and pooling, and the decisions that tuning may take about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from compiler.backend.cpu.convolution import schedule_padding
from compiler.backend.cpu.direct import CODE_SIZE, in_registers
from compiler.backend.cpu.nest import Nest, orders
from compiler.backend.cpu.processor import Processor
from compiler.ops.compute import PADDING
from compiler.te.schedule import Schedule
from compiler.te.stage import Stage
from compiler.te.tensor import ComputeOp
from compiler.tune.space import Knobs, Values

# So many multiply-accumulates are written out unless tuning finds more to be better.
_UNROLLED = 128
# A padded input that is read so many times may better be stored.
_READ_AGAIN = 2
# Registers for what is loaded, beside the sums.
_LOADED = 8
# With so many sums side by side none waits for the one before.
_SIDE_BY_SIDE = 8


def schedule_window(schedule: Schedule, anchor: Stage, out: Stage, processor: Processor, knobs: Knobs) -> None:
    """A tile of pixels in registers, padding chosen at each load. By default the tile is the one that loads least for
    its size with all of the window written out, so that neighbours share loads; where that would be long code, or loads
    are part of the products, a row's pixels with the window's columns written out."""
    assert isinstance(out.op, ComputeOp) and isinstance(anchor.op, ComputeOp)
    n, c, h, w, lane = out.op.axis
    rh, rw = anchor.op.reduce_axis
    source = next((s for s in schedule.stages if isinstance(s.op, ComputeOp) and s.op.tag == PADDING), None)
    window = rh.extent, rw.extent
    tiles = _tiles(h.extent, w.extent, processor.registers)
    whole = None if processor.by_lane else _least_loads(tiles, window)
    if whole is not None:
        tiles = [whole, *(tile for tile in tiles if tile != whole)]

    def sizes(at: Values) -> Mapping[str, int]:
        rows, columns = at["tile"]
        return {"o": c.extent, "h": h.extent // rows, "w": w.extent // columns}

    rows, columns = knobs.choice("tile", tiles)
    # As the convolutions around it, if they keep its channels.
    nest = Nest.ask(knobs, sizes, orders(h.extent * w.extent > c.extent * lane.extent))
    written = {"columns": rw.extent, "none": 1, "all": rh.extent * rw.extent}
    if whole is not None:
        first = "all"
    else:
        first = "columns" if tiles[0][0] * tiles[0][1] * rw.extent <= _UNROLLED else "none"
    unrolled = knobs.choice("unrolled", (first, *(name for name in written if name != first)))
    times = ("at the load", "before") if source is not None else ("before",)
    # A choice costs three instructions, a vector's copy five or six, where they are not hidden behind loads.
    if source is not None and processor.by_lane and rh.extent * h.extent >= _READ_AGAIN * source.tensor.shape[2]:
        times = times[::-1]
    padding = knobs.choice("padding", times)
    rows_outside = knobs.choice("reduction", ("rows outside", "columns outside")) == "rows outside"
    knobs.require(
        "unrolled code is short",
        lambda at: at["unrolled"] == first or at["tile"][0] * at["tile"][1] * written[at["unrolled"]] <= CODE_SIZE,
    )

    if source is not None and padding == "at the load":
        source.compute_inline()
    else:
        schedule_padding(schedule, unrolled=processor.by_lane)
    ho, hi = out.split(h, factor=rows)
    wo, wi = out.split(w, factor=columns)
    loops = nest.arrange(out, {"o": c, "h": ho, "w": wo})
    out.reorder(n, *loops, hi, wi, lane)
    in_registers(out, (hi, wi), lane)
    anchor.compute_at(out, nest.parallelize(out, n, loops, len(loops) - 1))
    _, _, ch, cw, clane = anchor.op.axis
    written_out = {"columns": [rw], "none": [], "all": [rh, rw]}[unrolled]
    around = [rh, rw] if rows_outside else [rw, rh]
    # Pixel by pixel, what neighbours share is used before another pixel's is loaded.
    inside = [rw] if rows_outside and rw in written_out else []
    anchor.reorder(*(axis for axis in around if axis not in inside), ch, cw, *inside, clane)
    in_registers(anchor, (ch, cw), clane)
    for axis in written_out:
        anchor.unroll(axis)


def _tiles(height: int, width: int, registers: int) -> list[tuple[int, int]]:
    """Rows and columns of the tiles that divide the output, the default first: most columns of one row."""
    columns = [d for d in range(registers // 2, 0, -1) if width % d == 0]
    rows = [d for d in range(2, registers) if height % d == 0]
    return [(1, d) for d in columns] + [(r, d) for r in rows for d in columns if r * d <= registers - _LOADED]


def _least_loads(tiles: Sequence[tuple[int, int]], window: tuple[int, int]) -> tuple[int, int] | None:
    """Of the tiles for which the whole window can be written out, the one that reads the smallest region for its size
    (as with stride 1; the others order tiles alike); None if it leaves sums waiting for each other."""

    def loads(tile: tuple[int, int]) -> float:
        return (tile[0] + window[0] - 1) * (tile[1] + window[1] - 1) / (tile[0] * tile[1])

    fitting = [tile for tile in tiles if tile[0] * tile[1] * window[0] * window[1] <= CODE_SIZE]
    best = min(fitting, key=loads, default=(0, 0))
    return best if best[0] * best[1] >= min(_SIDE_BY_SIDE, tiles[0][0] * tiles[0][1]) else None
