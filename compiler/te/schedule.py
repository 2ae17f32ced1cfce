"""Schedules: the loop arrangement of a whole computation, one :class:`Stage` a tensor.

``create_schedule`` starts from plain loops; primitives of the stages and the caching primitives here rearrange them.
Stages own their definitions: caching rewrites what a stage reads, never the user's tensors, so every tensor handle
stays good for ``s[tensor]``.
"""

from __future__ import annotations

from collections.abc import Sequence

from compiler.ir import Expr, Load, rewrite_expr
from compiler.te.errors import ScheduleError, TensorExprError, user_location
from compiler.te.rfactor import rfactor
from compiler.te.scan import ScanOp
from compiler.te.stage import Stage
from compiler.te.tensor import ComputeOp, IterVar, Operation, PlaceholderOp, Tensor
from compiler.te.trace import Trace


def replace_reads(expr: Expr, table: dict[Tensor, Tensor]) -> Expr:
    """``expr`` with loads of some tensors turned into loads, at the same indices, of others."""

    def swap(node: Expr) -> Expr | None:
        if isinstance(node, Load) and node.buffer in table:
            return Load(table[node.buffer], node.indices)  # type: ignore[index]
        return None

    return rewrite_expr(expr, swap)


class Schedule:
    """The stages of a computation in topological order (producers first), placeholders among them."""

    def __init__(self, outputs: Sequence[Tensor]) -> None:
        self.outputs = tuple(outputs)
        self.trace_log = Trace()
        self.stages: list[Stage] = []
        self._by_tensor: dict[Tensor, Stage] = {}
        order: list[Operation] = []
        seen: set[Operation] = set()

        def visit(op: Operation) -> None:
            stack: list[tuple[Operation, bool]] = [(op, False)]
            while stack:
                current, done = stack.pop()
                if done:
                    order.append(current)
                elif current not in seen:
                    seen.add(current)
                    stack.append((current, True))
                    stack.extend((t.op, False) for t in reversed(current.inputs) if t.op not in seen)

        for t in self.outputs:
            visit(t.op)
        for op in order:
            self._add(Stage(self, op, is_output=op.output in self.outputs), len(self.stages))
        self.scans = {state: self[op] for op in order if isinstance(op, ScanOp) for state in op.states}
        for stage in self.stages:
            self._enter_scan(stage)

    def _add(self, stage: Stage, at: int) -> None:
        self.stages.insert(at, stage)
        self._by_tensor[stage.tensor] = stage

    def _insert(self, stage: Stage, at: int) -> None:
        """A stage that a primitive makes."""
        self._add(stage, at)
        self._enter_scan(stage)

    def _enter_scan(self, stage: Stage) -> None:
        """Compute what depends on the state of a scan at the scan's loop; refuse it where it cannot be."""
        if isinstance(stage.op, ScanOp):
            for tensor in (*stage.op.init, *stage.op.update):
                self[tensor].shares_memory = True
            if any(self[tensor].scan is not None for tensor in stage.op.init):
                raise TensorExprError(f"scan '{stage.name}' starts inside another scan: only its results may be used")
            return
        scans = {self.scans[t] for t in stage.op.inputs if t in self.scans}
        scans |= {s for t in stage.op.inputs if (s := self._by_tensor[t].scan) is not None}
        scans |= {
            self[r.op] for r in self.readers_of(stage) if isinstance(r.op, ScanOp) and stage.tensor in r.op.update
        }
        if not scans:
            return
        names = ", ".join(s.name for s in scans)
        if len(scans) > 1 or stage.is_output or not isinstance(stage.op, ComputeOp):
            raise TensorExprError(
                f"'{stage.name}' depends on the state of {names}: it can be only a part of one update"
            )
        (stage.scan,) = scans
        stage.attach = (stage.scan, stage.scan.leaf_iter_vars[0])

    def __getitem__(self, tensor: Tensor | Operation) -> Stage:
        if isinstance(tensor, Operation):
            tensor = tensor.output
        stage = self._by_tensor.get(tensor) if isinstance(tensor, Tensor) else None
        if stage is None:
            names = ", ".join(s.name for s in self.stages)
            raise ScheduleError("[]", "", f"{tensor!r} is not a tensor of this schedule; they are {names}")
        return stage

    def tensor(self, name: str) -> Tensor:
        """The tensor of that name (of several, the first in topological order)."""
        for stage in self.stages:
            if stage.name == name:
                return stage.tensor
        names = ", ".join(s.name for s in self.stages)
        raise ScheduleError("tensor", "", f"no tensor is named {name!r}; they are {names}")

    def readers_of(self, stage: Stage) -> list[Stage]:
        """The stages whose expression reads ``stage``'s tensor."""
        return [s for s in self.stages if stage.tensor in s.op.inputs]

    def reads(self, consumer: Stage, producer: Stage) -> bool:
        """True if ``consumer`` needs ``producer``, directly or through other stages."""
        stack, seen = [consumer], {consumer}
        while stack:
            for t in stack.pop().op.inputs:
                s = self._by_tensor[t]
                if s is producer:
                    return True
                if s not in seen:
                    seen.add(s)
                    stack.append(s)
        return False

    # ------------------------------------------------------------------ caches

    def cache_read(self, tensor: Tensor, scope: str, readers: Sequence[Tensor | Stage] | None = None) -> Tensor:
        """Let ``readers`` (default: all) read ``tensor`` through a copy in ``scope``; returns the copy.

        >>> A = te.placeholder((8,), "int32", "A")
        >>> B = te.compute((4,), lambda i: A[i] + A[i + 1], "B")
        >>> s = te.create_schedule(B)
        >>> AL = s.cache_read(A, "local", [B])
        >>> s[AL].compute_at(s[B], B.op.axis[0])
        >>> s.show()
        for i in range(4):
            A_local = allocate(int32[2], scope='local')
            for ax0 in range(2):
                A_local[ax0] = A[i + ax0]
            B[i] = A_local[0] + A_local[1]
        """
        stage = self[tensor]
        if not isinstance(scope, str) or not scope:
            raise ScheduleError("cache_read", stage.name, f"scope must be a name, got {scope!r}")
        actual = self.readers_of(stage)
        if readers is None:
            chosen = actual
        else:
            if isinstance(readers, (Tensor, Stage)):
                readers = [readers]
            chosen = [r if isinstance(r, Stage) else self[r] for r in readers]
            for r in chosen:
                if r not in actual:
                    names = ", ".join(a.name for a in actual) or "none"
                    raise ScheduleError(
                        "cache_read", stage.name, f"reader '{r.name}' does not read it; its readers are {names}"
                    )
        chosen = [r for r in chosen if isinstance(r.op, ComputeOp)]
        if not chosen:
            raise ScheduleError("cache_read", stage.name, "it has no readers")
        axis = [IterVar(f"ax{d}", n) for d, n in enumerate(tensor.shape)]
        op = ComputeOp(self._fresh_name(f"{tensor.name}_{scope}"), axis, Load(tensor, tuple(axis)), tag="copy")
        for r in chosen:
            self._redefine(r, {tensor: op.output})
        cache = Stage(self, op, is_output=False)
        cache.scope = scope
        self._insert(cache, self.stages.index(stage) + 1)
        log = self.trace_log
        args = f"{log.text(tensor)}, {scope!r}"
        if readers is not None:
            args += f", [{', '.join(log.text(r.tensor) for r in chosen)}]"
        log.record("cache_read", f"{log.bind(op.output, op.name)} = s.cache_read({args})", user_location())
        return op.output

    def cache_write(self, tensor: Tensor, scope: str) -> Tensor:
        """Compute ``tensor`` in a buffer in ``scope`` and copy it out; returns that buffer's tensor, whose stage takes
        over the expression and its reduce axes.  Call it before the stage's loops are changed.

        >>> A = te.placeholder((4, 8), "int32", "A")
        >>> k = te.reduce_axis(8, "k")
        >>> B = te.compute((4,), lambda i: te.sum(A[i, k], axis=k), "B")
        >>> s = te.create_schedule(B)
        >>> BL = s.cache_write(B, "acc")
        >>> s[BL].compute_at(s[B], B.op.axis[0])
        >>> s.show()
        for i in range(4):
            B_acc = allocate(int32[1], scope='acc')
            B_acc[0] = 0
            for k in range(8):
                B_acc[0] = B_acc[0] + A[i, k]
            B[i] = B_acc[0]
        """
        stage = self[tensor]
        op = stage.op
        if not isinstance(op, ComputeOp):
            raise ScheduleError(
                "cache_write", stage.name, "it is a placeholder or a statement: there is no expression to move"
            )
        if not isinstance(scope, str) or not scope:
            raise ScheduleError("cache_write", stage.name, f"scope must be a name, got {scope!r}")
        if stage.relations or stage.attrs or stage.inlined or stage.leaf_iter_vars != [*op.axis, *op.reduce_axis]:
            raise ScheduleError("cache_write", stage.name, "its loops were already changed: do cache_write first")
        if any(s.attach is not None and s.attach[0] is stage for s in self.stages):
            raise ScheduleError("cache_write", stage.name, "a stage is computed at its loops: do cache_write first")
        axis = [IterVar(a.name, a.extent) for a in op.axis]
        table = dict(zip(op.axis, axis, strict=True))
        body = rewrite_expr(op.body, lambda n: table.get(n) if isinstance(n, IterVar) else None)
        cached_op = ComputeOp(self._fresh_name(f"{tensor.name}_{scope}"), axis, body, op.tag)
        log = self.trace_log
        text = f"{log.text(tensor)}, {scope!r}"
        stage.op = ComputeOp(op.name, op.axis, Load(cached_op.output, tuple(op.axis)), "copy", output=tensor)
        stage.leaf_iter_vars = list(op.axis)
        cached = Stage(self, cached_op, is_output=False)
        cached.scope = scope
        self._insert(cached, self.stages.index(stage))
        bound = log.bind(cached_op.output, cached_op.name)
        log.record("cache_write", f"{bound} = s.cache_write({text})", user_location())
        return cached_op.output

    def rfactor(self, tensor: Tensor, axis: IterVar) -> Tensor:
        """Factor a reduction: partial results, one for each iteration of the reduce loop ``axis``, become a tensor of
        their own (returned, with a leading dimension for ``axis``) that ``tensor`` then reduces.  Floating-point sums
        are reassociated.

        >>> A = te.placeholder((12,), "int32", "A")
        >>> k = te.reduce_axis(12, "k")
        >>> B = te.compute((1,), lambda i: te.sum(A[k], axis=k), "B")
        >>> s = te.create_schedule(B)
        >>> ko, ki = s[B].split(k, factor=4)
        >>> BF = s.rfactor(B, ki)
        >>> s.show()
        B_rf = allocate(int32[4, 1])
        for k_inner in range(4):
            B_rf[k_inner, 0] = 0
            for k_outer in range(3):
                B_rf[k_inner, 0] = B_rf[k_inner, 0] + A[k_inner + k_outer * 4]
        B[0] = 0
        for k_inner_v in range(4):
            B[0] = B[0] + B_rf[k_inner_v, 0]
        """
        return rfactor(self, tensor, axis)

    def _fresh_name(self, wanted: str) -> str:
        wanted = wanted.replace(".", "_")
        taken = {s.name for s in self.stages}
        name, n = wanted, 0
        while name in taken:
            n += 1
            name = f"{wanted}_{n}"
        return name

    def _redefine(self, stage: Stage, table: dict[Tensor, Tensor]) -> None:
        """Let ``stage`` read other tensors in place of some."""
        op = stage.op
        assert isinstance(op, ComputeOp)
        stage.op = ComputeOp(op.name, op.axis, replace_reads(op.body, table), op.tag, output=op.output)

    # ------------------------------------------------------------------ looking at it

    @property
    def placeholders(self) -> tuple[Tensor, ...]:
        """The inputs, in topological order."""
        return tuple(s.tensor for s in self.stages if isinstance(s.op, PlaceholderOp) and s.tensor not in self.scans)

    def nest(self) -> str:
        """The loop nest as it stands now, as text."""
        from compiler.ir.printer import stmt_text
        from compiler.lower.make_loops import make_loops

        return stmt_text(make_loops(self, [*self.placeholders, *self.outputs]).body)

    def show(self) -> None:
        """Print the loop nest as it stands now; works after any primitive."""
        print(self.nest())

    def trace(self) -> str:
        """The primitives applied so far as runnable Python.

        It needs ``s`` (a fresh schedule of the same computation), ``te``, and the intrinsics by their names.

        >>> A = te.placeholder((8,), "int32", "A")
        >>> B = te.compute((8,), lambda i: A[i] + 1, "B")
        >>> s = te.create_schedule(B)
        >>> outer, inner = s[B].split(B.op.axis[0], factor=4)
        >>> s[B].unroll(inner)
        >>> print(s.trace())
        B = s.tensor('B')
        i_outer, i_inner = s[B].split(s[B].op.axis[0], factor=4)
        s[B].unroll(i_inner)
        """
        return str(self.trace_log)


def create_schedule(outputs: Tensor | Operation | Sequence[Tensor | Operation]) -> Schedule:
    """A schedule that computes ``outputs`` with plain loops, every stage at the root."""
    if isinstance(outputs, (Tensor, Operation)):
        outputs = [outputs]
    tensors = [t.output if isinstance(t, Operation) else t for t in outputs]
    for t in tensors:
        if not isinstance(t, Tensor):
            raise TensorExprError(f"create_schedule: output {t!r} is not a tensor")
    if not tensors:
        raise TensorExprError("create_schedule: needs at least one output")
    for t in tensors:
        if isinstance(t.op, PlaceholderOp):
            raise TensorExprError(f"create_schedule: output '{t.name}' is a placeholder: there is nothing to compute")
    return Schedule(tensors)
