"""Direct convolution on channels in blocks: a tile of pixels by vectors of channels stays in registers.

Every output element is a sum over input channels and the window; one input element, spread over a vector, is multiplied
with one vector of weights for as many output channels. Weights come packed in the order in which they are read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from compiler.backend.cpu.parallel import TASKS, parallelize
from compiler.backend.cpu.processor import Processor
from compiler.ir import Expr
from compiler.ops.compute import PADDING, WINDOW
from compiler.ops.compute.indexing import padded_window
from compiler.ops.registry import Attrs
from compiler.te.schedule import Schedule
from compiler.te.stage import Stage
from compiler.te.tensor import ComputeOp, Tensor, compute, reduce_axis
from compiler.te.tensor import sum as te_sum
from compiler.tune.space import Knobs

#: the tag of a dense convolution's stage
DIRECT = "cpu.direct"
#: what is outermost around the tiles of an output: channels, rows of pixels, or pixels
ORDERS = ("channels", "rows", "pixels")
# So many multiply-accumulates are written out at most.
_UNROLLED = 128


def blocked_conv2d(inputs: Sequence[Tensor], attrs: Attrs, shape: Sequence[int], processor: Processor) -> Tensor:
    """Convolution, dense or depthwise, with blocked output.

    A dense one is computed for a few more rows and columns than asked for, where the output's own have no good tiles.

    Args:
        inputs: x [N,C/b,H,W,b] or, dense only, [N,C,H,W]; w [O/v,C/b,kh,kw,b,v], [O/v,C,kh,kw,v] for an x without
            blocks or [C/v,1,kh,kw,v] depthwise; perhaps a bias [O].
        attrs: of the graph's conv2d.
        shape: of the output, [N,O/v,H',W',v].
    """
    x, w = inputs[0], inputs[1]
    (sh, sw), (dh, dw) = attrs["strides"], attrs["dilations"]
    kh, kw = w.shape[2:4]
    rh, rw = reduce_axis(kh, "rh"), reduce_axis(kw, "rw")
    if attrs["groups"] > 1:
        source = padded_window(x, attrs["pads"], attrs["pad_value"])

        def depthwise(n: Expr, c: Expr, h: Expr, w_: Expr, lane: Expr) -> Expr:
            pixel = source[n, c, h * sh + rh * dh, w_ * sw + rw * dw, lane]
            return te_sum(pixel * w[c, 0, rh, rw, lane], axis=(rh, rw))

        result = compute(shape, depthwise, "conv2d", tag=WINDOW)
    else:
        height, width = tileable(shape, processor.registers)
        top, left, bottom, right = attrs["pads"]
        bottom = max(bottom, (height - 1) * sh + (kh - 1) * dh + 1 - x.shape[2] - top)
        right = max(right, (width - 1) * sw + (kw - 1) * dw + 1 - x.shape[3] - left)
        source = padded_window(x, (top, left, bottom, right), attrs["pad_value"])
        rc = reduce_axis(w.shape[1], "rc")
        inner = (reduce_axis(x.shape[4], "ri"),) if x.ndim == 5 else ()

        def dense(n: Expr, o: Expr, h: Expr, w_: Expr, lane: Expr) -> Expr:
            pixel = source[(n, rc, h * sh + rh * dh, w_ * sw + rw * dw, *inner)]
            return te_sum(pixel * w[(o, rc, rh, rw, *inner, lane)], axis=(rc, rh, rw, *inner))

        result = compute((*shape[:2], height, width, shape[4]), dense, "conv2d", tag=DIRECT)
    if len(inputs) == 2:
        whole = result.shape == tuple(shape)
        return result if whole else compute(shape, lambda *i: result[i], "conv2d_inside")
    bias, block = inputs[2], shape[4]
    return compute(shape, lambda n, o, h, w_, v: result[n, o, h, w_, v] + bias[o * block + v], "conv2d_bias")


@dataclass(frozen=True)
class Tile:
    """Output elements held in registers: `rows` x `columns` pixels by `vectors` vectors of channels."""

    vectors: int
    rows: int
    columns: int

    @property
    def registers(self) -> int:
        """Accumulators, the weights of a step and the input element."""
        return self.vectors * (self.rows * self.columns + 1) + 1


def tiles(blocks: int, height: int, width: int, registers: int) -> list[Tile]:
    """The tiles that fit the registers and divide the output, the one expected to be fastest first."""
    found = []
    for vectors in (d for d in range(1, 5) if blocks % d == 0):
        for columns in (d for d in range(1, registers) if width % d == 0):
            for rows in (d for d in range(1, 5) if height % d == 0):
                tile = Tile(vectors, rows, columns)
                if tile.registers <= registers and (rows == 1 or columns == width):
                    found.append(tile)
    return sorted(found, key=_cost)


def _cost(tile: Tile) -> float:
    """Cycles a multiply-accumulate, relative: two products and two loads a cycle, four cycles until a sum is ready."""
    pixels = tile.rows * tile.columns
    products = pixels * tile.vectors
    return (max(products, pixels + tile.vectors, 8) + 0.3 * (pixels + 2 * tile.vectors)) / products


def tileable(shape: Sequence[int], registers: int) -> tuple[int, int]:
    """Height and width, not less than those of an output [N,O/v,H,W,v], for which the tiles waste least."""
    _, blocks, height, width, _ = shape
    sizes = [(h, w) for h in range(height, height + 4) for w in range(width, width + 4)]
    return min(sizes, key=lambda size: _cost(tiles(blocks, *size, registers)[0]) * math.prod(size))


def tile_of(blocks: int, height: int, width: int, processor: Processor, knobs: Knobs) -> Tile:
    """The tile that `knobs` choose."""
    fitting = tiles(blocks, height, width, processor.registers)
    return Tile(*knobs.choice("tile", [(t.vectors, t.rows, t.columns) for t in fitting]))


def schedule_direct(schedule: Schedule, conv: Stage, out: Stage, processor: Processor, knobs: Knobs) -> None:
    """Tile `out`, the last stage of the group, and compute the convolution and its tile's epilogue in registers."""
    n, o, h, w, lane = out.op.axis  # pyright: ignore[reportAttributeAccessIssue]
    _schedule_padding(schedule)
    _, _, height, width, _ = conv.tensor.shape
    tile = tile_of(o.extent, height, width, processor, knobs)
    oo, oi = out.split(o, factor=tile.vectors)
    ho, hi = out.split(h, factor=tile.rows)
    wo, wi = out.split(w, factor=tile.columns)
    outer = {"channels": (oo, ho, wo), "rows": (ho, oo, wo), "pixels": (ho, wo, oo)}[knobs.choice("order", ORDERS)]
    out.reorder(n, *outer, hi, wi, oi, lane)
    for axis in (hi, wi, oi):
        out.unroll(axis)
    out.vectorize(lane)
    conv.compute_at(out, outer[2])
    parallelize(out, [n, *outer[:2]], knobs.choice("tasks", TASKS))
    _, co, ch, cw, clane = conv.op.axis  # pyright: ignore[reportAttributeAccessIssue]
    rc, rh, rw, *inner = conv.op.reduce_axis
    window_inside = knobs.choice("reduction", ("window inside", "channels inside")) == "window inside"
    conv.reorder(*((rc, rh, rw) if window_inside else (rh, rw, rc)), *inner, ch, cw, co, clane)
    for axis in (ch, cw, co):
        conv.unroll(axis)
    conv.vectorize(clane)


def _schedule_padding(schedule: Schedule) -> None:
    """Copy a padded input with channels in blocks vector by vector."""
    for stage in schedule.stages:
        if isinstance(stage.op, ComputeOp) and stage.op.tag == PADDING and stage.tensor.ndim == 5:
            n, c, h, _, lane = stage.op.axis
            stage.vectorize(lane)
            parallelize(stage, [n, c, h])


def schedule_window(schedule: Schedule, anchor: Stage, out: Stage, processor: Processor, knobs: Knobs) -> None:
    """Depthwise convolution and pooling: a row's tile of pixels in registers, padding chosen at each load, the window's
    columns unrolled so that neighbours share loads."""
    for stage in schedule.stages:
        if isinstance(stage.op, ComputeOp) and stage.op.tag == PADDING:
            stage.compute_inline()
    n, c, h, w, lane = out.op.axis  # pyright: ignore[reportAttributeAccessIssue]
    sizes = [d for d in range(1, processor.registers // 2 + 1) if w.extent % d == 0]
    wo, wi = out.split(w, factor=knobs.choice("columns", sizes[::-1]))
    outer = (c, h) if knobs.choice("order", ORDERS[:2]) == "channels" else (h, c)
    out.reorder(n, *outer, wo, wi, lane)
    out.unroll(wi)
    out.vectorize(lane)
    anchor.compute_at(out, wo)
    parallelize(out, [n, *outer], knobs.choice("tasks", TASKS))
    _, _, _, cw, clane = anchor.op.axis  # pyright: ignore[reportAttributeAccessIssue]
    rh, rw = anchor.op.reduce_axis
    anchor.reorder(rh, rw, cw, clane)
    anchor.unroll(cw)
    if knobs.choice("window", ("unrolled", "loop")) == "unrolled" and cw.extent * rw.extent <= _UNROLLED:
        anchor.unroll(rw)
    anchor.vectorize(clane)
