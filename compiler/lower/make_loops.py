"""A schedule becomes loops: one nest a stage, attached stages inside the loop they are computed at.

A reduction becomes an initialisation nest (the data loops inside the first reduce loop, over fresh variables) and an
update nest; loops outside the first reduce loop are shared by both.  Tensorized loops become the intrinsic's statement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from compiler.arith import ZERO, Affine
from compiler.ir import (
    Allocate,
    Attr,
    Buffer,
    Expr,
    For,
    If,
    IntImm,
    Load,
    PrimFunc,
    Stmt,
    Store,
    Var,
    logical_and,
    map_stmt,
    rewrite_expr,
    seq,
)
from compiler.lower.bounds import Bounds, ExternBounds, ScanBounds, StageBounds, infer_bounds, leaf_values
from compiler.lower.guards import guards
from compiler.lower.tensorize import tensorize_stage
from compiler.te.errors import ScheduleError, TensorExprError
from compiler.te.schedule import Schedule
from compiler.te.stage_state import LoopAttr
from compiler.te.tensor import IterVar, Reduce, Tensor


def make_loops(schedule: Schedule, args: Sequence[Tensor], name: str = "main") -> PrimFunc:
    """The loop nest of ``schedule`` over multi-dimensional buffers.

    Args:
        args: the function's parameters: all placeholders and outputs, in call order.
        name: of the function.

    Raises ScheduleError on a schedule that cannot be realised, TensorizeError on an intrinsic that does not match.
    """
    buffers = parameter_buffers(schedule, args)
    bounds = infer_bounds(schedule, buffers)
    maker = _Maker(bounds)
    body: Stmt | None = None
    for info in reversed(bounds.roots):
        nest = maker.root(info)
        body = nest if body is None else seq(nest, body)
        tensors = info.op.outputs if isinstance(info, (ScanBounds, ExternBounds)) else (info.stage.tensor,)
        for tensor in reversed(tensors):
            if tensor not in buffers:
                body = Allocate(bounds.buffers[tensor], body)
    assert body is not None
    return PrimFunc(name, [buffers[t] for t in args], body)


def parameter_buffers(schedule: Schedule, args: Sequence[Tensor]) -> dict[Tensor, Buffer]:
    """One global buffer an argument, checked for completeness."""
    for t in args:
        if not isinstance(t, Tensor):
            raise TensorExprError(f"argument {t!r} is not a tensor")
    wanted = {*schedule.placeholders, *schedule.outputs}
    missing = [s.name for s in schedule.stages if s.tensor in wanted and s.tensor not in args]
    if missing:
        raise TensorExprError(f"arguments lack {', '.join(missing)}: inputs and outputs must all be parameters")
    extra = [t.name for t in args if t not in wanted]
    if extra:
        raise TensorExprError(f"arguments {', '.join(extra)} are neither inputs nor outputs of the schedule")
    return {t: Buffer(t.name, t.shape, t.dtype) for t in args}


class _Maker:
    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.indexer = bounds.indexer
        self.indexer.index_loads = self.load

    def load(self, load: Load, env: Mapping[Var, Affine]) -> Expr:
        """A read of a tensor as a read of its buffer, relative to the buffer's first element."""
        indexer = self.indexer
        tensor = load.buffer
        indices = [indexer.affine(i, env) for i in load.indices]
        if isinstance(tensor, Tensor):
            starts = self.bounds.starts[tensor]
            return Load(
                self.bounds.buffers[tensor],
                tuple(indexer.expr(i - s) for i, s in zip(indices, starts, strict=True)),
            )
        return Load(tensor, tuple(indexer.expr(i) for i in indices))

    def value(self, expr: Expr, env: Mapping[Var, Affine]) -> Expr:
        return self.indexer.rewrite(expr, env, self.load)

    def target(self, info: StageBounds, env: Mapping[Var, Affine]) -> list[Expr]:
        """Indices of the element of ``info``'s buffer at the axis values ``env``."""
        starts = self.bounds.starts[info.stage.tensor]
        return [self.indexer.expr(env[a] - s) for a, s in zip(info.op.axis, starts, strict=True)]

    def root(self, info: StageBounds | ScanBounds | ExternBounds) -> Stmt:
        if isinstance(info, ScanBounds):
            return self.scan(info)
        return self.extern(info) if isinstance(info, ExternBounds) else self.stage(info)

    def scan(self, info: ScanBounds) -> Stmt:
        """The first steps, then a loop over the others with everything that makes a step in it."""
        body: Stmt | None = None
        for child in reversed(info.children[info.op.scan_axis]):
            nest = self.stage(child)
            body = nest if body is None else seq(nest, body)
            if not child.stage.shares_memory:
                body = Allocate(child.buffer, body)
        assert body is not None
        steps = loop(info.op.scan_axis, info.op.scan_axis.extent, body, None)
        return seq(*[self.stage(start) for start in info.starts], steps)

    def extern(self, info: ExternBounds) -> Stmt:
        """The statement, with buffers in place of the tensors."""
        buffers = self.bounds.buffers

        def access(node: Expr) -> Expr | None:
            if isinstance(node, Load) and isinstance(node.buffer, Tensor):
                return Load(buffers[node.buffer], node.indices)
            return None

        def store(node: Stmt) -> Stmt | None:
            if isinstance(node, Store) and isinstance(node.buffer, Tensor):
                return Store(buffers[node.buffer], node.indices, node.value)
            return None

        return map_stmt(info.op.body, lambda e: rewrite_expr(e, access), store)

    def stage(self, info: StageBounds) -> Stmt:
        stage, op = info.stage, info.op
        leaves = stage.leaf_iter_vars
        first_reduce = next((i for i, v in enumerate(leaves) if v.kind == "reduce"), len(leaves))
        inner_from = len(leaves)
        init: Stmt | None = None
        if isinstance(op.body, Reduce):
            init = self._init(info, first_reduce)
        if stage.tensorized is not None:
            axis, intrin, location = stage.tensorized
            inner_from = leaves.index(axis)
            for leaf in leaves[inner_from:]:
                attr = stage.attrs.get(leaf)
                if attr is not None and (attr.kind != "serial" or attr.pragmas):
                    message = f"loop '{leaf.name}' is {attr.kind} or has a pragma, but becomes part of the intrinsic"
                    raise ScheduleError("tensorize", stage.name, message, location)
                if leaf in info.children:
                    other = info.children[leaf][0].stage
                    raise ScheduleError(
                        "tensorize", stage.name, f"'{other.name}' is computed at loop '{leaf.name}' inside it", location
                    )
            body = tensorize_stage(self.bounds, info, inner_from, self.load)
            if intrin.init == "fused":
                init = None
            if inner_from < first_reduce and init is not None:
                raise ScheduleError(
                    "tensorize",
                    stage.name,
                    f"'{intrin.name}' accumulates only (init='separate') but the whole reduction is inside it: "
                    f"its loops from '{axis.name}' leave no place for the initialisation",
                    location,
                )
        else:
            body = self._update(info)
        for i in reversed(range(inner_from)):
            if i + 1 == first_reduce and init is not None:
                body = seq(init, body)
                init = None
            body = self._loop(info, leaves[i], body)
        if init is not None:
            body = seq(init, body)
        if stage.double_buffered:
            body = Attr("double_buffer", True, body, info.buffer)
        return body

    def _loop(self, info: StageBounds, leaf: IterVar, body: Stmt) -> Stmt:
        """One loop of a stage, with the stages computed at it first in its body."""
        for child in reversed(info.children.get(leaf, ())):
            body = Allocate(child.buffer, seq(self.stage(child), body))
        return loop(leaf, info.extents[leaf], body, info.stage.attrs.get(leaf))

    def _update(self, info: StageBounds) -> Stmt:
        op = info.op
        target = self.target(info, info.values)
        if isinstance(op.body, Reduce):
            source = self.value(op.body.source, info.values)
            value = op.body.reducer.combine(Load(info.buffer, tuple(target)), source)
        else:
            value = self.value(op.body, info.values)
        return guarded(guards(self.bounds, info, info.values, True), Store(info.buffer, target, value))

    def _init(self, info: StageBounds, first_reduce: int) -> Stmt:
        """The nest that stores the reduction's identity, over fresh copies of the data loops inside it."""
        op, stage = info.op, info.stage
        assert isinstance(op.body, Reduce)
        values: dict[IterVar, Affine] = {}
        copies: list[tuple[IterVar, IterVar]] = []
        for i, leaf in enumerate(stage.leaf_iter_vars):
            if i < first_reduce:
                values[leaf] = self.indexer.var(leaf)
            elif leaf.kind == "reduce":
                values[leaf] = ZERO
            else:
                fresh = IterVar(f"{leaf.name}_init", info.extents[leaf])
                self.indexer.declare(fresh, info.extents[leaf])
                values[leaf] = self.indexer.var(fresh)
                copies.append((leaf, fresh))
        env = leaf_values(self.indexer, stage.relations, info.extents, values)
        for a, low in zip(op.axis, info.start, strict=True):
            env[a] = env[a] + low
        body: Stmt = Store(info.buffer, self.target(info, env), op.body.reducer.identity(op.output.dtype))
        body = guarded(guards(self.bounds, info, env, False), body)
        for leaf, fresh in reversed(copies):
            body = loop(fresh, info.extents[leaf], body, stage.attrs.get(leaf))
        return body


def guarded(conditions: Sequence[Expr], body: Stmt) -> Stmt:
    """``body`` under the conjunction of ``conditions``."""
    if not conditions:
        return body
    cond = logical_and(*conditions)
    if isinstance(cond, IntImm) and cond.value:
        return body
    return If(cond, body)


def loop(var: Var, extent: int, body: Stmt, attr: LoopAttr | None) -> Stmt:
    """A loop; one of extent 1 is only kept to carry pragmas."""
    annotations: dict[str, Any] = attr.pragmas if attr is not None else {}
    if extent == 1 and not annotations:
        return body
    kind, tag = "serial", ""
    if attr is not None and extent > 1:
        kind = attr.kind
        tag = attr.thread.tag if attr.thread is not None and kind == "thread" else ""
    return For(var, extent, body, kind, tag, annotations)
