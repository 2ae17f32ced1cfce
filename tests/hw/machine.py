"""Brute force over every interleaving of a small program: the oracle for tokens and their proof.

Units run in order; an instruction first starts (pops its tokens), later retires (pushes them).  Footprints are
exact byte sets, computed by walking the loops.  Nothing here shares code with hw.dependence.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from hw import isa
from hw.config import Config

CHANNEL = {  # (unit, flag) -> channel between the two units, named source, target
    (0, "pop_next"): (1, 0), (0, "push_next"): (0, 1),
    (1, "pop_prev"): (0, 1), (1, "push_prev"): (1, 0), (1, "pop_next"): (2, 1), (1, "push_next"): (1, 2),
    (2, "pop_prev"): (1, 2), (2, "push_prev"): (2, 1),
}  # fmt: skip


def byte_sets(program: list[isa.Instruction], cfg: Config, memory: np.ndarray):
    """For each instruction the sets of (space, byte or vector) it reads and writes, in program order."""
    uop_bytes = np.zeros(cfg.uop_buffer, np.uint8)
    result = []
    for instr in program:
        reads, writes = set(), set()
        if isinstance(instr, isa.Load | isa.Store):
            sram, dram = _walk(instr)
            space = instr.buffer.name.lower() if isinstance(instr, isa.Load) else "out"
            if isinstance(instr, isa.Store):
                reads, writes = {("out", b) for b in sram}, {("dram", b) for b in dram}
            else:
                writes = {(space, b) for b in sram}
                if not instr.fill:
                    reads = {("dram", b) for b in dram}
                if space == "uop":
                    uop_bytes[sram] = instr.value if instr.fill else memory[dram]
        elif not isinstance(instr, isa.Sync):
            _operations(instr, cfg, isa.decode_uops(uop_bytes, cfg), reads, writes)
        result.append((reads, writes))
    return result


def _walk(instr: isa.Load | isa.Store) -> tuple[list[int], list[int]]:
    sram, dram = [], []
    for y in range(instr.y_size):
        for x in range(instr.x_size):
            sram += [instr.sram + y * instr.y_sram + x * instr.x_sram + b for b in range(instr.seg)]
            dram += [instr.dram + y * instr.y_dram + x * instr.x_dram + b for b in range(instr.seg)]
    return sram, dram


def _operations(instr, cfg: Config, uops: list[isa.Uop], reads: set, writes: set) -> None:
    def touch(target: set, space: str, vector: int) -> None:
        size = getattr(cfg, f"{space}_vector_bytes")
        target.update((space, b) for b in range(vector * size, (vector + 1) * size))

    for k in range(instr.uop_begin, instr.uop_begin + instr.uop_count):
        u = uops[k]
        touch(reads, "uop", k)
        for i in range(instr.iter_out):
            for j in range(instr.iter_in):
                step = i * instr.dst_out + j * instr.dst_in
                if isinstance(instr, isa.Gemm):
                    touch(reads, "inp", instr.src_base + u.src + i * instr.src_out + j * instr.src_in)
                    touch(reads, "wgt", instr.wgt_base + u.wgt + i * instr.wgt_out + j * instr.wgt_in)
                elif isinstance(instr, isa.Requant):
                    for v in range(cfg.param_vectors):
                        touch(reads, "aux", instr.src_base + u.src + v)
                elif instr.source == isa.AluSource.AUX:
                    touch(reads, "aux", instr.src_base + u.src + i * instr.src_out + j * instr.src_in)
                if not isinstance(instr, isa.Gemm) and instr.to_out:
                    touch(writes, "out", instr.out_base + u.dst + step)


def conflicts(program: list[isa.Instruction], cfg: Config, memory: np.ndarray) -> list[tuple[int, int]]:
    """Pairs (earlier, later) of instructions of different units that touch a common byte, one writing it."""
    sets = byte_sets(program, cfg, memory)
    return [
        (i, j)
        for i, j in combinations(range(len(program)), 2)
        if program[i].UNIT != program[j].UNIT and (sets[i][1] & (sets[j][0] | sets[j][1]) or sets[i][0] & sets[j][1])
    ]


def explore(program: list[isa.Instruction], cfg: Config, pairs: list[tuple[int, int]]) -> str:
    """'safe', or what goes wrong in some interleaving: 'race', 'deadlock' or 'leak'.

    Queues are unbounded here; token counters are not.
    """
    mine = [[k for k, p in enumerate(program) if p.UNIT == u] for u in range(3)]
    place = {k: (u, n) for u in range(3) for n, k in enumerate(mine[u])}
    before: dict[int, list[int]] = {}
    for i, j in pairs:
        before.setdefault(j, []).append(i)
    pops = [[CHANNEL[p.UNIT, f] for f in ("pop_prev", "pop_next") if getattr(p, f)] for p in program]
    pushes = [[CHANNEL[p.UNIT, f] for f in ("push_prev", "push_next") if getattr(p, f)] for p in program]
    popped = [_totals(pops, m) for m in mine]
    pushed = [_totals(pushes, m) for m in mine]

    def count(channel: tuple[int, int], state: tuple[int, ...]) -> int:
        return pushed[channel[0]][state[3 + channel[0]]].get(channel, 0) - popped[channel[1]][state[channel[1]]].get(
            channel, 0
        )

    first = (0,) * 6  # started by each unit, retired by each unit
    seen, todo = {first}, [first]
    final = tuple(len(m) for m in mine) * 2
    verdict = "safe"
    while todo:
        state = todo.pop()
        following = []
        for u in range(3):
            if state[u] < len(mine[u]):
                k = mine[u][state[u]]
                if all(count(c, state) > 0 for c in pops[k]):
                    if any(state[3 + place[i][0]] <= place[i][1] for i in before.get(k, [])):
                        return "race"
                    following.append(state[:u] + (state[u] + 1,) + state[u + 1 :])
            if state[3 + u] < state[u]:
                k = mine[u][state[3 + u]]
                if all(count(c, state) < cfg.token_depth for c in pushes[k]):
                    following.append(state[: 3 + u] + (state[3 + u] + 1,) + state[4 + u :])
        if not following and state != final:
            verdict = "deadlock"
        if state == final and any(count(c, state) for c in {(0, 1), (1, 0), (1, 2), (2, 1)}):
            verdict = "leak"
        for new in following:
            if new not in seen:
                seen.add(new)
                todo.append(new)
    return verdict


def _totals(channels: list[list[tuple[int, int]]], mine: list[int]) -> list[dict[tuple[int, int], int]]:
    """Tokens on each channel after the first n instructions of a unit, for every n."""
    result: list[dict[tuple[int, int], int]] = [{}]
    for k in mine:
        total = dict(result[-1])
        for c in channels[k]:
            total[c] = total.get(c, 0) + 1
        result.append(total)
    return result
