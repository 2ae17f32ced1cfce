"""Winograd's filtering of int8, exact: for processors whose products of int8 are not much faster than those of int16.

The matrices of `winograd`, made whole by factors of the weights' rows, make int16 of int8. Products of int16 are summed
in int32 modulo 2^32, and so is what the last transform makes of the sums: `scale` times the convolution's sum. That
sum is left by a product with the inverse of the scale's odd part modulo 2^32 and a shift by its power of two, 2^n, if
it has n bits less than int32: 30 of F(2x2), whose scale is 4, and 26 of F(4x4), whose scale is 576 = 2^6 * 9. With C
input channels a sum is at most 9 * 2^14 * C: whatever the weights, F(2x2) is exact up to 3640 channels and F(4x4) up to
227; with given weights as far as `fits` says, which is far beyond that for those of a network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from compiler.backend.cpu import amx, winograd
from compiler.backend.cpu.direct import in_registers
from compiler.backend.cpu.dot_product import DotProduct, dot_product, dot_product_int16
from compiler.backend.cpu.parallel import parallelize
from compiler.backend.cpu.prefetch import DISTANCE
from compiler.backend.cpu.processor import Processor
from compiler.backend.cpu.winograd import Grid, Transform
from compiler.backend.cpu.winograd_schedule import schedule_passes
from compiler.backend.llvm.prefetch import PREFETCH
from compiler.graph.ir import Node
from compiler.ir import Expr
from compiler.ops.compute import constant
from compiler.ops.registry import Attrs
from compiler.te.schedule import Schedule
from compiler.te.stage import Stage
from compiler.te.tensor import ComputeOp, Tensor, compute, reduce_axis
from compiler.te.tensor import sum as te_sum
from compiler.tune.space import Knobs

WINOGRAD = "cpu.int8.winograd"
_LARGEST = 128


def _whole(transform: Transform, *factors: int) -> Transform:
    """A transform of whole numbers: each row of the weights' matrix times its factor, each column of the outputs' by
    what is left to the factors' common multiple."""
    multiple = math.lcm(*factors)
    weight = tuple(tuple(round(f * value) for value in row) for f, row in zip(factors, transform.weight, strict=True))
    output = tuple(
        tuple(multiple // f * value for f, value in zip(factors, row, strict=True)) for row in transform.output
    )
    return Transform(transform.m, transform.input, weight, output, multiple**2, "int16")


F2 = _whole(winograd.F2, 2, 2, 2, 2)
# A factor of 24 in the last row would make int17 of weights.
F4 = _whole(winograd.F4, 24, 24, 24, 24, 24, 12)


def fits(transform: Transform, weights: np.ndarray) -> bool:
    """Whether sums with these weights [O,...] have as few bits as the transform leaves them, whatever the input."""
    largest = _LARGEST * int(np.abs(weights.astype(np.int64)).reshape(len(weights), -1).sum(axis=1).max(initial=0))
    return largest * (transform.scale & -transform.scale) < 1 << 31


def transform_of(node: Node, processor: Processor) -> Transform | None:
    """The transform that a blocked int8 convolution is computed with; None: it is summed directly.

    Of those that are exact for the weights the one with the fewest cycles, by the products that the processor's
    instructions do, the tiles moved and the weights brought in, if that is fewer than the direct sum takes.
    """
    x, w = node.inputs[:2]
    direct, wide = None if w.const is None else dot_product(processor, w.const), dot_product_int16(processor)
    if w.const is None or direct is None or wide is None or amx.available(processor):
        return None
    if not winograd.applies(w.shape[2:], node.attrs) or x.shape[1] % amx.LANES:
        return None

    def cycles(transform: Transform | None) -> float:
        # As many instructions a cycle as of float32's.
        rate = (direct if transform is None else wide).products * processor.macs_per_cycle / processor.lanes
        return winograd.cycles(transform, x.shape, node.output.shape, processor, rate, 1)

    return min((None, *(t for t in (F2, F4) if fits(t, w.const))), key=cycles)


def convolution(
    node: Node, x: Tensor, attrs: Attrs, shape: Sequence[int], transform: Transform, processor: Processor
) -> Tensor:
    """x [N,C/b,H,W,b] int8 -> [N,O/c,H',W',c] int32, which is `shape`; the weights are those of `node`."""
    weights, instruction = node.inputs[1].const, dot_product_int16(processor)
    assert weights is not None and instruction is not None
    grid = _grid(transform, shape, instruction)
    v = winograd.transformed_input(x, attrs, transform, grid)
    u = constant(_packed(transform, weights, x.shape[4], instruction), "transformed")
    rc, groups = reduce_axis(x.shape[1], "rc"), [reduce_axis(extent, "rq") for extent in u.shape[3:-2]]
    ri = reduce_axis(u.shape[-1], "ri")
    first, *more = (*groups, ri)
    channel: Expr = first
    for axis in more:
        channel = channel * axis.extent + axis

    def product(a: Expr, o: Expr, t: Expr, lane: Expr) -> Expr:
        weight = u[(a, o, rc, *groups, lane, ri)].astype("int32")
        return te_sum(v[a, rc, t, channel].astype("int32") * weight, axis=(rc, *groups, ri))

    extents = (transform.alpha**2, u.shape[1], grid.count, amx.LANES)
    products = compute(extents, product, winograd.PRODUCTS)
    return winograd.transformed_output(products, shape, transform, grid, WINOGRAD)


def _grid(transform: Transform, shape: Sequence[int], instruction: DotProduct) -> Grid:
    """With a few more tiles where their number makes bad tiles of registers."""
    grid = Grid.of(transform, shape)
    _, count = instruction.extent(shape[1] * shape[4] // amx.LANES, 1, grid.count, True)
    return Grid(grid.m, grid.images, grid.rows, grid.columns, count)


def _packed(transform: Transform, weights: np.ndarray, block: int, instruction: DotProduct) -> np.ndarray:
    """Transformed [alpha^2,O/16,C/b,b/2,16,2]: channels as groups of those that the instruction reduces."""
    u = winograd.transformed_weights(transform, weights, block, amx.LANES)
    *groups, last = instruction.reduced
    inner = (block // math.prod(instruction.reduced), *groups)
    return np.ascontiguousarray(u.reshape(*u.shape[:3], *inner, last, amx.LANES).swapaxes(-1, -2))


def schedule_winograd(schedule: Schedule, anchor: Stage, out: Stage, processor: Processor, knobs: Knobs) -> None:
    """The passes of float32's Winograd, with the products of the processor's instruction."""
    schedule_passes(schedule, anchor, out, processor, knobs, _schedule_products)


def _schedule_products(schedule: Schedule, products: Stage, processor: Processor, knobs: Knobs) -> None:
    """A tile of sums in registers; each step of the reduction takes a few channels."""
    instruction = dot_product_int16(processor)
    assert instruction is not None
    sums = schedule[schedule.cache_write(products.tensor, "local")]
    assert isinstance(products.op, ComputeOp) and isinstance(sums.op, ComputeOp)
    weights = sums.op.inputs[1]
    a, o, t, lane = products.op.axis
    vectors, columns = instruction.tile(o.extent, 1, t.extent)
    oo, oi = products.split(o, factor=vectors)
    to, ti = products.split(t, factor=columns)
    products.reorder(a, oo, to, ti, oi, lane)
    in_registers(products, (ti, oi), lane)
    parallelize(products, [a, oo])
    sums.compute_at(products, to)
    _, so, st, slane = sums.op.axis
    inner = len(instruction.reduced)
    steps, reduced = sums.op.reduce_axis[:-inner], sums.op.reduce_axis[-inner:]
    sums.reorder(*steps, st, so, slane, *reduced)
    for axis in (st, so):
        sums.unroll(axis)
    if processor.fetches_ahead:
        sums.pragma(steps[-1], PREFETCH, (weights.name, DISTANCE))
    sums.tensorize(slane, instruction.intrinsic())
