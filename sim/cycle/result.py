"""What a cycle simulation returns: cycles of every event, and causes that add up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hw.config import Config
from hw.isa import Opcode, Unit
from hw.timing import CAUSES
from sim.program import F, Program


class Interval(NamedTuple):
    """Statistics of a range of instructions. The intervals of ranges that partition a program partition its cycles."""

    cycles: int
    """Cycles that belong to the range: those of its compute instructions (docs/timing.md, section 8), and the cycles
    after the last compute instruction of all if the range includes the program's last instruction."""
    causes: dict[str, int]
    """Cause -> cycles; they add up to `cycles`."""
    gemm_operations: int
    dram_read_bytes: int
    """Bus words read times the word's bytes, without instruction fetch."""
    dram_write_bytes: int
    first_cycle: int
    """Cycle in which the first instruction of the range starts."""
    last_cycle: int
    """Cycle in which the last instruction of the range to retire does so."""


class Span(NamedTuple):
    """One bar of a timeline: the instruction `index` keeps `unit` at work in cycles start..end, both included."""

    unit: str
    index: int
    opcode: str
    start: int
    end: int


@dataclass(frozen=True, eq=False)
class CycleResult:
    """A cycle simulation. Arrays have one entry an instruction, in program order; cycles count from 0.

    dispatch, start, issue, last, retire: int64[n]. `issue` is the first cycle in the issue stage (load, store: the
    first with an address), `last` the last operation's (load: last cycle on the data side; store: last write beat).
    causes: int64[n, len(hw.timing.CAUSES)], rows of 0 for what is not a compute instruction; `drain` is not in it.
    beats: int64[n], bus words that the instruction reads or writes.
    """

    program: Program
    cycles: int
    dispatch: np.ndarray
    start: np.ndarray
    issue: np.ndarray
    last: np.ndarray
    retire: np.ndarray
    causes: np.ndarray
    beats: np.ndarray
    busy: dict[str, int]
    """Cycles in which a unit works: load's data side, compute's issue stage, store's data side, and the read port."""
    fetch_beats: int
    wall_s: float

    @property
    def cfg(self) -> Config:
        """The configuration that was simulated."""
        return self.program.cfg

    @property
    def totals(self) -> dict[str, int]:
        """Cause -> cycles over the whole run; they add up to `cycles`."""
        sums = self.causes.sum(axis=0)
        sums[CAUSES.index("drain")] += self.cycles - int(sums.sum())
        return {name: int(value) for name, value in zip(CAUSES, sums, strict=True)}

    @property
    def dram_read_bytes(self) -> int:
        """Bytes of all bus words read: loads and instruction fetch."""
        return (self._beats(Opcode.LOAD, 0, len(self.program)) + self.fetch_beats) * self.cfg.bus_bytes

    @property
    def dram_write_bytes(self) -> int:
        """Bytes of all bus words written."""
        return self._beats(Opcode.STORE, 0, len(self.program)) * self.cfg.bus_bytes

    def _beats(self, opcode: Opcode, begin: int, end: int) -> int:
        rows = slice(begin, end)
        return int(self.beats[rows][self.program.column(F.OPCODE)[rows] == opcode].sum())

    def interval(self, begin: int, end: int) -> Interval:
        """Statistics of instructions begin..end-1, such as a layer's.

        Raises ValueError for a range outside the program.
        """
        n = len(self.program)
        if not 0 <= begin <= end <= n:
            raise ValueError(f"instructions {begin}..{end} are not a range of this program of {n}")
        sums = self.causes[begin:end].sum(axis=0)
        if end == n and begin < end:
            sums[CAUSES.index("drain")] += self.cycles - int(self.causes.sum())
        empty = begin == end
        return Interval(
            cycles=int(sums.sum()),
            causes={name: int(value) for name, value in zip(CAUSES, sums, strict=True)},
            gemm_operations=int(sums[CAUSES.index("gemm")]),
            dram_read_bytes=self._beats(Opcode.LOAD, begin, end) * self.cfg.bus_bytes,
            dram_write_bytes=self._beats(Opcode.STORE, begin, end) * self.cfg.bus_bytes,
            first_cycle=0 if empty else int(self.start[begin:end].min()),
            last_cycle=0 if empty else int(self.retire[begin:end].max()),
        )

    def timeline(self) -> Iterator[Span]:
        """A bar for each instruction, in program order: from its first address or operation to its last data."""
        units = [u.name.lower() for u in Unit]
        rows = zip(
            self.program.column(F.UNIT).tolist(),
            self.program.column(F.OPCODE).tolist(),
            self.issue.tolist(),
            self.last.tolist(),
            strict=True,
        )
        for index, (unit, opcode, first, last) in enumerate(rows):
            yield Span(units[unit], index, Opcode(opcode).name, first, last)
