"""Static memory plan: where in one arena each buffer lives, buffers whose lifetimes do not meet sharing bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from compiler.errors import CompileError
from compiler.graph.fuse import FusedGroup
from compiler.graph.ir import Graph


@dataclass(frozen=True)
class Buffer:
    """A buffer of `size` bytes, live from step first_use to step last_use, both included."""

    name: str
    size: int
    first_use: int
    last_use: int


@dataclass(frozen=True)
class MemoryPlan:
    """Byte offsets by buffer name; `peak` bytes hold everything, `total` would without sharing."""

    offsets: Mapping[str, int]
    peak: int
    total: int


def plan(buffers: Iterable[Buffer], *, alignment: int = 64) -> MemoryPlan:
    """Place buffers, largest first, each in the smallest gap that fits among those live at the same time.

    Offsets are multiples of `alignment` bytes. CompileError for a duplicate name, a negative size, a lifetime that
    ends before it starts, or an alignment that is not positive.
    """
    if alignment <= 0:
        raise CompileError(f"alignment must be positive, got {alignment}")
    todo = list(buffers)
    names: set[str] = set()
    for buffer in todo:
        if buffer.name in names or buffer.size < 0 or buffer.last_use < buffer.first_use:
            raise CompileError(f"buffer {buffer} is a duplicate, has a negative size, or ends before it starts")
        names.add(buffer.name)

    def aligned(size: int) -> int:
        return -(-size // alignment) * alignment

    placed: list[tuple[int, int, Buffer]] = []  # start, end, buffer
    for buffer in sorted(todo, key=lambda b: (-b.size, b.first_use, b.name)):
        size = aligned(buffer.size)
        taken = sorted(
            (start, end)
            for start, end, other in placed
            if other.first_use <= buffer.last_use and buffer.first_use <= other.last_use
        )
        best, best_gap, cursor = None, None, 0
        for start, end in taken:
            gap = start - cursor
            if gap >= size and (best_gap is None or gap < best_gap):
                best, best_gap = cursor, gap
            cursor = max(cursor, end)
        offset = cursor if best is None else best
        placed.append((offset, offset + size, buffer))
    offsets = {buffer.name: start for start, _, buffer in placed}
    return MemoryPlan(offsets, max((end for _, end, _ in placed), default=0), sum(aligned(b.size) for b in todo))


def lifetimes(
    graph: Graph, groups: Iterable[FusedGroup], *, pin_inputs: bool = True, pin_outputs: bool = False
) -> list[Buffer]:
    """The buffers that a sequence of fused groups needs: graph inputs and every group's outputs, by value name.

    Step i is the i-th group. Outputs of the graph live to the end; inputs live throughout if `pin_inputs` (so that
    a caller may run twice on the same arena), else to their last use; with `pin_outputs` outputs live from the start on
    (so that a caller may have them in memory of its own). Sizes are bytes in the values' layouts.
    """
    steps = list(groups)
    last: dict[str, int] = {}
    for index, group in enumerate(steps):
        for value in group.inputs:
            last[value.name] = index
    end = max(len(steps) - 1, 0)
    for value in graph.outputs:
        last[value.name] = end
    pinned = {value.name for value in graph.outputs} if pin_outputs else set()
    buffers = [
        Buffer(value.name, value.nbytes, 0, end if pin_inputs else last.get(value.name, 0)) for value in graph.inputs
    ]
    for index, group in enumerate(steps):
        for value in group.outputs:
            first = 0 if value.name in pinned else index
            buffers.append(Buffer(value.name, value.nbytes, first, max(index, last.get(value.name, index))))
    return buffers
