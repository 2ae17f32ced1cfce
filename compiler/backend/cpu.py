"""The CPU target: every operator that has a tensor expression, compiled through LLVM.

`CpuTarget.compile` lowers one fused group to a kernel; `compile_kernels` makes one ELF object of all of them, a symbol
a kernel.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from compiler.backend.cpu_convolution import vector_conv2d
from compiler.backend.cpu_schedule import default_schedule
from compiler.backend.llvm import compile_functions
from compiler.errors import CodegenError, CompileError
from compiler.graph.fuse import FusedGroup, pattern_of
from compiler.graph.ir import Node, Value
from compiler.graph.layout import is_plain
from compiler.ir import DTYPES, PrimFunc
from compiler.lower.pipeline import PassContext, lower
from compiler.ops import Pattern, get_op
from compiler.ops.compute import ConstantOp, compute_of, has_compute
from compiler.target import Target
from compiler.te.tensor import ComputeOp, Tensor, placeholder

# Expressions of the same meaning that run faster here than the general ones.
_PREFERRED = {"conv2d": vector_conv2d}
_NOT_IN_NAME = re.compile(r"\W+", re.ASCII)


@dataclass(frozen=True)
class CpuKernel:
    """One compiled group.

    symbol: its C name, `void symbol(uint8_t *, ...)`. func: the lowered function. args: the values behind the
    pointers in call order: inputs and constants, then `tables`, then outputs. tables: those of them that are
    constants of the kernel's own (per-channel scales of an attribute) and belong to no graph.
    """

    symbol: str
    func: PrimFunc
    args: list[Value]
    tables: list[Value]


class CpuTarget(Target):
    """Compiles fused groups to functions of the host's C calling convention.

    name: "cpu", unless several CPUs are told apart. Values keep the default layout; layout_transform converts from
    and to other targets' layouts.
    """

    def __init__(self, name: str = "cpu") -> None:
        self.name = name

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

    def compile(self, group: FusedGroup, *, context: PassContext | None = None, **options: Any) -> CpuKernel:
        """Lower one group; the symbol is derived from its output's name, so it is unique within a graph.

        `context` watches the lowering (dumps, timings). CompileError when an operator has no tensor expression or
        reads a layout that it does not understand.
        """
        if options:
            raise CodegenError(f"target '{self.name}' has no compile option {sorted(options)}; it has context")
        tensors = {value: placeholder(value.storage_shape, value.dtype, _c_name(value.name)) for value in group.inputs}
        for node in group.nodes:
            tensors[node.output] = _expression(node, tensors)
        outputs = [tensors[value] for value in group.outputs]
        schedule = default_schedule(outputs)
        read = set(schedule.placeholders)
        args = [value for value in group.inputs if tensors[value] in read]
        tables: list[Value] = []
        for tensor in schedule.placeholders:
            if isinstance(tensor.op, ConstantOp):
                name = f"{group.output.name}.{tensor.name}.{len(tables)}"
                table = Value(name, tensor.shape, tensor.dtype, const=tensor.op.array)
                tensors[table] = tensor
                tables.append(table)
        args += [*tables, *group.outputs]
        symbol = symbol_of(group.output.name)
        func = lower(schedule, [tensors[value] for value in args], symbol, context=context)
        # Element-wise kernels wait for memory: leaving multiply and add apart is free and keeps numpy's rounding.
        func.attrs["contract"] = any(pattern_of(node) is not Pattern.INJECTIVE for node in group.nodes)
        return CpuKernel(symbol, func, args, tables)


def compile_kernels(
    kernels: Sequence[CpuKernel], *, target_triple: str | None = None, cpu: str = "host", opt: int | None = None
) -> bytes:
    """One relocatable ELF object with all kernels; arguments as of `compiler.backend.llvm.compile_functions`.

    opt: LLVM's optimisation level; None takes 1 if a kernel reduces (higher levels unroll short rows before they can
    be vectorized: longer compilation, slower code), else 3. CodegenError when two kernels have one symbol (they come
    from different graphs).
    """
    if opt is None:
        opt = 1 if any(kernel.func.attrs["contract"] for kernel in kernels) else 3
    return compile_functions([kernel.func for kernel in kernels], target_triple=target_triple, cpu=cpu, opt=opt)


def symbol_of(name: str) -> str:
    """A C identifier for a value's name; different names get different ones."""
    plain = _c_name(name)
    if plain != name:
        plain = f"{plain}_{sha256(name.encode()).hexdigest()[:8]}"
    return f"cpu_{plain}"


def _c_name(name: str) -> str:
    return _NOT_IN_NAME.sub("_", name).strip("_")[:80] or "value"


def _expression(node: Node, tensors: dict[Value, Tensor]) -> Tensor:
    """The tensor expression of one node; CompileError where layouts or a plug-in's compute do not fit."""
    if node.op != "layout_transform":
        _check_layouts(node, (*node.inputs, node.output))
    inputs = [tensors[value] for value in node.inputs]
    attrs = get_op(node.op).bind(node.attrs)
    result = _PREFERRED.get(node.op, compute_of(node.op))(inputs, attrs, node.output.type)
    expected = (node.output.storage_shape, node.output.dtype)
    if not isinstance(result.op, ComputeOp) or (result.shape, result.dtype) != expected:
        raise CompileError(
            f"node '{node.name}': the tensor expression of '{node.op}' must be a te.compute of "
            f"{expected[1]}{list(expected[0])}, got {result!r}"
        )
    return result


def _check_layouts(node: Node, values: Iterable[Value]) -> None:
    for value in values:
        if not is_plain(value.layout):
            raise CompileError(
                f"node '{node.name}': the CPU's {node.op} cannot use '{value.name}' in layout {value.layout}; "
                f"a layout_transform must convert it"
            )
