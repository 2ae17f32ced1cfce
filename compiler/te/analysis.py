"""What stages read, how much they compute, and how far they share the loops of a schedule's output."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator

from compiler.arith import linear_form
from compiler.ir import Expr, Load, walk_expr
from compiler.te.schedule import Schedule
from compiler.te.stage import Stage
from compiler.te.tensor import ComputeOp, IterVar


def loads_of(op: ComputeOp) -> set[Load]:
    """What the body reads."""
    return {node for node in walk_expr(op.body) if isinstance(node, Load)}


def points(op: ComputeOp) -> int:
    """How often the body is evaluated."""
    return math.prod(axis.extent for axis in (*op.axis, *op.reduce_axis))


def reduces(stage: Stage) -> bool:
    """Whether a stage is a reduction."""
    return isinstance(stage.op, ComputeOp) and bool(stage.op.reduce_axis)


def uses(exprs: Iterable[Expr], axis: IterVar) -> bool:
    """Whether an axis occurs in any of the expressions."""
    return any(node is axis for expr in exprs for node in walk_expr(expr))


def is_dense(load: Load, axis: IterVar) -> bool:
    """Whether steps along `axis` are steps from one element to the next."""
    if not load.indices:
        return False
    form = linear_form(load.indices[-1], [axis])
    return form is not None and form.terms.get(axis) == 1 and not uses(load.indices[:-1], axis)


def computed_with(schedule: Schedule, stage: Stage) -> Iterator[ComputeOp]:
    """What is evaluated at every point of a stage: its own operation, and the inlined ones that it reads."""
    assert isinstance(stage.op, ComputeOp)
    yield stage.op
    for load in loads_of(stage.op):
        source = next((s for s in schedule.stages if s.tensor is load.buffer), None)
        if source is not None and source.inlined:
            yield from computed_with(schedule, source)


def shared_loops(schedule: Schedule, out: Stage) -> dict[Stage, int]:
    """How many of the output's leading loops need of a stage only what has the same leading indices, in whatever they
    read it through."""
    shared = {out: out.tensor.ndim}
    for stage in reversed(schedule.stages):
        if stage is out or not isinstance(stage.op, ComputeOp):
            continue
        counts: list[int] = []
        for reader in schedule.readers_of(stage):
            assert isinstance(reader.op, ComputeOp)
            for load in (load for load in loads_of(reader.op) if load.buffer is stage.tensor):
                pairs = zip(load.indices, reader.op.axis, stage.tensor.shape, strict=False)
                same = itertools.takewhile(lambda p: p[0] is p[1] and p[1].extent == p[2], pairs)
                counts.append(min(shared[reader], sum(1 for _ in same)))
        shared[stage] = 0 if stage.is_output else min(counts)
    return shared
