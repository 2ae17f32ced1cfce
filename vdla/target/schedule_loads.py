"""Order of the load unit's instructions: list scheduling over a sequential stream.

The units run concurrently, each in its own order, so the order *within* the load unit decides how early data arrives.
Written in program order, a load that must wait for a buffer to become free stands in front of loads that need not
wait.  Here each load moves to where an ideal load unit would start it: among the loads whose buffer is free, the one
needed first.

What may move where follows from the addresses: a load stays after the last instruction of another unit that uses what
it overwrites (or writes what it reads in DRAM), behind earlier loads into the same place, and before the first
instruction that needs it.  The result is again a sequential program with the same meaning, from which tokens are
derived as from any other.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from hw.config import Config
from hw.footprint import UopShadow, footprint
from hw.isa import Alu, Buffer, Gemm, Instruction, Load, Requant, Store, Unit

DRAM_BLOCK = 64
"""Bytes of DRAM that are tracked as one."""

WINDOW = 96
"""Instructions of the other units that a load may run ahead of its use, at most."""


@dataclass
class Conflicts:
    """What binds each load, by index in the stream.

    ``after``: last earlier instruction of another unit that must be over (-1: none).  ``behind``: earlier loads into
    the same place.  ``need``: first later instruction that uses it (the stream's length: none).
    """

    after: dict[int, int] = field(default_factory=dict)
    behind: dict[int, list[int]] = field(default_factory=dict)
    need: dict[int, int] = field(default_factory=dict)


def dram_rows(p: Load | Store) -> list[tuple[int, int]]:
    """The DRAM blocks that an instruction touches, a range for each row."""
    width = (p.x_size - 1) * p.x_dram + p.seg
    rows = range(p.dram, p.dram + p.y_size * p.y_dram, p.y_dram) if p.y_size > 1 and p.y_dram else (p.dram,)
    return [(a // DRAM_BLOCK, (a + width - 1) // DRAM_BLOCK + 1) for a in rows]


class _Buffer:
    """One of the load unit's buffers while a stream is read in order: who last wrote and read which bytes."""

    def __init__(self) -> None:
        self.readers: dict[tuple[int, int], int] = {}
        self.live: list[tuple[int, int, int]] = []
        self.unused: list[tuple[int, int, int]] = []

    def write(self, lo: int, hi: int, index: int) -> tuple[int, list[int]]:
        """Load ``index`` writes [lo, hi): the last reader it waits for (-1: none), and the loads it stays behind."""
        overlapping = [(span, reader) for span, reader in self.readers.items() if span[0] < hi and lo < span[1]]
        after = max((reader for _, reader in overlapping), default=-1)
        for span, _ in overlapping:
            if lo <= span[0] and span[1] <= hi:  # who overwrites this place next is bound by this load's own reader
                del self.readers[span]
        if after >= 0:
            self.readers[lo, hi] = max(self.readers.get((lo, hi), -1), after)
        behind = [i for a, b, i in self.live if a < hi and lo < b]
        self.live = [e for e in self.live if not (lo <= e[0] and e[1] <= hi)]
        self.live.append((lo, hi, index))
        self.unused.append((lo, hi, index))
        return after, behind

    def read(self, lo: int, hi: int, index: int, need: dict[int, int]) -> None:
        """Instruction ``index`` reads [lo, hi): it is the first to need the loads not yet used there."""
        self.readers[lo, hi] = index
        if self.unused:
            keep = []
            for entry in self.unused:
                if entry[0] < hi and lo < entry[1]:
                    need[entry[2]] = index
                else:
                    keep.append(entry)
            self.unused = keep


def find_conflicts(
    program: Sequence[Instruction], cfg: Config, uop_image: np.ndarray, uop_base: int, dram_bytes: int
) -> Conflicts:
    """What binds each load of a sequential stream; the arguments are those of ``write_program``."""
    out = Conflicts()
    last_store = np.full(dram_bytes // DRAM_BLOCK + 2, -1, np.int32)
    buffers = {b.name.lower(): _Buffer() for b in Buffer}
    shadow = UopShadow(cfg, uop_image, uop_base)
    for index, p in enumerate(program):
        touched = footprint(p, cfg, shadow, index)
        if isinstance(p, Load):
            space, lo, hi = touched.writes[0]
            after, behind = buffers[space].write(lo, hi, index)
            if p.buffer is Buffer.UOP:  # no store writes micro-ops
                shadow.load(p, index)
            elif not p.fill:
                after = max(after, *(int(last_store[a:b].max()) for a, b in dram_rows(p)))
            out.after[index], out.behind[index] = after, behind
        elif isinstance(p, Store):
            for a, b in dram_rows(p):
                last_store[a:b] = index
        else:
            for space, lo, hi in touched.reads:
                if space in buffers:
                    buffers[space].read(lo, hi, index, out.need)
    return out


def duration(p: Instruction, cfg: Config) -> int:
    """Estimated cycles of an instruction in its unit, with its data or operands there."""
    if isinstance(p, (Load, Store)):
        segments = p.x_size * p.y_size
        if isinstance(p, Load) and p.fill:
            return segments * -(-p.seg // cfg.bus_bytes)
        run, runs = (p.x_size * p.seg, p.y_size) if p.x_dram == p.seg else (p.seg, segments)
        beats = -(-run // cfg.bus_bytes) + (1 if run % cfg.bus_bytes else 0)
        in_flight = cfg.memory.read_outstanding * min(beats, cfg.burst_beats)
        slow = max(1.0, (cfg.memory.read_latency + min(beats, cfg.burst_beats)) / max(1, in_flight))
        return int(runs * beats * slow) + 4
    if isinstance(p, (Gemm, Alu)):
        return p.uop_count * p.iter_out * p.iter_in
    if isinstance(p, Requant):
        return p.uop_count * (cfg.param_vectors + p.iter_out * p.iter_in)
    return 1


def reorder(program: Sequence[Instruction], conflicts: Conflicts, cfg: Config) -> list[int]:
    """The new order, as indices into ``program``."""
    n = len(program)
    cycles = [duration(p, cfg) for p in program]
    loads = [i for i, p in enumerate(program) if p.UNIT is Unit.LOAD]
    others = [i for i, p in enumerate(program) if p.UNIT is not Unit.LOAD]
    position = {i: k for k, i in enumerate(others)}
    due = {i: bisect_left(others, conflicts.need.get(i, n)) for i in loads}
    needs: dict[int, list[int]] = {}
    for i in loads:
        needs.setdefault(due[i], []).append(i)
    blocked: dict[int, list[int]] = {}
    missing = {i: len(conflicts.behind[i]) for i in loads}
    for i in loads:
        for b in conflicts.behind[i]:
            blocked.setdefault(b, []).append(i)
    freed_by: dict[int, list[int]] = {}
    open_from: dict[int, float] = {}  # load -> time from which its place is free
    for i in loads:
        after = conflicts.after[i]
        if after < 0:
            open_from[i] = 0.0
        else:
            freed_by.setdefault(after, []).append(i)
    later: list[tuple[int, int]] = [(due[i], i) for i in loads if i in open_from and not missing[i]]
    heapq.heapify(later)  # open, but perhaps not yet within the window: by due
    ready: list[tuple[int, int]] = []  # place free now: by due
    future: list[tuple[float, int, int]] = []  # place free at a known time
    finish_load: dict[int, float] = {}
    start_load: dict[int, float] = {}
    start = [0.0] * len(others)
    finish: dict[int, float] = {}
    load_time = compute_time = store_time = 0.0
    latency = cfg.memory.read_latency + 6
    k = 0

    def offer(i: int) -> None:
        heapq.heappush(later, (due[i], i))

    while len(finish_load) < len(loads) or k < len(others):
        while k < len(others) and all(i in finish_load for i in needs.get(k, ())):
            o = others[k]
            arrived = max((finish_load[i] for i in needs.get(k, ())), default=0.0)
            if program[o].UNIT is Unit.STORE:
                start[k] = max(store_time, compute_time)
                store_time = start[k] + cycles[o]
                finish[o] = store_time + cfg.memory.write_latency
            else:
                start[k] = max(compute_time, arrived)
                compute_time = start[k] + cycles[o]
                finish[o] = compute_time
            for i in freed_by.get(o, ()):
                open_from[i] = finish[o]
                if not missing[i]:
                    offer(i)
            k += 1
        while later and later[0][0] <= k + WINDOW:
            d, i = heapq.heappop(later)
            heapq.heappush(future, (open_from[i], d, i))
        while future and future[0][0] <= load_time:
            _, d, i = heapq.heappop(future)
            heapq.heappush(ready, (d, i))
        if ready:
            _, i = heapq.heappop(ready)
        elif future:
            when, _, i = heapq.heappop(future)
            load_time = max(load_time, when)
        elif later:
            _, i = heapq.heappop(later)
            load_time = max(load_time, open_from[i])
        else:
            break
        start_load[i] = load_time
        load_time += cycles[i]
        finish_load[i] = load_time + latency
        for j in blocked.get(i, ()):
            missing[j] -= 1
            if not missing[j] and j in open_from:
                offer(j)
    # Merge: each load stands before the first instruction that starts no earlier, within what binds it.
    monotone = list(np.maximum.accumulate(np.asarray(start))) if start else []
    place: list[tuple[int, float, int]] = []
    for i in loads:
        after = conflicts.after[i]
        least = position[after] + 1 if after >= 0 else 0
        at = min(max(bisect_left(monotone, start_load[i]), least), due[i])
        place.append((at, start_load[i], i))
    order: list[int] = []
    floor = 0
    queue = []
    for at, when, i in sorted(place, key=lambda e: (e[1], e[0])):
        floor = max(floor, at)  # the load unit's own order is by start time
        queue.append((min(floor, due[i]), when, i))
    # A load that is due earlier than its predecessor's place pulls the predecessor forward.
    for q in range(len(queue) - 2, -1, -1):
        if queue[q][0] > queue[q + 1][0]:
            queue[q] = (queue[q + 1][0], *queue[q][1:])
    at = 0
    for k, o in enumerate(others):
        while at < len(queue) and queue[at][0] <= k:
            order.append(queue[at][2])
            at += 1
        order.append(o)
    order.extend(entry[2] for entry in queue[at:])
    return order
