"""The master template: knobs drawn from the computation itself, for an operator nobody wrote a schedule for.

Every stage that reduces, and every output, gets its last two data axes and its first reduce axis split, an order of the
loops and an annotation of the innermost data loop; every other stage is inlined or computed at the root.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from compiler.te.schedule import Schedule, create_schedule
from compiler.te.stage import Stage
from compiler.te.tensor import ComputeOp, IterVar, Tensor
from compiler.tune.space import Knobs

ORDERS = ("reduction inside", "tile inside")
"""Whether an element's reduction is the innermost loop, or the tile's elements are, one step of the reduction each."""

WIDEST = 64
"""Iterations of a loop that is vectorized."""

LONGEST = 16
"""Iterations of a loop that is written out."""


def generic_schedule(knobs: Knobs, outputs: Sequence[Tensor]) -> Schedule:
    """The schedule that the knobs say, of whatever computes ``outputs``.

    >>> from compiler import te
    >>> from compiler.tune.declaration import declare
    >>> a = te.placeholder((4, 8), "float32", "a")
    >>> k = te.reduce_axis(8, "k")
    >>> total = te.compute((4,), lambda i: te.sum(a[i, k] * 2.0, axis=k), "total")
    >>> space = declare(generic_schedule, [total])
    >>> [knob.name for knob in space.knobs], len(space)
    (['total.i', 'total.k', 'total.order', 'total.inner'], 48)
    >>> generic_schedule(space.entity(space.valid_indices()[25]), [total]).show()
    for i_outer in range(2):
        for i_inner in unrolled(2):
            total[i_outer * 2 + i_inner] = 0.0
            for k_inner in range(8):
                total[i_outer * 2 + i_inner] = total[i_outer * 2 + i_inner] + a[i_outer * 2 + i_inner, k_inner] * 2.0
    """
    schedule = create_schedule(list(outputs))
    taken: dict[str, int] = {}
    for stage in list(schedule.stages):
        if not isinstance(stage.op, ComputeOp):
            continue
        number = taken[stage.name] = taken.get(stage.name, 0) + 1
        name = stage.name if number == 1 else f"{stage.name}#{number}"
        if stage.op.reduce_axis or stage.is_output:
            _tile(knobs, stage, stage.op, name)
        elif knobs.choice(f"{name}.place", ("inline", "root")) == "inline":
            stage.compute_inline()
    return schedule


def _tile(knobs: Knobs, stage: Stage, op: ComputeOp, name: str) -> None:
    data, reduction = list(op.axis), list(op.reduce_axis)
    outer, inner = data[:-2], []
    for axis in data[-2:]:
        out, within = _split(knobs, stage, axis, name)
        outer.append(out)
        inner.append(within)
    steps: list[IterVar] = []
    if reduction:
        steps = [*_split(knobs, stage, reduction[0], name), *reduction[1:]]
    order = knobs.choice(f"{name}.order", ORDERS) if reduction else ORDERS[1]
    stage.reorder(*outer, *((*inner, *steps) if order == ORDERS[0] else (*steps, *inner)))
    annotation = knobs.annotation(f"{name}.inner", ("none", "unroll", "vectorize"))
    last = f"{name}.{data[-1].name}"

    def sensible(at: Mapping[str, Any]) -> bool:
        chosen, extent = at[f"{name}.inner"], at[last][1]
        if chosen == "none":
            return True
        innermost = at.get(f"{name}.order", ORDERS[1]) == ORDERS[1]
        return 1 < extent <= (WIDEST if chosen == "vectorize" else LONGEST) and (innermost or chosen == "unroll")

    knobs.require(f"{name}: annotated loops are short, vectors innermost", sensible)
    if annotation != "none":
        getattr(stage, annotation)(inner[-1])


def _split(knobs: Knobs, stage: Stage, axis: IterVar, name: str) -> tuple[IterVar, IterVar]:
    _, factor = knobs.split(f"{name}.{axis.name}", axis.extent)
    return stage.split(axis, factor=factor)
