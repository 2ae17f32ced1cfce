"""What is stored and what is recomputed where it is read."""

from __future__ import annotations

import math

from compiler.ir import Call, Expr, walk_expr
from compiler.ops.compute import PADDING
from compiler.te.analysis import loads_of, points, reduces
from compiler.te.schedule import Schedule
from compiler.te.stage import Stage
from compiler.te.tensor import ComputeOp

# A stage is recomputed where it is read, unless that costs this many times the work of storing it.
_CHEAP_RECOMPUTE = 4
# Functions that cost tens of instructions: never computed twice.
_EXPENSIVE = frozenset({"exp", "log", "tanh", "sigmoid", "erf", "pow"})


def is_expensive(body: Expr) -> bool:
    """Whether a body calls a function of many instructions."""
    return any(isinstance(node, Call) and node.name in _EXPENSIVE for node in walk_expr(body))


def inline_cheap(schedule: Schedule) -> None:
    """Inline the stages that cost less to recompute where they are read than to store."""
    evaluations: dict[Stage, int] = {}
    for stage in reversed(schedule.stages):
        op = stage.op
        if not isinstance(op, ComputeOp):
            continue
        readers = schedule.readers_of(stage)
        needed = 0
        for reader in readers:
            if not isinstance(reader.op, ComputeOp):
                continue
            reads = sum(load.buffer is stage.tensor for load in loads_of(reader.op))
            needed += reads * (evaluations[reader] if reader.inlined else points(reader.op))
        evaluations[stage] = needed
        if op.reduce_axis or stage.must_store:
            continue
        window = op.tag == PADDING and any(map(reduces, readers))
        limit = 1 if is_expensive(op.body) else _CHEAP_RECOMPUTE
        if not window and needed <= limit * math.prod(stage.tensor.shape):
            stage.compute_inline()
