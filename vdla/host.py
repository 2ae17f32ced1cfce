"""One scheduled tensor expression on the computer that compiles, through LLVM.

    from vdla import host
    (out_data,) = host.run(s, [a, b, out], a_data, b_data)

The counterpart of :func:`vdla.build` for any schedule that is not tensorized: to check an expression, or a schedule
while it is being written, before it goes to the accelerator.
"""

from __future__ import annotations

from collections.abc import Sequence

import llvmlite.binding as llvm
import numpy as np

from compiler import te
from compiler.backend.llvm import compile_functions
from compiler.lower import lower
from runtime.artifact import ALIGNMENT, CpuCode, CpuStep
from runtime.cpu import CpuDevice
from runtime.errors import InputError


def run(
    schedule: te.Schedule, args: Sequence[te.Tensor], *inputs: np.ndarray, name: str = "main"
) -> tuple[np.ndarray, ...]:
    """Compile a schedule for this computer and run it once.

    Args:
        schedule: memory scopes and pragmas of targets are plain memory and plain loops here.
        args: inputs and outputs of the computation, in any order.
        inputs: data of those ``args`` that are placeholders, in their order; shapes and dtypes as declared.

    Returns:
        The outputs, in the order of ``args``.

    Raises:
        InputError: for another number, shape or dtype of inputs than declared.
        ScheduleError: the schedule is wrong.  CodegenError: it calls an instruction that this computer does not have.
    """
    func = lower(schedule, args, f"kernel_{name}")
    given = [a for a in args if isinstance(a.op, te.PlaceholderOp)]
    if len(inputs) != len(given):
        raise InputError(f"{name} takes {len(given)} inputs, got {len(inputs)}")
    offsets, size = [], 0
    for buffer in func.params:
        offsets.append(size)
        size = -(-(size + buffer.nbytes) // ALIGNMENT) * ALIGNMENT
    place = dict(zip(args, offsets, strict=True))
    room = np.zeros(size + ALIGNMENT, np.uint8)
    memory = room[-room.ctypes.data % ALIGNMENT :]
    for tensor, array in zip(given, inputs, strict=True):
        if array.shape != tensor.shape or array.dtype != np.dtype(tensor.dtype):
            raise InputError(
                f"input '{tensor.name}' must be {tensor.dtype}{list(tensor.shape)}, "
                f"got {array.dtype}{list(array.shape)}"
            )
        raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        memory[place[tensor] : place[tensor] + raw.size] = raw
    step = CpuStep(func.name, tuple(offsets), name, name, "", ())
    CpuDevice(CpuCode(compile_functions([func]), llvm.get_process_triple(), ()), [step]).execute(step, memory)
    outputs = []
    for tensor in args:
        if tensor not in given:
            count = int(np.prod(tensor.shape)) * np.dtype(tensor.dtype).itemsize
            raw = memory[place[tensor] : place[tensor] + count]
            outputs.append(raw.view(np.dtype(tensor.dtype)).reshape(tensor.shape).copy())
    return tuple(outputs)
