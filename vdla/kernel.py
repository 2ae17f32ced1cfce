"""One scheduled tensor expression on VDLA: the road of a user's own operator.

    s = te.create_schedule(out)          # the user's computation and schedule
    kernel = vdla.build(s, [a, b, out], config="tiny")
    run = kernel.run(a_data, b_data)     # numpy arrays in the shapes of the arguments
    run.outputs[0], run.cycles, run.utilization

It is the road of every layer of a network: lowering, tensorized statements, DMA analysis, micro-ops, order of the
loads, tokens, proof.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from compiler import te
from compiler.ir import PrimFunc
from compiler.lower import PassContext, lower
from hw.asm import disassemble
from hw.config import Config
from runtime.errors import InputError
from sim import cycle, functional
from vdla.target.emit import Emitter
from vdla.target.program import Layer, Program, write_program

if TYPE_CHECKING:
    from sim.cycle import CycleResult

ALIGNMENT = 64


@dataclass(frozen=True)
class KernelRun:
    """What one run gave.

    outputs: the output tensors.  cycles: of the program (0 for the functional simulator).  utilization: GEMM operations
    a cycle.  trace: the cycle simulator's result (None for the functional one).
    """

    outputs: tuple[np.ndarray, ...]
    cycles: int
    utilization: float
    trace: CycleResult | None


class Kernel:
    """A compiled program; made by :func:`build`."""

    def __init__(self, config: Config, func: PrimFunc, args: Sequence[te.Tensor]) -> None:
        self.config, self.func, self.args = config, func, tuple(args)
        at = ALIGNMENT
        self._addresses: list[int] = []
        for buffer in func.params:
            self._addresses.append(at)
            at = -(-(at + buffer.nbytes) // ALIGNMENT) * ALIGNMENT
        layer = Layer(func.name, func.name, Emitter(func, config), tuple(self._addresses), 0)
        self.program: Program = write_program(config, [layer], at, at)
        self._uops = at
        unit = max(ALIGNMENT, config.instruction_bytes)
        self._code = -(-(at + self.program.uop_image.size) // unit) * unit
        self._size = self._code + self.program.code.size

    def disassembly(self) -> str:
        """The program as assembler text."""
        return disassemble(self.program.instructions)

    def run(self, *inputs: np.ndarray, sim: Literal["functional", "cycle"] = "cycle") -> KernelRun:
        """Run on inputs, in the order of the arguments that are placeholders.

        Raises:
            InputError: for another number, shape or dtype of inputs than declared.
        """
        given = [a for a in self.args if isinstance(a.op, te.PlaceholderOp)]
        if len(inputs) != len(given):
            raise InputError(f"{self.func.name} takes {len(given)} inputs, got {len(inputs)}")
        memory = np.zeros(self._size, np.uint8)
        places = dict(zip(self.args, self._addresses, strict=True))
        for tensor, array in zip(given, inputs, strict=True):
            if array.shape != tensor.shape or array.dtype != np.dtype(tensor.dtype):
                raise InputError(
                    f"input '{tensor.name}' must be {tensor.dtype}{list(tensor.shape)}, "
                    f"got {array.dtype}{list(array.shape)}"
                )
            raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
            memory[places[tensor] : places[tensor] + raw.size] = raw
        memory[self._uops : self._uops + self.program.uop_image.size] = self.program.uop_image
        memory[self._code : self._code + self.program.code.size] = self.program.code
        count = len(self.program.instructions)
        trace = None
        if sim == "functional":
            functional.run(memory, self._code, count, self.config)
        else:
            trace = cycle.run(memory, self._code, count, self.config)
        outputs = []
        for tensor in self.args:
            if tensor not in given:
                size = int(np.prod(tensor.shape)) * np.dtype(tensor.dtype).itemsize
                raw = memory[places[tensor] : places[tensor] + size]
                outputs.append(raw.view(np.dtype(tensor.dtype)).reshape(tensor.shape).copy())
        cycles = trace.cycles if trace is not None else 0
        busy = trace.interval(0, count).causes["gemm"] if trace is not None else 0
        return KernelRun(tuple(outputs), cycles, busy / cycles if cycles else 0.0, trace)


def build(
    schedule: te.Schedule,
    args: Sequence[te.Tensor],
    config: Config | str = "pynq-z1",
    name: str = "main",
    context: PassContext | None = None,
) -> Kernel:
    """Compile a scheduled computation for VDLA.

    Args:
        schedule: stages in VDLA's memory scopes, computations tensorized by :mod:`vdla.target.intrinsics` (or by
            intrinsics of the user's own that lower to VDLA's calls), copies under the ``dma_copy`` pragma.
        args: inputs and outputs, in the order of the kernel's arguments.
        config: the machine, or a board's name.
        context: watches the lowering (:class:`compiler.lower.PassContext`).

    Raises:
        ScheduleError, TensorizeError: the schedule is wrong; LoweringError: a statement has no VDLA instruction;
        CapacityError: a buffer is too small.
    """
    machine = config if isinstance(config, Config) else Config.load(config)
    return Kernel(machine, lower(schedule, args, name, context=context), args)
