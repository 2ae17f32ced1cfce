"""Bound inference: how much of every stage is needed where it is computed, and what its loops run over.

Consumers are looked at before producers.  The region of a producer is what its consumers read while one iteration of
the loop it is computed at runs: loops inside are relaxed over their whole range, loops outside are fixed.  Regions have
a symbolic start and a constant extent, so tiles have the same shape in every iteration; what sticks out of the tensor
is guarded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf

from compiler.arith import ZERO, Affine, Indexer
from compiler.ir import Buffer, Expr, Load, Var, minimum, rewrite_expr, walk_expr
from compiler.te.errors import ScheduleError
from compiler.te.extern import ExternOp
from compiler.te.relations import Fuse, Relation, Split, pass_down
from compiler.te.scan import ScanOp
from compiler.te.schedule import Schedule
from compiler.te.stage import Stage
from compiler.te.tensor import ComputeOp, IterVar, Tensor


@dataclass
class StageBounds:
    """What lowering knows about one stage.

    Attributes:
        stage: the stage.
        op: its operation, with inlined producers substituted.
        start: first index of the region, one a dimension, over the loops outside.
        extents: extent of every axis and derived loop here.
        outer: loop variables of the loops the stage is computed in, outermost first.
        values: value of every axis and derived loop, over ``outer`` and the stage's own loops.
        buffer: where the region is stored.
    """

    stage: Stage
    op: ComputeOp
    start: list[Affine]
    extents: dict[IterVar, int]
    outer: tuple[IterVar, ...]
    values: dict[Var, Affine]
    buffer: Buffer
    children: dict[IterVar, list[StageBounds]] = field(default_factory=dict)
    safe: bool | None = None


@dataclass
class ScanBounds:
    """What lowering knows about a recurrence.

    Attributes:
        stage: its stage.
        op: its operation.
        starts: the stages that compute the first steps.
        children: what is computed at the loop over the other steps.
        outer: the loops it is computed in: none.
    """

    stage: Stage
    op: ScanOp
    starts: list[StageBounds] = field(default_factory=list)
    children: dict[IterVar, list[StageBounds]] = field(default_factory=dict)
    outer: tuple[IterVar, ...] = ()


@dataclass
class ExternBounds:
    """A stage that is a statement."""

    stage: Stage
    op: ExternOp


@dataclass
class Bounds:
    """The result for a whole schedule: the stages at the root in topological order, and the index arithmetic that knows
    all loops."""

    indexer: Indexer
    roots: list[StageBounds | ScanBounds | ExternBounds]
    buffers: dict[Tensor, Buffer]
    starts: dict[Tensor, list[Affine]]


def inlined_ops(schedule: Schedule) -> dict[Stage, ComputeOp]:
    """The operations of all computed, not inlined stages with inlined stages put into them."""
    ops: dict[Stage, ComputeOp] = {}
    inline: dict[Tensor, ComputeOp] = {}

    def expand(node: Expr) -> Expr | None:
        if isinstance(node, Load):
            op = inline.get(node.buffer)  # type: ignore[arg-type]
            if op is not None:
                env = dict(zip(op.axis, node.indices, strict=True))
                return rewrite_expr(op.body, lambda n: env.get(n) if isinstance(n, IterVar) else None)
        return None

    for stage in schedule.stages:
        op = stage.op
        if not isinstance(op, ComputeOp):
            continue
        if any(t in inline for t in op.inputs):
            op = ComputeOp(op.name, op.axis, rewrite_expr(op.body, expand), op.tag, output=op.output)
        if stage.inlined:
            inline[stage.tensor] = op
        else:
            ops[stage] = op
    return ops


def leaf_values(
    indexer: Indexer, relations: Iterable[Relation], extents: Mapping[IterVar, int], leaves: Mapping[IterVar, Affine]
) -> dict[Var, Affine]:
    """The value of every axis, from 0, over the loops ``leaves``."""
    values: dict[Var, Affine] = {**leaves}
    for r in reversed(list(relations)):
        if isinstance(r, Split):
            values[r.parent] = values[r.outer].scaled(extents[r.inner]) + values[r.inner]
        else:
            n = extents[r.inner]
            fused = values[r.fused]
            values[r.outer] = indexer.floordiv(fused, n) if extents[r.outer] > 1 else ZERO
            values[r.inner] = indexer.floormod(fused, n) if extents[r.outer] > 1 else fused
    return values


def infer_bounds(schedule: Schedule, buffers: Mapping[Tensor, Buffer]) -> Bounds:
    """Regions, loop extents and buffers of every stage of ``schedule``.

    ``buffers``: the function's parameters (placeholders and outputs).
    """
    ops = inlined_ops(schedule)
    indexer = Indexer()
    readers: dict[Tensor, list[Stage]] = {}
    for stage, op in ops.items():
        for t in op.inputs:
            readers.setdefault(t, []).append(stage)
    found: dict[Stage, StageBounds | ScanBounds] = {}
    result = Bounds(indexer, [], dict(buffers), {})
    shared = _shared_memory(schedule, result)
    for t in result.buffers:
        result.starts[t] = [ZERO] * len(t.shape)
    order: list[StageBounds | ScanBounds | ExternBounds] = []
    for stage in reversed(schedule.stages):
        if isinstance(stage.op, ScanOp):
            indexer.declare(stage.op.scan_axis, stage.op.scan_axis.extent)
            found[stage] = info = ScanBounds(stage, stage.op)
        elif isinstance(stage.op, ExternOp):
            info = ExternBounds(stage, stage.op)
            for t in stage.op.inputs:
                readers.setdefault(t, []).append(stage)
        elif stage not in ops:
            continue
        elif stage.is_output or stage.shares_memory or readers.get(stage.tensor):
            found[stage] = info = _infer_stage(stage, ops[stage], readers, found, indexer, result)
        else:
            continue  # everything that read it was inlined away or reads a cache
        order.append(info)
    for info in reversed(order):
        if isinstance(info, StageBounds) and info.stage.attach is not None:
            parent, axis = info.stage.attach
            found[parent].children.setdefault(axis, []).append(info)
        elif info.stage in shared:
            scan = found[shared[info.stage]]
            assert isinstance(scan, ScanBounds) and isinstance(info, StageBounds)
            scan.starts.append(info)
        else:
            result.roots.append(info)
    return result


def _shared_memory(schedule: Schedule, result: Bounds) -> dict[Stage, Stage]:
    """Make the buffers of scans and externs, those of states for everything that lies there; init stage -> scan."""
    starts: dict[Stage, Stage] = {}
    for stage in schedule.stages:
        if not isinstance(stage.op, (ScanOp, ExternOp)):
            continue
        for t in stage.op.outputs:
            if t not in result.buffers:
                result.buffers[t] = Buffer(t.name, t.shape, t.dtype, stage.scope)
        if isinstance(stage.op, ScanOp):
            result.buffers.update((t, result.buffers[out]) for t, out in stage.op.buffer_of().items())
            starts.update((schedule[t], stage) for t in stage.op.init)
    return starts


def _infer_stage(
    stage: Stage,
    op: ComputeOp,
    readers: Mapping[Tensor, list[Stage]],
    found: Mapping[Stage, StageBounds | ScanBounds],
    indexer: Indexer,
    result: Bounds,
) -> StageBounds:
    outer: tuple[IterVar, ...] = ()
    if stage.attach is not None:
        parent, axis = stage.attach
        _check_attached(stage, parent, axis, readers.get(stage.tensor, []), found)
        leaves = parent.leaf_iter_vars
        outer = found[parent].outer + tuple(leaves[: leaves.index(axis) + 1])
    shape = stage.tensor.shape
    if stage.shares_memory and stage.scan is not None:
        scan = stage.scan.op
        assert isinstance(scan, ScanOp)
        now = indexer.var(scan.scan_axis) + Affine({}, scan.first)
        region = [(now, 1), *((ZERO, n) for n in shape[1:])]
    elif stage.is_output or stage.shares_memory:
        region = [(ZERO, n) for n in shape]
    else:
        region = _region(stage, readers[stage.tensor], found, indexer, set(outer))
    if stage.tensorized is not None:
        # An intrinsic computes its whole block, however little of it is read.
        leaves = stage.leaf_iter_vars
        block = set(leaves[leaves.index(stage.tensorized[0]) :])
        region = [(ZERO, n) if a in block else r for a, n, r in zip(op.axis, shape, region, strict=True)]
    extents: dict[IterVar, int] = {a: n for a, (_, n) in zip(op.axis, region, strict=True)}
    extents.update((a, a.extent) for a in op.reduce_axis)
    pass_down(stage.relations, extents)
    for leaf in stage.leaf_iter_vars:
        indexer.declare(leaf, extents[leaf])
    local = {leaf: indexer.var(leaf) for leaf in stage.leaf_iter_vars}
    values = leaf_values(indexer, stage.relations, extents, local)
    start = [low for low, _ in region]
    for a, low in zip(op.axis, start, strict=True):
        values[a] = values[a] + low
    buffer = result.buffers.get(stage.tensor)
    if buffer is None:
        sizes = [extents[a] for a in op.axis]
        strides = _aligned_strides(stage, op, sizes) if stage.alignments else None
        buffer = Buffer(stage.name, sizes, stage.tensor.dtype, stage.scope, strides)
        result.buffers[stage.tensor] = buffer
        result.starts[stage.tensor] = start
    return StageBounds(stage, op, start, extents, outer, values, buffer)


def _aligned_strides(stage: Stage, op: ComputeOp, sizes: list[int]) -> list[int]:
    strides = [0] * len(sizes)
    step = 1
    for d in reversed(range(len(sizes))):
        rule = stage.alignments.get(op.axis[d])
        if rule is not None:
            factor, offset = rule
            step += (factor + offset - step % factor) % factor
        strides[d] = step
        step *= sizes[d]
    return strides


def _check_attached(
    stage: Stage, parent: Stage, axis: IterVar, consumers: list[Stage], found: Mapping[Stage, StageBounds | ScanBounds]
) -> None:
    """Every consumer must run inside the loop the stage is computed at."""

    def fail(message: str) -> ScheduleError:
        return ScheduleError("compute_at", stage.name, message, stage.attach_location)

    if parent not in found:
        raise fail(f"stage '{parent.name}' is inlined or unused: it has no loops")
    if axis not in parent.leaf_iter_vars:
        raise fail(f"axis '{axis.name}' is no longer a loop of '{parent.name}'")
    for consumer in consumers:
        at: Stage | None = consumer
        position = None
        while at is not None and at is not parent:
            at, position = at.attach if at.attach is not None else (None, None)
        if at is None:
            raise fail(f"its consumer '{consumer.name}' is not computed inside '{parent.name}'")
        leaves = parent.leaf_iter_vars
        if position is not None and leaves.index(position) < leaves.index(axis):
            raise fail(
                f"its consumer '{consumer.name}' is computed at '{position.name}', outside loop '{axis.name}' "
                f"of '{parent.name}'"
            )


def _region(
    stage: Stage,
    consumers: list[Stage],
    found: Mapping[Stage, StageBounds | ScanBounds],
    indexer: Indexer,
    fixed: set[Var],
) -> list[tuple[Affine, int]]:
    """Start and extent of what ``consumers`` read, a dimension; the whole dimension where it cannot be told."""
    shape = stage.tensor.shape
    spans: list[tuple[Affine, int] | None] = [None] * len(shape)
    whole = [False] * len(shape)
    for consumer in consumers:
        info = found.get(consumer)
        if not isinstance(info, StageBounds):
            return [(ZERO, n) for n in shape]  # a statement reads it
        for node in walk_expr(info.op.body):
            if not isinstance(node, Load) or node.buffer is not stage.tensor:
                continue
            for d, index in enumerate(node.indices):
                if whole[d]:
                    continue
                here = indexer.span(indexer.affine(index, info.values), fixed)
                before = spans[d]
                merged = here if before is None else (None if here is None else _union(indexer, before, here))
                if merged is None or merged[1] + 1 >= shape[d]:
                    whole[d] = True
                else:
                    spans[d] = merged
    out: list[tuple[Affine, int]] = []
    for d, n in enumerate(shape):
        span = spans[d]
        out.append((ZERO, n) if whole[d] or span is None else (span[0], span[1] + 1))
    return out


def _union(indexer: Indexer, a: tuple[Affine, int], b: tuple[Affine, int]) -> tuple[Affine, int] | None:
    """The hull of two spans; None if its width has no constant bound."""
    low, high = indexer.range(b[0] - a[0])
    if low >= 0:
        return None if high == inf else (a[0], max(a[1], int(high) + b[1]))
    if high <= 0:
        return None if low == -inf else (b[0], max(b[1], a[1] - int(low)))
    if low == -inf or high == inf:
        return None
    lowest = indexer.affine(minimum(indexer.expr(a[0]), indexer.expr(b[0])))
    return lowest, max(a[1] + max(0, int(high)), b[1] + max(0, -int(low)))


@dataclass(frozen=True)
class Interval:
    """Values of an axis inside a sub-nest: every one of ``start ... start + extent - 1`` exactly once."""

    start: Affine
    extent: int


def sub_nest_intervals(
    indexer: Indexer, info: StageBounds, inner: set[IterVar], name: str
) -> dict[IterVar, Interval] | IterVar:
    """What every axis runs over in the loops ``inner`` (the others fixed), or the axis that is not covered densely."""
    extents = info.extents
    known: dict[IterVar, Interval] = {}
    for leaf in info.stage.leaf_iter_vars:
        known[leaf] = Interval(ZERO, extents[leaf]) if leaf in inner else Interval(indexer.var(leaf), 1)
    for r in reversed(info.stage.relations):
        if isinstance(r, Split):
            o, i = known[r.outer], known[r.inner]
            n = extents[r.inner]
            if o.extent == 1:
                both = Interval(o.start.scaled(n) + i.start, i.extent)
            elif i.extent == n:
                both = Interval(o.start.scaled(n), o.extent * n)
            else:
                return r.parent
            if both.extent > extents[r.parent]:
                return r.parent
            known[r.parent] = both
        else:
            parts = _unfuse(indexer, r, known[r.fused], extents)
            if parts is None:
                return r.fused
            known[r.outer], known[r.inner] = parts
    return known


def _unfuse(
    indexer: Indexer, r: Fuse, fused: Interval, extents: Mapping[IterVar, int]
) -> tuple[Interval, Interval] | None:
    n = extents[r.inner]
    start, extent = fused.start, fused.extent
    if extent == extents[r.fused]:
        return Interval(ZERO, extents[r.outer]), Interval(ZERO, n)
    if extent == 1:
        return Interval(indexer.floordiv(start, n), 1), Interval(indexer.floormod(start, n), 1)
    if extent % n == 0 and indexer.floormod(start, n).same(ZERO):
        return Interval(indexer.floordiv(start, n), extent // n), Interval(ZERO, n)
    if n % extent == 0 and indexer.floormod(start, extent).same(ZERO):
        return Interval(indexer.floordiv(start, n), 1), Interval(indexer.floormod(start, n), extent)
    return None
