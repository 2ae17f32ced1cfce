"""Weights, and rows that are reduced, on their way before they are needed.

Packed weights are read front to back. A core follows such a stream by itself only within a page and a few lines ahead;
asked for them some thousand bytes early, it hides the last cache and most of memory behind the products.
"""

from __future__ import annotations

from compiler.backend.llvm.prefetch import PREFETCH
from compiler.ir import Load, walk_expr
from compiler.te.analysis import loads_of, uses
from compiler.te.schedule import Schedule
from compiler.te.stage import Stage
from compiler.te.tensor import ComputeOp, PlaceholderOp, Tensor

#: how many bytes early: a little more than memory's latency times its bandwidth
DISTANCE = 4096


def prefetch_weights(schedule: Schedule) -> None:
    """Let the innermost loop of every vectorized float32 product fetch its weights ahead."""
    for stage in schedule.stages:
        _fetch(stage, _weights(stage))


def prefetch_rows(schedule: Schedule) -> None:
    """Let vectorized reductions along rows of an input fetch it ahead: the next row while one is worked on."""
    for stage in schedule.stages:
        op = stage.op
        if not isinstance(op, ComputeOp) or not op.reduce_axis or len(op.inputs) != 1 or not _vectorized(stage):
            continue
        source = op.inputs[0]
        loads = [load for load in loads_of(op) if uses(load.indices[-1:], op.reduce_axis[-1])]
        _fetch(stage, source if loads and isinstance(source.op, PlaceholderOp) else None)


def _fetch(stage: Stage, tensor: Tensor | None) -> None:
    loops = [
        leaf
        for leaf in stage.leaf_iter_vars
        if leaf.kind == "reduce" and leaf.extent > 1 and (leaf not in stage.attrs or stage.attrs[leaf].kind == "serial")
    ]
    if tensor is not None and loops:
        stage.pragma(loops[-1], PREFETCH, (tensor.name, DISTANCE))


def _vectorized(stage: Stage) -> bool:
    return any(leaf in stage.attrs and stage.attrs[leaf].kind == "vectorized" for leaf in stage.leaf_iter_vars)


def _weights(stage: Stage) -> Tensor | None:
    """What a sum of products reads in whole vectors, if it spreads what it multiplies them with."""
    op = stage.op
    if not isinstance(op, ComputeOp) or not op.reduce_axis or not op.axis or stage.tensorized is not None:
        return None
    lane = op.axis[-1]
    if op.output.dtype != "float32" or lane not in stage.attrs or stage.attrs[lane].kind != "vectorized":
        return None
    loads = {node for node in walk_expr(op.body) if isinstance(node, Load)}
    vectors = [load for load in loads if any(node is lane for index in load.indices for node in walk_expr(index))]
    found = vectors[0].buffer if len(loads) == 2 and len(vectors) == 1 else None
    return found if isinstance(found, Tensor) else None
