"""What the programs of a comparison have exercised: crosses of opcode, token flag, cause, and of fields' cases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from hw.isa import FLAGS, AluOp, AluSource, Buffer, Opcode, Unit
from hw.timing import CAUSES
from sim.cycle.result import CycleResult
from sim.program import F

Point = tuple[str, ...]

_WAITS = ("fetch", "wait_load", "wait_store", "decode")
_OF_OPCODE = {
    Opcode.GEMM: ("gemm", "switch", "hazard", *_WAITS),
    Opcode.ALU: ("alu", "switch", "hazard", *_WAITS),
    Opcode.REQUANT: ("requant", "param", "switch", "hazard", *_WAITS),
    Opcode.SYNC: _WAITS,
}
"""The causes that an instruction of the compute unit can have cycles of."""
_SHAPES = ("unaligned", "rows", "segments", "whole rows", "page")


class Coverage:
    """Counts how often each point was met. A point is a tuple of names, the first of which says what is crossed."""

    def __init__(self) -> None:
        self.hits: Counter[Point] = Counter()

    def add(self, result: CycleResult) -> None:
        """Count what one program has met."""
        program = result.program
        opcode = program.column(F.OPCODE)
        flags = {name: program.column(F[name.upper()]) != 0 for name in FLAGS}
        met = result.causes > 0
        for op in Opcode:
            mine = opcode == op
            for name in FLAGS:
                flagged = mine & flags[name]
                self._count(("flag", op.name, name), flagged)
                for cause in _OF_OPCODE.get(op, ()):
                    self._count(("cause", op.name, name, cause), flagged & met[:, CAUSES.index(cause)])
        self._add_vector(result)
        self._add_transfers(result)

    def update(self, other: Coverage) -> None:
        """Add what another comparison has met."""
        self.hits.update(other.hits)

    @property
    def missing(self) -> list[Point]:
        """Points that were never met."""
        return [point for point in points() if not self.hits[point]]

    def __str__(self) -> str:
        groups = Counter(point[0] for point in points())
        met = Counter(point[0] for point in points() if self.hits[point])
        lines = [
            f"coverage {name}: {met[name]} of {total} ({100 * met[name] / total:.1f} %)"
            for name, total in groups.items()
        ]
        return "\n".join(lines + [f"never met: {' x '.join(point)}" for point in self.missing])

    def _count(self, point: Point, where: np.ndarray) -> None:
        self.hits[point] += int(np.count_nonzero(where))

    def _add_vector(self, result: CycleResult) -> None:
        program = result.program
        opcode = program.column(F.OPCODE)
        to_out = program.column(F.TO_OUT) != 0
        for op in AluOp:
            for source in AluSource:
                mine = (opcode == Opcode.ALU) & (program.column(F.OP) == op) & (program.column(F.SOURCE) == source)
                for target, where in (("acc", ~to_out), ("out", to_out)):
                    self._count(("vector", op.name, source.name, target), mine & where)
        for target, where in (("acc", ~to_out), ("out", to_out)):
            self._count(("vector", "REQUANT", "AUX", target), (opcode == Opcode.REQUANT) & where)

    def _add_transfers(self, result: CycleResult) -> None:
        program, bus = result.program, result.cfg.bus_bytes
        column = {f: program.column(f) for f in (F.DRAM, F.SEG, F.X_SIZE, F.Y_SIZE, F.X_DRAM)}
        end = column[F.DRAM] + (column[F.Y_SIZE] - 1) * program.column(F.Y_DRAM)
        end = end + (column[F.X_SIZE] - 1) * column[F.X_DRAM] + column[F.SEG]
        several = column[F.X_SIZE] > 1
        shapes = {
            "unaligned": column[F.DRAM] % bus != 0,
            "rows": column[F.Y_SIZE] > 1,
            "segments": several & (column[F.X_DRAM] != column[F.SEG]),
            "whole rows": several & (column[F.X_DRAM] == column[F.SEG]),
            "page": column[F.DRAM] // 4096 != (end - 1) // 4096,
        }
        opcode, fill = program.column(F.OPCODE), program.column(F.FILL) != 0
        for name, where in shapes.items():
            self._count(("transfer", "STORE", name), (opcode == Opcode.STORE) & where)
            self._count(("transfer", "LOAD", name), (opcode == Opcode.LOAD) & ~fill & where)
        for buffer in Buffer:
            mine = (opcode == Opcode.LOAD) & (program.column(F.BUFFER) == buffer)
            self._count(("buffer", buffer.name, "copy"), mine & ~fill)
            if buffer != Buffer.UOP:
                self._count(("buffer", buffer.name, "fill"), mine & fill)


def points() -> Iterator[Point]:
    """All points there are."""
    for op in Opcode:
        for name in _flags_of(op):
            yield "flag", op.name, name
            for cause in _OF_OPCODE.get(op, ()):
                # One waits for a token only if one is popped.
                if {"wait_load": "pop_prev", "wait_store": "pop_next"}.get(cause, name) == name or not name.startswith(
                    "pop"
                ):
                    yield "cause", op.name, name, cause
    for alu in AluOp:
        for source in AluSource:
            if not (alu == AluOp.MULADD and source == AluSource.IMM):
                for target in ("acc", "out"):
                    yield "vector", alu.name, source.name, target
    for target in ("acc", "out"):
        yield "vector", "REQUANT", "AUX", target
    for op in ("LOAD", "STORE"):
        for shape in _SHAPES:
            yield "transfer", op, shape
    for buffer in Buffer:
        yield "buffer", buffer.name, "copy"
        if buffer != Buffer.UOP:
            yield "buffer", buffer.name, "fill"


def _flags_of(op: Opcode) -> tuple[str, ...]:
    """The flags for which the opcode's unit has a neighbour."""
    unit = {Opcode.LOAD: Unit.LOAD, Opcode.STORE: Unit.STORE}.get(op, Unit.COMPUTE)
    return tuple(
        f for f in FLAGS if not (unit == Unit.LOAD and "prev" in f) and not (unit == Unit.STORE and "next" in f)
    )
