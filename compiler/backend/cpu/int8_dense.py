"""Products of int8 with a constant matrix by a processor's dot-product instruction; weights are read front to back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compiler.backend.cpu.amx import LANES
from compiler.backend.cpu.dot_product import DotProduct, dot_product_of
from compiler.backend.cpu.parallel import parallelize
from compiler.backend.cpu.processor import Processor
from compiler.ir import Expr, select
from compiler.te.schedule import Schedule
from compiler.te.stage import Stage
from compiler.te.tensor import ComputeOp, Tensor, compute, reduce_axis
from compiler.te.tensor import sum as te_sum
from compiler.tune.space import Knobs

# Vectors of outputs summed side by side: enough to hide the latency of a product, still one stream of weights.
_VECTORS = 8


def weights_layout(outputs: int, instruction: DotProduct) -> str | None:
    """Of weights [O,K]; None where most of a vector would be padding."""
    vectors, most = -(-outputs // LANES), min(_VECTORS, instruction.sums)
    if 2 * outputs < LANES:
        return None
    sizes = range(min(most, vectors), most // 2, -1) or [vectors]
    size = min(sizes, key=lambda count: -(-vectors // count) * count)
    *groups, last = instruction.reduced
    return f"OI{size}o{''.join(f'{count}i' for count in groups)}{LANES}o{last}i"


def dense(inputs: Sequence[Tensor], weights: np.ndarray, outputs: int, instruction: DotProduct) -> Tensor:
    """x [N,K], w [O/b,K/4,b/16,16,4] (two pairs: [...,b/16,2,16,2]), the tails zero -> [N,O] int32."""
    x, w = inputs
    vectors = w.shape[2]
    k = reduce_axis(w.shape[1], "k")
    groups = [reduce_axis(extent, "rq") for extent in w.shape[3:-2]]
    ri = reduce_axis(w.shape[-1], "ri")
    channel: Expr = k
    for axis in (*groups, ri):
        channel = channel * axis.extent + axis
    whole = w.shape[1] * int(np.prod(instruction.reduced))
    source = x
    if whole != x.shape[1]:
        source = compute((x.shape[0], whole), lambda n, c: select(c < x.shape[1], x[n, c], 0), f"{x.name}_whole")
    source = instruction.prepared(source)

    def element(n: Expr, o: Expr, v: Expr, lane: Expr) -> Expr:
        value, weight = source[n, channel].astype("int32"), w[(o, k, v, *groups, lane, ri)].astype("int32")
        return te_sum(value * weight, axis=(k, *groups, ri))

    shape = (x.shape[0], w.shape[0], vectors, LANES)
    sums = compute(shape, element, "dense", tag=instruction.dense_tag)
    excess = instruction.excess(weights)

    def output(n: Expr, o: Expr) -> Expr:
        value = sums[n, o // (vectors * LANES), o % (vectors * LANES) // LANES, o % LANES]
        return value if excess is None else value - excess[o]

    return compute((x.shape[0], outputs), output, "dense_outputs")


def schedule_dense(schedule: Schedule, anchor: Stage, out: Stage, processor: Processor, knobs: Knobs) -> None:
    """A block of outputs at a time, its sums in registers."""
    assert isinstance(out.op, ComputeOp) and isinstance(anchor.op, ComputeOp)
    instruction = dot_product_of(anchor.op.tag, processor)
    n, o = out.op.axis
    vectors = anchor.tensor.shape[2]
    blocks, inside = out.split(o, factor=vectors * LANES)
    ov, lane = out.split(inside, factor=LANES)
    out.reorder(blocks, n, ov, lane)
    out.vectorize(lane)
    anchor.compute_at(out, n)
    parallelize(out, [blocks])
    for stage in schedule.stages:
        if not isinstance(stage.op, ComputeOp) or not schedule.reads(anchor, stage) or stage is anchor:
            continue
        if schedule.readers_of(stage) != [anchor]:
            stage.compute_inline()
        else:
            stage.vectorize(stage.split(stage.op.axis[1], factor=LANES)[1])
    _, _, av, alane = anchor.op.axis
    inner = len(instruction.reduced)
    anchor.reorder(*anchor.op.reduce_axis[:-inner], av, alane, *anchor.op.reduce_axis[-inner:])
    anchor.unroll(av)
    anchor.tensorize(alane, instruction.intrinsic())
