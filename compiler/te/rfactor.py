"""``rfactor``: a reduction as partial reductions over one of its loops, and a reduction of those."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compiler.ir import Expr, IntImm, Load, logical_and, rewrite_expr, select
from compiler.te.errors import ScheduleError, user_location
from compiler.te.relations import Split
from compiler.te.stage import Stage
from compiler.te.tensor import ComputeOp, IterVar, Reduce, Tensor

if TYPE_CHECKING:
    from compiler.te.schedule import Schedule


def rfactor(schedule: Schedule, tensor: Tensor, axis: IterVar) -> Tensor:
    """See :meth:`Schedule.rfactor`."""
    stage = schedule[tensor]

    def fail(message: str) -> ScheduleError:
        return ScheduleError("rfactor", stage.name, message)

    op = stage.op
    if not isinstance(op, ComputeOp) or not isinstance(op.body, Reduce):
        raise fail("the stage is not a reduction")
    if stage._leaf("rfactor", axis).kind != "reduce":
        raise fail(f"axis '{axis.name}' is not a reduce loop")
    for r in stage.relations:
        if not isinstance(r, Split) or r.parent.kind != "reduce":
            raise fail("only splits of reduce axes may come before it")
    if stage.attrs or any(s.attach is not None and s.attach[0] is stage for s in schedule.stages):
        raise fail("the stage's loops were already bound or used: do rfactor first")

    extents = stage.extents()
    reduce_leaves = [v for v in stage.leaf_iter_vars if v.kind == "reduce"]
    factor = IterVar(axis.name, extents[axis])
    data = [IterVar(a.name, a.extent) for a in op.axis]
    rest = {v: IterVar(v.name, extents[v], "reduce") for v in reduce_leaves if v is not axis}
    value: dict[IterVar, Expr] = {axis: factor, **rest}
    conditions: list[Expr] = []
    for r in reversed(stage.relations):
        assert isinstance(r, Split)
        value[r.parent] = value[r.outer] * extents[r.inner] + value[r.inner]
        if extents[r.outer] * extents[r.inner] > extents[r.parent]:
            conditions.append(value[r.parent] < extents[r.parent])
    value.update(zip(op.axis, data, strict=True))
    reducer = op.body.reducer
    source = rewrite_expr(op.body.source, lambda n: value.get(n) if isinstance(n, IterVar) else None)
    guard = logical_and(*conditions)
    if not isinstance(guard, IntImm):
        source = select(guard, source, reducer.identity(source.dtype))
    body = Reduce(reducer, source, tuple(rest.values())) if rest else source
    partial = ComputeOp(schedule._fresh_name(f"{tensor.name}_rf"), [factor, *data], body, op.tag)

    log = schedule.trace_log
    call = f"s.rfactor({log.text(tensor)}, {log.text(axis)})"
    over = IterVar(f"{axis.name}_v", extents[axis], "reduce")
    whole = Reduce(reducer, Load(partial.output, (over, *op.axis)), (over,))
    stage.op = ComputeOp(op.name, op.axis, whole, op.tag, output=tensor)
    stage.relations = []
    stage.leaf_iter_vars = [*op.axis, over]
    stage.name_axes()
    schedule._insert(Stage(schedule, partial, is_output=False), schedule.stages.index(stage))
    log.record("rfactor", f"{log.bind(partial.output, partial.name)} = {call}", user_location())
    return partial.output
