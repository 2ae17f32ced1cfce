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
from hw.isa import Alu, AluSource, Buffer, Gemm, Instruction, Load, Requant, Store, Unit
from vdla.target.fold import UopTuple

DRAM_BLOCK = 64
"""Bytes of DRAM that are tracked as one."""

WINDOW = 96
"""Instructions of the other units that a load may run ahead of its use, at most."""

Span = tuple[Buffer, int, int]


@dataclass
class Conflicts:
    """What binds each load, by index in the stream.

    ``after``: last earlier instruction of another unit that must be over (-1: none).  ``behind``: earlier loads into
    the same place.  ``need``: first later instruction that uses it (the stream's length: none).
    """

    after: dict[int, int] = field(default_factory=dict)
    behind: dict[int, list[int]] = field(default_factory=dict)
    need: dict[int, int] = field(default_factory=dict)


def uop_ranges(program: Sequence[Instruction], uops: Sequence[UopTuple], base: int, cfg: Config) -> list[list[Span]]:
    """For each instruction, the parts of the load unit's buffers that it reads, in bytes (bounding intervals)."""
    shadow: list[UopTuple | None] = [None] * cfg.uop_depth
    size = cfg.uop_bytes
    extremes: dict[tuple[int, int, int], tuple[int, int, int, int]] = {}
    version = 0
    out: list[list[Span]] = []
    for p in program:
        spans: list[Span] = []
        if isinstance(p, Load) and p.buffer is Buffer.UOP:
            at, image, n = p.sram // size, (p.dram - base) // size, p.seg // size
            shadow[at : at + n] = uops[image : image + n]
            version += 1
        elif isinstance(p, (Gemm, Alu, Requant)):
            key = (version, p.uop_begin, p.uop_count)
            hit = extremes.get(key)
            if hit is None:
                held = [u for u in shadow[p.uop_begin : p.uop_begin + p.uop_count] if u is not None]
                src, wgt = [u[1] for u in held], [u[2] for u in held]
                hit = extremes[key] = (min(src), max(src), min(wgt), max(wgt))
            s0, s1, w0, w1 = hit
            spans.append((Buffer.UOP, p.uop_begin * size, (p.uop_begin + p.uop_count) * size))
            i, j = p.iter_out - 1, p.iter_in - 1
            if isinstance(p, Gemm):
                lo, hi = p.src_base + s0, p.src_base + s1 + i * p.src_out + j * p.src_in + 1
                v = cfg.inp_vector_bytes
                spans.append((Buffer.INP, lo * v, hi * v))
                lo, hi = p.wgt_base + w0, p.wgt_base + w1 + i * p.wgt_out + j * p.wgt_in + 1
                v = cfg.wgt_vector_bytes
                spans.append((Buffer.WGT, lo * v, hi * v))
            elif isinstance(p, Requant):
                v = cfg.aux_vector_bytes
                spans.append((Buffer.AUX, (p.src_base + s0) * v, (p.src_base + s1 + cfg.param_vectors) * v))
            elif p.source is AluSource.AUX:
                v = cfg.aux_vector_bytes
                hi = p.src_base + s1 + i * p.src_out + j * p.src_in + 1
                spans.append((Buffer.AUX, (p.src_base + s0) * v, hi * v))
        out.append(spans)
    return out


def written(p: Load) -> Span:
    """The part of its buffer that a load writes, bounding, in bytes."""
    return (p.buffer, p.sram, p.sram + (p.y_size - 1) * p.y_sram + (p.x_size - 1) * p.x_sram + p.seg)


def dram_rows(p: Load | Store) -> list[tuple[int, int]]:
    """The DRAM blocks that an instruction touches, a range for each row."""
    width = (p.x_size - 1) * p.x_dram + p.seg
    rows = range(p.dram, p.dram + p.y_size * p.y_dram, p.y_dram) if p.y_size > 1 and p.y_dram else (p.dram,)
    return [(a // DRAM_BLOCK, (a + width - 1) // DRAM_BLOCK + 1) for a in rows]


def find_conflicts(program: Sequence[Instruction], reads: list[list[Span]], dram_bytes: int) -> Conflicts:
    """What binds each load of a sequential stream."""
    out = Conflicts()
    last_store = np.full(dram_bytes // DRAM_BLOCK + 2, -1, np.int32)
    readers: dict[Buffer, dict[tuple[int, int], int]] = {b: {} for b in Buffer}
    live: dict[Buffer, list[tuple[int, int, int]]] = {b: [] for b in Buffer}
    unused: dict[Buffer, list[tuple[int, int, int]]] = {b: [] for b in Buffer}
    for index, p in enumerate(program):
        if isinstance(p, Load):
            buffer, lo, hi = written(p)
            after = -1
            covered = []
            table = readers[buffer]
            for span, reader in table.items():
                if span[0] < hi and lo < span[1]:
                    after = max(after, reader)
                    if lo <= span[0] and span[1] <= hi:
                        covered.append(span)
            for span in covered:  # whatever overwrites this place next is bound by this load's own reader
                del table[span]
            if not p.fill and buffer is not Buffer.UOP:  # no store writes micro-ops
                for a, b in dram_rows(p):
                    after = max(after, int(last_store[a:b].max()))
            out.after[index] = after
            out.behind[index] = [i for a, b, i in live[buffer] if a < hi and lo < b]
            live[buffer] = [e for e in live[buffer] if not (lo <= e[0] and e[1] <= hi)]
            live[buffer].append((lo, hi, index))
            unused[buffer].append((lo, hi, index))
            if covered:  # a partial overwrite leaves earlier readers' constraint to this load
                table[(lo, hi)] = max(table.get((lo, hi), -1), after)
        elif isinstance(p, Store):
            for a, b in dram_rows(p):
                last_store[a:b] = index
        for buffer, lo, hi in reads[index]:
            readers[buffer][(lo, hi)] = index
            waiting = unused[buffer]
            if waiting:
                keep = []
                for entry in waiting:
                    if entry[0] < hi and lo < entry[1]:
                        out.need[entry[2]] = index
                    else:
                        keep.append(entry)
                unused[buffer] = keep
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
