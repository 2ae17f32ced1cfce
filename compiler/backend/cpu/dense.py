"""Products with a constant matrix: weights packed so that they are read once, front to back, in whole vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence

from compiler.backend.cpu.convolution import tiles
from compiler.backend.cpu.parallel import parallelize
from compiler.backend.cpu.processor import Processor
from compiler.ir import Expr
from compiler.te.schedule import Schedule
from compiler.te.stage import Stage
from compiler.te.tensor import ComputeOp, Tensor, compute, reduce_axis
from compiler.te.tensor import sum as te_sum
from compiler.te.tiling import divisor
from compiler.tune.space import Knobs

#: the tag of a packed product's stage
DENSE = "cpu.dense"
# Blocks of outputs that any number of vectors divides: the last one is padded.
_ANY = 12
# Vectors of outputs summed side by side: enough to hide the latency of an addition, still one stream of weights.
_VECTORS = range(8, 3, -1)


def dense_block(weight: Sequence[int], rows: int, processor: Processor) -> int | None:
    """How many outputs of a product with weight [O,K] are computed together, each of some of the `rows`; None where
    that would be mostly padding."""
    outputs, lanes = weight[0], processor.lanes
    vectors = -(-outputs // lanes)
    fitting = tiles(_ANY, 1, rows, processor)
    # Weights that the cache does not keep are passed once, for all rows, if these fit the registers.
    streamed = 4 * math.prod(weight) > processor.l2_bytes
    best = next((tile for tile in fitting if streamed and tile.columns == rows), fitting[0])
    if best.columns > 1 and vectors > best.vectors:
        return lanes * best.vectors
    if vectors < min(_VECTORS):
        return lanes * vectors if outputs >= lanes else None
    return lanes * min(_VECTORS, key=lambda count: -(-vectors // count) * count)


def packed_dense(inputs: Sequence[Tensor], outputs: int, lanes: int) -> Tensor:
    """x [N,K], w [ceil(O/b),K,b], perhaps a bias [O] -> [N,O]; b is a multiple of `lanes`."""
    x, w = inputs[0], inputs[1]
    blocks, _, block = w.shape
    k = reduce_axis(x.shape[1], "k")

    def element(n: Expr, o: Expr, v: Expr, lane: Expr) -> Expr:
        return te_sum(x[n, k] * w[o, k, v * lanes + lane], axis=k)

    sums = compute((x.shape[0], blocks, block // lanes, lanes), element, "dense", tag=DENSE)

    def output(n: Expr, o: Expr) -> Expr:
        value = sums[n, o // block, o % block // lanes, o % lanes]
        return value + inputs[2][o] if len(inputs) == 3 else value

    return compute((x.shape[0], outputs), output, "dense_outputs")


def schedule_dense(schedule: Schedule, anchor: Stage, out: Stage, processor: Processor, knobs: Knobs) -> None:
    """A block of outputs of some rows at a time, its sums in registers, its weights in a cache for all rows."""
    assert isinstance(out.op, ComputeOp) and isinstance(anchor.op, ComputeOp)
    n, o = out.op.axis
    _, _, vectors, lanes = anchor.tensor.shape
    blocks, inside = out.split(o, factor=vectors * lanes)
    ov, lane = out.split(inside, factor=lanes)
    fitting = (processor.registers - 1) // vectors - 1
    no, ni = out.split(n, factor=divisor(n.extent, max(fitting, 1)))
    out.reorder(blocks, no, ni, ov, lane)
    out.unroll(ni)
    out.vectorize(lane)
    anchor.compute_at(out, no)
    parallelize(out, [blocks])
    an, _, av, alane = anchor.op.axis
    anchor.reorder(*anchor.op.reduce_axis, an, av, alane)
    anchor.unroll(an)
    anchor.unroll(av)
    anchor.vectorize(alane)
