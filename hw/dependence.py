"""Tokens: computed for a sequential program, and proved for any program.

A program is written in sequential order.  Load, compute and store run it decoupled, each its own instructions
in order; tokens between neighbours keep every conflicting pair in the written order.  :func:`insert_tokens`
computes them.  :func:`prove` checks a program with tokens, however they came about: that it cannot deadlock,
leaves no token behind and orders every conflicting pair.
"""

from __future__ import annotations

import dataclasses
from bisect import bisect_left
from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hw.errors import DeadlockError, ProgramError
from hw.footprint import Footprint, UopShadow, check_flags, check_ranges, footprint
from hw.isa import FLAGS, Buffer, Instruction, Load, Store, Sync, Unit, encode
from hw.timing import IN_FLIGHT

if TYPE_CHECKING:
    from hw.config import Config

__all__ = ["check_ranges", "footprint", "insert_tokens", "insert_tokens_mapped", "prove"]

BLOCK = 64
"""Granularity in bytes at which DRAM accesses are held apart (tensors are aligned to it)."""

MAX_ROWS = 256
"""Rows of a transfer told apart in DRAM; one with more counts as its bounding interval."""

LOAD, COMPUTE, STORE = Unit.LOAD, Unit.COMPUTE, Unit.STORE
_flags_of = attrgetter(*FLAGS)
CHANNELS = ((LOAD, COMPUTE), (COMPUTE, LOAD), (COMPUTE, STORE), (STORE, COMPUTE))


class Conflict(NamedTuple):
    """The latest earlier instruction of another unit that must be finished first."""

    unit: Unit
    index: int
    space: str


class _Accesses:
    """Who last read and wrote what: per vector of the buffers between units, per block of DRAM.

    Entries are instruction indices plus one, 0 for nobody.  Compute's own accumulators cause no conflict
    between units.  A unit's own instructions are in order, so only other units' accesses matter; each space
    has one writing and one reading unit, and two arrays suffice.
    """

    def __init__(self, program: Sequence[Instruction], cfg: Config) -> None:
        self._size = {s: getattr(cfg, f"{s}_vector_bytes") for s in ("uop", "inp", "wgt", "aux", "out")}
        depths = {s: -(-getattr(cfg, f"{s}_buffer") // size) for s, size in self._size.items()}
        self._written = {s: np.zeros(depth, np.int32) for s, depth in depths.items()}
        self._read = {s: np.zeros(depth, np.int32) for s, depth in depths.items()}
        transfers = [i for i in program if isinstance(i, Store) or (isinstance(i, Load) and not i.fill)]
        ends = [i.dram + (i.y_size - 1) * i.y_dram + (i.x_size - 1) * i.x_dram + i.seg for i in transfers]
        self._first_block = min((i.dram for i in transfers), default=0) // BLOCK
        # The tail lets a strided view reach one row pitch beyond the last row.
        tail = max((i.y_dram for i in transfers), default=0) // BLOCK + 2
        blocks = max(ends, default=0) // BLOCK - self._first_block + tail
        self._stored = np.zeros(max(blocks, 1), np.int32)
        self._loaded = np.zeros(max(blocks, 1), np.int32)
        self._pending: list[np.ndarray] = []

    def conflicts(self, instr: Instruction, touched: Footprint) -> list[Conflict]:
        """Conflicts of the next instruction with earlier ones; record() must follow."""
        self._pending = []
        found = []
        if isinstance(instr, Load):
            found.append(self._meet(COMPUTE, self._buffer(self._read, self._written, touched.writes[0])))
            if not instr.fill:
                found.append(self._meet(STORE, self._dram(self._stored, self._loaded, instr)))
        elif isinstance(instr, Store):
            found.append(self._meet(COMPUTE, self._buffer(self._written, self._read, touched.reads[0])))
            found.append(self._meet(LOAD, self._dram(self._loaded, self._stored, instr)))
        else:
            for interval in touched.reads:
                if interval[0] != "acc":
                    found.append(self._meet(LOAD, self._buffer(self._written, self._read, interval)))
            for interval in touched.writes:
                if interval[0] != "acc":
                    found.append(self._meet(STORE, self._buffer(self._read, self._written, interval)))
        return [c for c in found if c.index >= 0]

    def record(self, index: int) -> None:
        """Give the instruction whose conflicts were last asked for its index in the program."""
        for view in self._pending:
            view[...] = index + 1

    def _meet(self, unit: Unit, found: tuple[str, int]) -> Conflict:
        return Conflict(unit, found[1] - 1, found[0])

    def _buffer(self, other: dict[str, np.ndarray], own: dict[str, np.ndarray], interval: tuple) -> tuple[str, int]:
        space, low, high = interval
        rows = slice(low // self._size[space], -(-high // self._size[space]))
        self._pending.append(own[space][rows])
        return space, int(other[space][rows].max())

    def _dram(self, other: np.ndarray, own: np.ndarray, instr: Load | Store) -> tuple[str, int]:
        self._pending += self._views(own, instr)
        return "dram", max(int(view.max()) for view in self._views(other, instr))

    def _views(self, array: np.ndarray, instr: Load | Store) -> list[np.ndarray]:
        """The array's entries for the blocks of a transfer, as few views as possible."""
        row = (instr.x_size - 1) * instr.x_dram + instr.seg
        base = instr.dram - self._first_block * BLOCK
        rows, pitch = instr.y_size, instr.y_dram
        first = base // BLOCK
        if rows == 1 or pitch <= row + BLOCK or (rows > MAX_ROWS and pitch % BLOCK):
            return [array[first : -(-(base + (rows - 1) * pitch + row) // BLOCK)]]
        if pitch % BLOCK == 0:
            step = pitch // BLOCK
            return [array[first : first + rows * step].reshape(rows, step)[:, : -(-(base + row) // BLOCK) - first]]
        starts = range(base, base + rows * pitch, pitch)
        return [array[s // BLOCK : -(-(s + row) // BLOCK)] for s in starts]


class _Walk:
    """Footprints and conflicts of a program, one instruction after the other in program order."""

    def __init__(self, program: Sequence[Instruction], cfg: Config, dram: np.ndarray | None, dram_base: int) -> None:
        self._cfg = cfg
        self._uops = UopShadow(cfg, dram, dram_base)
        # In range, before arrays are sized by it.
        self._transfers = [
            footprint(instr, cfg, None, index) if isinstance(instr, Load | Store) else None
            for index, instr in enumerate(program)
        ]
        self._accesses = _Accesses(program, cfg)
        self.record = self._accesses.record

    def conflicts(self, index: int, instr: Instruction) -> list[Conflict]:
        touched = self._transfers[index] or footprint(instr, self._cfg, self._uops, index)
        found = self._accesses.conflicts(instr, touched)
        if isinstance(instr, Load) and instr.buffer == Buffer.UOP:
            if any(conflict.space == "dram" for conflict in found):
                raise ProgramError(
                    "loads micro-ops that the program itself stores; they must be constants", index, "dram"
                )
            self._uops.load(instr, index)
        return found


class _Inserter:
    """State of :func:`insert_tokens`: a vector clock for each unit and the edges drawn so far.

    ``know[u][v]`` is the latest instruction of unit v known to have retired before unit u's next one starts
    (-1: none); v's earlier ones have then retired too, since retirement is in order.  An edge is drawn only
    where the clock does not cover a conflict already, so on each channel sources and targets both increase
    and the k-th pop takes the k-th push.
    """

    def __init__(self, cfg: Config) -> None:
        self._depth = cfg.token_depth
        self.out: list[Instruction] = []
        self.flags: list[set[str]] = []
        self._clock: list[tuple[int, int, int]] = []
        self._know = [[-1, -1, -1] for _ in Unit]
        self._sources: dict[tuple[Unit, Unit], list[int]] = {c: [] for c in CHANNELS}
        self._targets: dict[tuple[Unit, Unit], list[int]] = {c: [] for c in CHANNELS}
        # Compute instructions at which compute's knowledge of load or store grew, and what it grew to.
        self._learned_at: dict[Unit, list[int]] = {LOAD: [], STORE: []}
        self._learned: dict[Unit, list[int]] = {LOAD: [], STORE: []}

    def add(self, instr: Instruction, needs: dict[Unit, int]) -> int:
        """Append an instruction that must follow instruction needs[v] of each unit v; its index."""
        unit = instr.UNIT
        if unit != COMPUTE:
            needs = {COMPUTE: self._through_compute(unit, needs)}
        position = len(self.out)
        self.out.append(instr)
        self.flags.append(set())
        for source, index in needs.items():
            if index > self._know[unit][source]:
                self._edge(source, unit, index, position)
        self._clock.append((self._know[unit][0], self._know[unit][1], self._know[unit][2]))
        if unit == COMPUTE:
            for other in (LOAD, STORE):
                known = self._know[COMPUTE][other]
                if known > (self._learned[other][-1] if self._learned[other] else -1):
                    self._learned_at[other].append(position)
                    self._learned[other].append(known)
        return position

    def _through_compute(self, unit: Unit, needs: dict[Unit, int]) -> int:
        """The compute instruction to wait for so that a load or store follows all it must.

        Load and store have no tokens between them, so a need of the one for the other goes through the
        earliest compute instruction that knows of it, or through a SYNC made for the purpose.
        """
        direct = needs.get(COMPUTE, -1)
        far = STORE if unit == LOAD else LOAD
        need = needs.get(far, -1)
        if need <= self._know[unit][far]:
            return direct
        at = bisect_left(self._learned[far], need)
        if at == len(self._learned[far]):
            return self.add(Sync(), {far: need})
        return max(direct, self._learned_at[far][at])

    def _edge(self, source: Unit, target: Unit, index: int, position: int) -> None:
        sources, targets = self._sources[source, target], self._targets[source, target]
        toward = _flag("push", source, target)
        if len(targets) >= self._depth and targets[-self._depth] > index:
            # Pushing here would leave more than token_depth tokens in program order.  The last edge's
            # target comes after `index` too, so letting that edge start here serves both.
            self.flags[sources[-1]].discard(toward)
            sources[-1] = index
        else:
            if sources and not (sources[-1] < index and targets[-1] < position):
                raise ProgramError(f"tokens from {source.name} to {target.name} would overtake each other", position)
            sources.append(index)
            targets.append(position)
            self.flags[position].add(_flag("pop", target, source))
        self.flags[index].add(toward)
        know = self._know[target]
        for unit in Unit:
            know[unit] = max(know[unit], self._clock[index][unit])
        know[source] = max(know[source], index)


def _flag(word: str, unit: Unit, neighbour: Unit) -> str:
    return f"{word}_{'prev' if neighbour < unit else 'next'}"


def insert_tokens(
    program: Sequence[Instruction], cfg: Config, dram: np.ndarray | None = None, dram_base: int = 0
) -> list[Instruction]:
    """The program with the tokens that keep every conflicting pair in program order, and no more than it needs.

    Flags that the instructions carry are replaced.  ``dram`` (uint8[n] from address ``dram_base``) holds the
    micro-ops that the program loads; without it every compute instruction counts as touching whole buffers.
    SYNCs are added where a load must follow a store or the reverse.  At most token_depth tokens are ever
    outstanding when the program runs sequentially, so it cannot deadlock.
    Raises ProgramError for an illegal instruction, with its index.
    """
    return insert_tokens_mapped(program, cfg, dram, dram_base)[0]


def insert_tokens_mapped(
    program: Sequence[Instruction], cfg: Config, dram: np.ndarray | None = None, dram_base: int = 0
) -> tuple[list[Instruction], np.ndarray]:
    """As insert_tokens, with int64[len(program)]: the index of each instruction in the result."""
    walk, inserter = _Walk(program, cfg, dram, dram_base), _Inserter(cfg)
    positions = np.zeros(len(program), np.int64)
    for index, instr in enumerate(program):
        needs: dict[Unit, int] = {}
        # Accesses are recorded under the indices of the result.
        for conflict in walk.conflicts(index, instr):
            needs[conflict.unit] = max(needs.get(conflict.unit, -1), conflict.index)
        positions[index] = inserter.add(instr, needs)
        walk.record(int(positions[index]))
    result = []
    for instr, flags in zip(inserter.out, inserter.flags, strict=True):
        if flags or any(_flags_of(instr)):
            instr = dataclasses.replace(instr, **{flag: flag in flags for flag in FLAGS})
        result.append(instr)
    return result, positions


def prove(
    program: Sequence[Instruction],
    cfg: Config,
    dram: np.ndarray | None = None,
    dram_base: int = 0,
    *,
    encoded: bool = False,
) -> None:
    """Prove that a program with tokens is safe on every timing.

    Checked: every instruction is legal (as check_ranges); no deadlock, with this configuration's queues and
    token counters; no token is left at the end; of every conflicting pair in different units, the later one
    starts only after a chain of tokens from the retirement of the earlier one.
    ``dram`` as for insert_tokens.  ``encoded``: the caller has encoded the program, so every value fits its field.
    Raises EncodeError, DeadlockError or ProgramError.
    """
    for index, instr in enumerate(program):
        if not encoded:
            encode(instr, cfg)
        check_flags(instr, index)
    clocks = _Execution(program, cfg).run()
    walk = _Walk(program, cfg, dram, dram_base)
    for index, instr in enumerate(program):
        for conflict in walk.conflicts(index, instr):
            if clocks[index][conflict.unit] < conflict.index:
                raise ProgramError(
                    f"{_name(instr)} may start before instruction {conflict.index}"
                    f" ({_name(program[conflict.index])}), which uses the same part of {conflict.space}, has finished;"
                    f" a token from {conflict.unit.name.lower()} is missing",
                    index,
                )
        walk.record(index)


class _Execution:
    """Untimed execution with bounded queues and counters, and the clocks that follow from the tokens.

    Every queue and counter has one producer and one consumer, both blocking, so whether the program ends
    does not depend on the order in which possible steps are taken.
    """

    def __init__(self, program: Sequence[Instruction], cfg: Config) -> None:
        self._program = program
        self._room = (cfg.load_queue, cfg.compute_queue, cfg.store_queue)
        self._depth = cfg.token_depth
        self._mine: list[list[int]] = [[i for i, p in enumerate(program) if p.UNIT == u] for u in Unit]
        self._dispatched, self._dispatched_to = 0, [0, 0, 0]
        self._started, self._retired = [0, 0, 0], [0, 0, 0]
        self._pushed: dict[tuple[Unit, Unit], list[int]] = {c: [] for c in CHANNELS}
        self._popped = dict.fromkeys(CHANNELS, 0)
        self._know = [[-1, -1, -1] for _ in Unit]
        self._clocks: list[tuple[int, ...]] = [(-1, -1, -1)] * len(program)
        self._pops = [self._channels(p, "pop") for p in program]
        self._pushes = [self._channels(p, "push") for p in program]

    @staticmethod
    def _channels(instr: Instruction, word: str) -> list[tuple[Unit, Unit]]:
        unit, result = instr.UNIT, []
        for other in (Unit(unit - 1) if unit > 0 else None, Unit(unit + 1) if unit < 2 else None):
            if other is not None and getattr(instr, _flag(word, unit, other)):
                result.append((other, unit) if word == "pop" else (unit, other))
        return result

    def run(self) -> list[tuple[int, ...]]:
        """Run to the end: for each instruction, the latest retired one of each unit known when it starts."""
        moved = True
        while moved:
            moved = self._dispatch()
            for unit in Unit:
                while self._start(unit) or self._retire(unit):
                    moved = True
        if sum(self._retired) < len(self._program):
            raise DeadlockError("deadlock: " + "; ".join(self._waits()))
        for channel in CHANNELS:
            left = len(self._pushed[channel]) - self._popped[channel]
            if left:
                source, target = (u.name.lower() for u in channel)
                raise ProgramError(
                    f"{left} token{'s' * (left > 1)} from {source} to {target} left at the end;"
                    f" the last is pushed by instruction {self._pushed[channel][-1]}"
                )
        return self._clocks

    def _dispatch(self) -> bool:
        moved = False
        while self._dispatched < len(self._program):
            unit = self._program[self._dispatched].UNIT
            if self._dispatched_to[unit] - self._started[unit] >= self._room[unit]:
                break
            self._dispatched += 1
            self._dispatched_to[unit] += 1
            moved = True
        return moved

    def _start(self, unit: Unit) -> bool:
        at = self._started[unit]
        if at >= self._dispatched_to[unit] or at - self._retired[unit] >= IN_FLIGHT:
            return False
        index = self._mine[unit][at]
        if any(self._popped[c] >= len(self._pushed[c]) for c in self._pops[index]):
            return False
        know = self._know[unit]
        for channel in self._pops[index]:
            source = self._pushed[channel][self._popped[channel]]
            self._popped[channel] += 1
            for other in Unit:
                know[other] = max(know[other], self._clocks[source][other])
            know[channel[0]] = max(know[channel[0]], source)
        self._clocks[index] = tuple(know)
        self._started[unit] = at + 1
        return True

    def _retire(self, unit: Unit) -> bool:
        at = self._retired[unit]
        if at >= self._started[unit]:
            return False
        index = self._mine[unit][at]
        if any(len(self._pushed[c]) - self._popped[c] >= self._depth for c in self._pushes[index]):
            return False
        for channel in self._pushes[index]:
            self._pushed[channel].append(index)
        self._retired[unit] = at + 1
        return True

    def _waits(self) -> list[str]:
        """Who waits for whom, one phrase a unit that cannot go on."""
        result = []
        for unit in Unit:
            name = unit.name.lower()
            started, retired = self._started[unit], self._retired[unit]
            if retired < started:
                index = self._mine[unit][retired]
                full = [c for c in self._pushes[index] if len(self._pushed[c]) - self._popped[c] >= self._depth]
                result += [f"{name} at instruction {index} waits for {c[1].name.lower()} to take a token" for c in full]
            if started < self._dispatched_to[unit]:
                index = self._mine[unit][started]
                empty = [c for c in self._pops[index] if self._popped[c] >= len(self._pushed[c])]
                result += [f"{name} at instruction {index} waits for a token from {c[0].name.lower()}" for c in empty]
            elif started < len(self._mine[unit]):
                result.append(f"{name} waits for instruction {self._mine[unit][started]} to be dispatched")
        if self._dispatched < len(self._program):
            unit = self._program[self._dispatched].UNIT
            result.append(f"dispatch of instruction {self._dispatched} waits for room in the {unit.name.lower()} queue")
        return result


def _name(instr: Instruction) -> str:
    return type(instr).__name__.lower()
