"""Direct convolution on channels in blocks: a tile of pixels by vectors of channels stays in registers.

Every output element is a sum over input channels and the window; one input element, spread over a vector, is multiplied
with one vector of weights for as many output channels. Weights come packed in the order in which they are read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from compiler.backend.cpu.parallel import parallelize
from compiler.backend.cpu.processor import Processor
from compiler.ir import Expr
from compiler.ops.compute import PADDING, WINDOW
from compiler.ops.compute.indexing import padded_window
from compiler.ops.registry import Attrs
from compiler.te.schedule import Schedule
from compiler.te.stage import Stage
from compiler.te.tensor import ComputeOp, IterVar, Tensor, compute, reduce_axis
from compiler.te.tensor import sum as te_sum
from compiler.te.tiling import divisor
from compiler.tune.space import Knobs

#: the tag of a dense convolution's stage
DIRECT = "cpu.direct"
#: input channels of a vector that is multiplied by lane
LANES = 4
# Sums side by side that keep the multipliers busy most of the time.
_FEWEST = 6


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
        height, width = tileable(shape, processor)
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
    def pixels(self) -> int:
        """Of all its rows."""
        return self.rows * self.columns

    def registers(self, by_lane: bool = False) -> int:
        """Accumulators, the weights of a step and the input element; or by lane every pixel's vector of them."""
        return self.vectors * (self.pixels + 1) + (self.pixels if by_lane else 1)


def tiles(blocks: int, height: int, width: int, processor: Processor) -> list[Tile]:
    """The tiles that fit the registers and divide the output, the one expected to be fastest first."""
    found = []
    for vectors in (d for d in range(1, 5) if blocks % d == 0):
        for columns in (d for d in range(1, processor.registers) if width % d == 0):
            for rows in (d for d in range(1, 5) if height % d == 0):
                tile = Tile(vectors, rows, columns)
                fits = tile.registers(processor.by_lane) <= processor.registers
                if fits and (rows == 1 or columns == width):
                    found.append(tile)
    return sorted(found, key=lambda tile: _cost(tile, processor))


def tiles_to_try(blocks: int, height: int, width: int, processor: Processor) -> list[Tile]:
    """All tiles that may be fast, the one expected to be fastest first: also those of several rows and some columns.
    Less than `_FEWEST` sums leave the multipliers waiting for each other most of the time."""
    found = tiles(blocks, height, width, processor)
    for vectors in (d for d in range(1, 9) if blocks % d == 0):
        for rows in (d for d in range(1, processor.registers) if height % d == 0):
            for columns in (d for d in range(1, processor.registers) if width % d == 0):
                tile = Tile(vectors, rows, columns)
                if tile.registers(processor.by_lane) <= processor.registers and tile not in found:
                    found.append(tile)
    enough = [tile for tile in found if tile.vectors * tile.pixels >= _FEWEST]
    return sorted(enough, key=lambda tile: _cost(tile, processor)) if enough else found


def _cost(tile: Tile, processor: Processor) -> float:
    """Cycles a multiply-accumulate, relative: two products and two loads a cycle, four cycles until a sum is ready; or
    by lane, where loads take turns with products and one of pixels serves `LANES` steps."""
    products = tile.pixels * tile.vectors
    if processor.by_lane:
        return (max(products, 8) + tile.pixels / LANES + tile.vectors) / products
    return (max(products, tile.pixels + tile.vectors, 8) + 0.3 * (tile.pixels + 2 * tile.vectors)) / products


def tileable(shape: Sequence[int], processor: Processor) -> tuple[int, int]:
    """Height and width, not less than those of an output [N,O/v,H,W,v], for which the tiles waste least."""
    _, blocks, height, width, _ = shape
    sizes = [(h, w) for h in range(height, height + 4) for w in range(width, width + 4)]
    return min(sizes, key=lambda size: _cost(tiles(blocks, *size, processor)[0], processor) * math.prod(size))


def tile_of(blocks: int, height: int, width: int, processor: Processor, knobs: Knobs) -> Tile:
    """The tile that `knobs` choose."""
    fitting = tiles(blocks, height, width, processor)
    return Tile(*knobs.choice("tile", [(t.vectors, t.rows, t.columns) for t in fitting]))


def load_vectors(schedule: Schedule, source: Tensor, sums: Stage, loop: IterVar) -> None:
    """Let `sums` read `source` in whole vectors of input channels, loaded in `loop`, and use them lane by lane in loops
    that are unrolled: one load where broadcasting took as many as there are channels."""
    vectors = schedule[schedule.cache_read(source, "local", [sums])]
    vectors.compute_at(sums, loop)
    *pixels, lane = vectors.op.axis  # pyright: ignore[reportAttributeAccessIssue]
    for axis in pixels:
        vectors.unroll(axis)
    vectors.vectorize(lane)


def schedule_padding(schedule: Schedule, unrolled: bool = False) -> None:
    """Copy a padded input that is stored, row by row in parallel; with channels in blocks vector by vector, `unrolled`:
    several at a time."""
    for stage in schedule.stages:
        stored = isinstance(stage.op, ComputeOp) and stage.op.tag == PADDING and not stage.inlined
        if stored and stage.tensor.ndim == 5:
            n, c, h, w, lane = stage.op.axis
            stage.vectorize(lane)
            if unrolled:
                _, inside = stage.split(w, factor=divisor(w.extent, 8))
                stage.unroll(inside)
            parallelize(stage, [n, c, h])
        elif stored and stage.tensor.ndim == 4:
            parallelize(stage, stage.op.axis[:3])
