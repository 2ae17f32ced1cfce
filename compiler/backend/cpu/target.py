"""The CPU target: every operator that has a tensor expression, compiled through LLVM.

`CpuTarget.compile` lowers one fused group to a kernel; `compile_kernels` makes one ELF object of all of them, a symbol
a kernel.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Protocol, Unpack

import numpy as np

from compiler.backend.cpu import amx
from compiler.backend.cpu.expressions import expression
from compiler.backend.cpu.int8_layouts import Int8Layouts
from compiler.backend.cpu.layouts import BlockedLayouts
from compiler.backend.cpu.lowered import Lowered, described, lowered
from compiler.backend.cpu.next_block import fetch_next_blocks
from compiler.backend.cpu.processor import Processor
from compiler.backend.cpu.rows import are_rows
from compiler.backend.cpu.schedules import schedule_group
from compiler.backend.cpu.workspace import workspaces_as_parameters
from compiler.backend.llvm import ObjectOptions, compile_fingerprinted
from compiler.errors import CodegenError
from compiler.graph.fuse import FusedGroup, pattern_of
from compiler.graph.ir import Node, Value
from compiler.ir import DTYPES, PrimFunc
from compiler.lower.pipeline import Pass, PassContext, lower
from compiler.lower.unswitch import unswitch
from compiler.ops import Pattern
from compiler.ops.compute import ConstantOp, has_compute
from compiler.target import NodeLayouts, Target
from compiler.te.schedule import create_schedule
from compiler.te.tensor import Tensor, placeholder
from compiler.tune.declaration import Declaration, declare_choices
from compiler.tune.space import ConfigSpace, Knobs

_PASSES = (Pass("unswitch", unswitch), Pass("fetch_next_blocks", fetch_next_blocks))
_Expressions = tuple[dict[Value, Tensor], list[Tensor]]
_NOT_IN_NAME = re.compile(r"\W+", re.ASCII)


@dataclass(frozen=True)
class CpuKernel:
    """One compiled group.

    symbol: its C name, `void symbol(uint8_t *, ...)`. lowered: its function. args: the values behind the
    pointers in call order: inputs and constants, then `tables`, then outputs, then `workspaces`. tables: those of them
    that are constants of the kernel's own (per-channel scales of an attribute) and belong to no graph. workspaces:
    memory that it needs while it runs.
    """

    symbol: str
    lowered: Lowered
    args: list[Value]
    tables: list[Value]
    workspaces: list[Value] = field(default_factory=list)

    @property
    def func(self) -> PrimFunc:
        """The function, lowered now if it is one that was lowered in an earlier process."""
        return self.lowered.func


class KnobSource(Protocol):
    """Decisions that are known to be good (from tuning)."""

    def knobs(self, target: CpuTarget, group: FusedGroup) -> Knobs | None:
        """Those of a group's schedule, or None for what is expected to be fastest."""
        ...


class CpuTarget(Target):
    """Compiles fused groups to functions of the host's C calling convention.

    name: "cpu", unless several CPUs are told apart. processor: what code is generated for (default: this machine).
    tuned: asked for each group's schedule first.
    Float convolutions and what follows them keep their channels in blocks (see `layouts`), everything else the default
    layout; layout_transform converts between them and to other targets' layouts.
    """

    def __init__(self, name: str = "cpu", processor: Processor | None = None, tuned: KnobSource | None = None) -> None:
        self.name = name
        self._tuned = tuned
        self.processor = processor or Processor.of()
        self._lowered: dict[Hashable, Lowered] = {}
        self._known: dict[Hashable, Knobs | None] = {}
        self._defaults: dict[FusedGroup, _Expressions] = {}
        self._layouts = BlockedLayouts(self.processor, lambda node: node.target == name)
        self._int8_layouts = Int8Layouts(self.processor, lambda node: node.target == name)

    def preferred_layouts(self, node: Node) -> NodeLayouts | None:
        """Blocks of channels around convolutions and what keeps them."""
        return self._layouts.preferred(node) or self._int8_layouts.preferred(node)

    def supports(self, node: Node) -> str | None:
        """None, or why the CPU cannot run a node: no tensor expression, an empty or exotic tensor."""
        if not has_compute(node.op):
            return f"operator '{node.op}' has no tensor expression"
        for value in (*node.inputs, *node.outputs):
            if value.dtype not in DTYPES:
                return f"'{value.name}' has element type {value.dtype}"
            if 0 in value.shape:
                return f"'{value.name}' is empty: shape {value.shape}"
        return None

    def supports_group(self, group: FusedGroup) -> str | None:
        """None, or that two moves of floats go faster apart: of blocks to lines, and then of lines as they are. As one
        they would divide for every element."""
        if group.output.dtype == "float32" and [node.op for node in group.nodes] == ["layout_transform", "reshape"]:
            return "a layout change and a flattening are faster apart"
        return None

    def fuses_rows(self, group: FusedGroup) -> bool:
        """Layer normalisations and their kind are one kernel where vectors fit their rows."""
        return are_rows(group)

    def compile(self, group: FusedGroup, *, context: PassContext | None = None, **options: Any) -> CpuKernel:
        """Lower one group. Groups of one signature share a function; its symbol is derived from the name of the first
        one's output, so it is unique within a graph.

        `context` watches the lowering (dumps, timings). CompileError when an operator has no tensor expression or
        reads a layout that it does not understand.
        """
        if options:
            raise CodegenError(f"target '{self.name}' has no compile option {sorted(options)}; it has context")
        knobs = self._decisions(group)
        built = self._defaults.pop(group, None) if isinstance(knobs, Declaration) else None
        tensors, outputs = built or self._expressions(group, knobs)
        args, tables = _arguments(group, outputs, tensors)
        key = signature(group), tuple((table.shape, table.dtype) for table in tables)
        known = self._lowered.get(key)
        if known is None:
            symbol = symbol_of(group.output.name)

            def lower_group() -> PrimFunc:
                schedule = schedule_group(outputs, self.processor, knobs)
                func = lower(
                    schedule, [tensors[value] for value in args], symbol, target_passes=_PASSES, context=context
                )
                func = amx.configure_tiles(workspaces_as_parameters(func))
                func.attrs["parallel"] = True
                # Element-wise kernels wait for memory: leaving multiply and add apart is free, and numpy's rounding.
                func.attrs["contract"] = any(pattern_of(node) is not Pattern.INJECTIVE for node in group.nodes)
                return func

            decisions = knobs.chosen if isinstance(knobs, Declaration) else getattr(knobs, "values", None)
            if context is not None or decisions is None:  # somebody watches, or nobody knows what will be decided
                known = Lowered(None, lower_group)
            else:
                follows_from = key, symbol, described(decisions), described(vars(self.processor))
                known = lowered(follows_from, lower_group)
            self._lowered[key] = known
        workspaces = [
            Value(f"{group.output.name}.{name}.workspace", shape, dtype)
            for name, shape, dtype in known.facts.params[len(args) :]
        ]
        return CpuKernel(known.facts.name, known, [*args, *workspaces], tables, workspaces)

    def loops(self, group: FusedGroup) -> PrimFunc:
        """The group's loops before any pass: tensors with their dimensions, loops that will be written out still loops.
        What cost models look at (`compiler.tune.features`)."""
        knobs = self._decisions(group)
        tensors, outputs = self._expressions(group, knobs)
        args, _ = _arguments(group, outputs, tensors)
        schedule = schedule_group(outputs, self.processor, knobs)
        context = PassContext(verify=False, until="make_loops")
        return lower(schedule, [tensors[value] for value in args], "loops", context=context)

    def space(self, group: FusedGroup) -> ConfigSpace | None:
        """The schedules that the group's template offers, or that are drawn from its expressions if it reduces and has
        none; the first point is the default. None where there is no choice."""

        def template(knobs: Knobs) -> None:
            _, outputs = self._expressions(group, knobs)
            schedule_group(outputs, self.processor, knobs)

        return declare_choices(template)

    def offers_choice(self, group: FusedGroup) -> bool:
        """Whether `space` has more than the default. The expressions are kept for compiling the group by default."""
        knobs = Declaration()
        self._defaults[group] = built = self._expressions(group, knobs)
        schedule_group(built[1], self.processor, knobs)
        return any(len(knob.values) > 1 for knob in knobs.knobs.values())

    def _decisions(self, group: FusedGroup) -> Knobs:
        """What is known to be good for a group, or expected to be fastest."""
        key = signature(group)
        if self._tuned is None:
            return Declaration()
        if key not in self._known:
            self._known[key] = self._tuned.knobs(self, group)
        return self._known[key] or Declaration()

    def _expressions(self, group: FusedGroup, knobs: Knobs) -> _Expressions:
        """The tensors of a group's values, and those of its outputs."""
        tensors = {value: placeholder(value.storage_shape, value.dtype, _c_name(value.name)) for value in group.inputs}
        for node in group.nodes:
            tensors[node.output] = expression(node, tensors, self.processor, knobs)
        return tensors, [tensors[value] for value in group.outputs]


def _arguments(
    group: FusedGroup, outputs: Sequence[Tensor], tensors: dict[Value, Tensor]
) -> tuple[list[Value], list[Value]]:
    """The kernel's arguments (what the expressions read, tables, outputs) and which of them are tables; tables are
    added to `tensors`."""
    placeholders = create_schedule(outputs).placeholders
    read = set(placeholders)
    args = [value for value in group.inputs if tensors[value] in read]
    tables: list[Value] = []
    for tensor in placeholders:
        if isinstance(tensor.op, ConstantOp):
            name = f"{group.output.name}.{tensor.name}.{len(tables)}"
            table = Value(name, tensor.shape, tensor.dtype, const=tensor.op.array)
            tensors[table] = tensor
            tables.append(table)
    return [*args, *tables, *group.outputs], tables


def signature(group: FusedGroup) -> Hashable:
    """What a group's kernel depends on: two groups with one signature share one kernel.

    Operators, attributes and how they are joined; of inputs and outputs everything but names and elements.
    """
    number: dict[Value, int] = {}
    values: list[Hashable] = []
    for value in (*group.inputs, *(node.output for node in group.nodes)):
        number[value] = len(values)
        values.append((value.shape, value.dtype, value.layout, value.const is not None))
    nodes = tuple(
        (
            node.op,
            tuple((name, _frozen(node.attrs[name])) for name in sorted(node.attrs)),
            tuple(number[value] for value in node.inputs),
        )
        for node in group.nodes
    )
    return tuple(values), nodes, tuple(number[value] for value in group.outputs)


def _frozen(attribute: object) -> Hashable:
    """An attribute's value as something that can be compared and hashed."""
    if isinstance(attribute, np.ndarray):
        return attribute.shape, attribute.dtype.str, attribute.tobytes()
    if isinstance(attribute, list | tuple):
        return tuple(map(_frozen, attribute))
    return type(attribute).__name__, repr(attribute)


def compile_kernels(kernels: Sequence[CpuKernel], **options: Unpack[ObjectOptions]) -> bytes:
    """One relocatable ELF object with all kernels; options as of `compiler.backend.llvm.compile_functions`.

    The optimisation level is 1 by default if a kernel reduces (higher levels unroll short rows before they can be
    vectorized: longer compilation, slower code). CodegenError when two kernels have one symbol (they come from
    different graphs).
    """
    options.setdefault("opt", 1 if any(kernel.lowered.facts.contract for kernel in kernels) else 3)
    functions = list({id(kernel.lowered): kernel.lowered for kernel in kernels}.values())
    return compile_fingerprinted(
        [function.facts.fingerprint for function in functions],
        lambda: [function.func for function in functions],
        **options,
    )


def symbol_of(name: str) -> str:
    """A C identifier for a value's name; different names get different ones."""
    plain = _c_name(name)
    if plain != name:
        plain = f"{plain}_{sha256(name.encode()).hexdigest()[:8]}"
    return f"cpu_{plain}"


def _c_name(name: str) -> str:
    return _NOT_IN_NAME.sub("_", name).strip("_")[:80] or "value"
