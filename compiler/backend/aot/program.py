"""What a deployed network consists of: kernels in order, and where everything they touch lies.

Three places: constants (in the library, read only), the workspace (one arena that whoever runs the model provides) and
the caller's own input and output arrays, which kernels read and write in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from compiler.backend.cpu import CpuKernel
from compiler.graph.constants import DistinctBytes, bytes_of
from compiler.graph.fuse import FusedGroup
from compiler.graph.ir import Graph, Value
from compiler.graph.memory_plan import Buffer, lifetimes, plan

ALIGNMENT = 64
#: bytes at the start of the workspace for the model's own state
HANDLE_BYTES = 64

Kind = Literal["input", "output", "constant", "workspace"]


@dataclass(frozen=True)
class Place:
    """Where a tensor is: a byte offset into constants or workspace, or the number of an input or output."""

    kind: Kind
    at: int


@dataclass(frozen=True)
class Program:
    """A network ready to be generated.

    name: the model's. calls: kernels in order with the places of their arguments. copies: outputs that no kernel
    writes: (place, number of the output). constants: bytes [N] and their offsets, in order; constant_bytes: of all,
    with what lies between. workspace_bytes: including the handle.
    """

    name: str
    inputs: tuple[Value, ...]
    outputs: tuple[tuple[str, Value], ...]
    calls: tuple[tuple[CpuKernel, tuple[Place, ...]], ...]
    copies: tuple[tuple[Place, int], ...]
    constants: tuple[tuple[int, np.ndarray], ...]
    constant_bytes: int
    workspace_bytes: int

    @staticmethod
    def of(name: str, graph: Graph, groups: Sequence[FusedGroup], kernels: Sequence[CpuKernel]) -> Program:
        """Plans the memory of a graph whose groups have been compiled, one kernel a group, in this order."""
        constants = _Constants()
        places = {value: Place("input", i) for i, value in enumerate(graph.inputs)}
        made = {value for group in groups for value in group.outputs}
        copied: list[tuple[Value, int]] = []
        for i, value in enumerate(graph.outputs):
            if value in made and value not in places:
                places[value] = Place("output", i)
            else:
                copied.append((value, i))
        buffers = [b for b in lifetimes(graph, groups) if b.name not in {value.name for value in places}]
        for step, kernel in enumerate(kernels):
            buffers.extend(Buffer(value.name, value.nbytes, step, step) for value in kernel.workspaces)
        memory = plan(buffers, alignment=ALIGNMENT)

        def place(value: Value) -> Place:
            if value.const is not None:
                return Place("constant", constants.add(value))
            return places.get(value) or Place("workspace", HANDLE_BYTES + memory.offsets[value.name])

        calls = tuple((kernel, tuple(map(place, kernel.args))) for kernel in kernels)
        copies = tuple((place(value), i) for value, i in copied)
        outputs = tuple(zip(graph.output_names, graph.outputs, strict=True))
        workspace = HANDLE_BYTES + memory.peak
        segments = tuple(constants.segments)
        return Program(name, tuple(graph.inputs), outputs, calls, copies, segments, constants.size, workspace)


class _Constants:
    """The bytes of all constants, equal ones once."""

    def __init__(self) -> None:
        self.segments: list[tuple[int, np.ndarray]] = []
        self.size = 0
        self._known = DistinctBytes()

    def add(self, value: Value) -> int:
        """The offset of a constant as it is stored."""
        raw = bytes_of(value.storage())
        return self._known.place(raw, lambda: self._append(raw))

    def _append(self, raw: np.ndarray) -> int:
        at = -(-self.size // ALIGNMENT) * ALIGNMENT
        self.segments.append((at, raw))
        self.size = at + raw.size
        return at
