"""What a stage knows of its loops, and what its primitives check before they change it and write down after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from compiler.te.errors import ScheduleError, user_location
from compiler.te.intrin import TensorIntrin
from compiler.te.relations import Fuse, Relation, Split, pass_down
from compiler.te.scan import ScanOp
from compiler.te.tensor import ComputeOp, IterVar, Operation, PlaceholderOp, Tensor

if TYPE_CHECKING:
    from compiler.te.schedule import Schedule
    from compiler.te.stage import Stage


@dataclass
class LoopAttr:
    """How one loop is run."""

    kind: str = "serial"
    thread: IterVar | None = None
    pragmas: dict[str, Any] = field(default_factory=dict)


class StageState:
    """The loop arrangement of one tensor.

    Attributes:
        op: the operation computed here (its ``axis`` and ``reduce_axis`` are what the primitives start from).
        leaf_iter_vars: the loops as they stand, outermost first.
        scope: memory scope of the tensor.
        scan: of what is computed from the state of a scan, that scan's stage.
        shares_memory: whether it writes into the memory of a scan's state (it is its init or update).
    """

    def __init__(self, schedule: Schedule, op: Operation, is_output: bool) -> None:
        self.schedule = schedule
        self.op = op
        self.is_output = is_output
        self.scope = "global"
        self.relations: list[Relation] = []
        self.leaf_iter_vars: list[IterVar] = []
        self.attrs: dict[IterVar, LoopAttr] = {}
        self.inlined = False
        self.attach: tuple[Stage, IterVar] | None = None
        self.attach_location = ""
        self.tensorized: tuple[IterVar, TensorIntrin, str] | None = None
        self.alignments: dict[IterVar, tuple[int, int]] = {}
        self.double_buffered = False
        self.scan: Stage | None = None
        self.shares_memory = False
        if isinstance(op, ScanOp):
            self.leaf_iter_vars = [op.scan_axis]
            schedule.trace_log.bind_axis(op.scan_axis, op.output, "op.scan_axis")
        if isinstance(op, ComputeOp):
            self.leaf_iter_vars = [*op.axis, *op.reduce_axis]
            self.name_axes()

    @property
    def tensor(self) -> Tensor:
        return self.op.output

    @property
    def name(self) -> str:
        return self.op.output.name

    def __repr__(self) -> str:
        return f"Stage({self.name})"

    def name_axes(self) -> None:
        """Tell the trace how the axes of the operation are written."""
        assert isinstance(self.op, ComputeOp)
        trace = self.schedule.trace_log
        tensor = self.tensor

        def bind(axes: Sequence[IterVar], attribute: str) -> None:
            for i, a in enumerate(axes):
                trace.bind_axis(a, tensor, f"op.{attribute}[{i}]")

        bind(self.op.axis, "axis")
        bind(self.op.reduce_axis, "reduce_axis")

    # ------------------------------------------------------------------ checks and records

    def fail(self, primitive: str, message: str) -> ScheduleError:
        return ScheduleError(primitive, self.name, message)

    def _compute(self, primitive: str) -> ComputeOp:
        if isinstance(self.op, PlaceholderOp):
            raise self.fail(primitive, f"'{self.name}' is a placeholder: it has no loops")
        if isinstance(self.op, ScanOp):
            raise self.fail(
                primitive, f"'{self.name}' is a scan: schedule what it updates, or compute_at its scan_axis"
            )
        if not isinstance(self.op, ComputeOp):
            raise self.fail(primitive, f"'{self.name}' is not a te.compute: its loops are its own")
        if self.inlined and primitive != "compute_inline":
            raise self.fail(primitive, "the stage is inlined: it has no loops of its own")
        return self.op

    @property
    def must_store(self) -> bool:
        """Whether the tensor needs memory: it is an output, or read by something else than expressions."""
        readers = self.schedule.readers_of(self)  # type: ignore[arg-type]
        return self.is_output or any(not isinstance(reader.op, ComputeOp) for reader in readers)

    def _own_memory(self, primitive: str) -> None:
        if self.shares_memory:
            raise self.fail(primitive, f"'{self.name}' lies in the memory of a scan's state")

    def _leaf(self, primitive: str, axis: object, argument: str = "axis") -> IterVar:
        if isinstance(self.op, ScanOp) and primitive == "compute_at" and axis is self.op.scan_axis:
            return self.op.scan_axis
        self._compute(primitive)
        loops = ", ".join(v.name for v in self.leaf_iter_vars)
        if not isinstance(axis, IterVar):
            raise self.fail(primitive, f"{argument} {axis!r} is not a loop axis; the loops are {loops}")
        if axis not in self.leaf_iter_vars:
            for r in self.relations:
                if isinstance(r, Split) and r.parent is axis:
                    raise self.fail(
                        primitive, f"{argument} '{axis.name}' was split into {r.outer.name}, {r.inner.name}: use those"
                    )
                if isinstance(r, Fuse) and axis in (r.outer, r.inner):
                    raise self.fail(primitive, f"{argument} '{axis.name}' was fused into {r.fused.name}: use that")
            raise self.fail(primitive, f"{argument} '{axis.name}' is not a loop of this stage; they are {loops}")
        return axis

    def _positive(self, primitive: str, argument: str, value: object) -> int:
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise self.fail(primitive, f"{argument} must be a positive integer, got {value!r}")
        n = value.__index__()  # type: ignore[attr-defined]
        if n < 1:
            raise self.fail(primitive, f"{argument} must be a positive integer, got {n}")
        return n

    def _record(self, primitive: str, *args: Any, results: Sequence[IterVar] = (), **kwargs: Any) -> None:
        trace = self.schedule.trace_log
        parts = [trace.text(a) for a in args] + [f"{k}={trace.text(v)}" for k, v in kwargs.items()]
        call = f"s[{trace.text(self.tensor)}].{primitive}({', '.join(parts)})"
        if results:
            call = f"{', '.join(trace.bind(r, r.name) for r in results)} = {call}"
        trace.record(primitive, call, user_location())

    def attr(self, axis: IterVar) -> LoopAttr:
        """The (mutable) attributes of a loop."""
        return self.attrs.setdefault(axis, LoopAttr())

    def _plain(self, primitive: str, axis: IterVar, argument: str = "axis") -> None:
        """Refuse to restructure a loop that already has a kind, a pragma or a stage attached to it."""
        a = self.attrs.get(axis)
        if a is not None and (a.kind != "serial" or a.pragmas):
            what = a.kind if a.kind != "serial" else f"marked with pragma {next(iter(a.pragmas))!r}"
            raise self.fail(primitive, f"{argument} '{axis.name}' is already {what}: do this first")
        for other in self.schedule.stages:
            if other.attach == (self, axis):
                message = f"{argument} '{axis.name}' is where '{other.name}' is computed: do this first"
                raise self.fail(primitive, message)
        if self.tensorized is not None and self._inside_tensorized(axis):
            raise self.fail(primitive, f"{argument} '{axis.name}' is inside the tensorized loops")

    def _inside_tensorized(self, axis: IterVar) -> bool:
        if self.tensorized is None:
            return False
        leaves = self.leaf_iter_vars
        return leaves.index(axis) >= leaves.index(self.tensorized[0])

    def extents(self) -> dict[IterVar, int]:
        """Extent of every axis and derived loop, for the whole tensor (lowering may need less of it)."""
        op = self._compute("extents")
        table = {a: a.extent for a in (*op.axis, *op.reduce_axis)}
        pass_down(self.relations, table)
        return table
