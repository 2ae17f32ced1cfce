"""The load unit (docs/timing.md, section 5) as kernels."""

from __future__ import annotations

from typing import Any

from hw.isa import Unit
from hw.timing import DECODE, READ, SRAM_WRITE
from sim.cycle.layout import NEVER, S, W
from sim.cycle.memory import accept_read, beats_of, burst_of, end_read, gap, pieces_of
from sim.jit import I64, kernel
from sim.program import F


@kernel
def set_run(c: Any, s: I64, row: int, t: I64) -> int:
    """Point the address generator at the run of segment LOAD_X of row LOAD_Y."""
    whole = t[row + F.X_DRAM] == t[row + F.SEG] or t[row + F.X_SIZE] == 1
    address = t[row + F.DRAM] + s[S.LOAD_Y] * t[row + F.Y_DRAM] + s[S.LOAD_X] * t[row + F.X_DRAM]
    length = t[row + F.SEG] * (t[row + F.X_SIZE] if whole else 1)
    s[S.LOAD_ADDRESS] = address
    s[S.LOAD_LENGTH] = length
    s[S.LOAD_WORD] = address // s[S.BUS_BYTES]
    s[S.LOAD_LEFT] = beats_of(c, s, address, length)
    return 0


@kernel
def next_run(c: Any, s: I64, row: int, t: I64) -> int:
    """Go to the next run; 0 if there is none."""
    if t[row + F.X_DRAM] == t[row + F.SEG] or s[S.LOAD_X] + 1 == t[row + F.X_SIZE]:
        s[S.LOAD_X] = 0
        s[S.LOAD_Y] += 1
        if s[S.LOAD_Y] == t[row + F.Y_SIZE]:
            return 0
    else:
        s[S.LOAD_X] += 1
    set_run(c, s, row, t)
    return 1


@kernel
def start_load(c: Any, s: I64, w: I64, t: I64, i: int, now: int) -> int:
    """Start load `i` in cycle `now`: a fill is timed at once, a copy's bursts are requested one by one."""
    row = i * F.ROW
    ready = now + DECODE
    w[i * W.ROW + W.ISSUE] = ready
    if t[row + F.FILL]:
        bus = s[S.BUS_BYTES]
        cycles = t[row + F.Y_SIZE] * t[row + F.X_SIZE] * ((t[row + F.SEG] + bus - 1) // bus)
        s[S.DATA_FREE] = max(s[S.DATA_FREE], ready) + cycles
        s[S.BUSY + Unit.LOAD] += cycles
        s[S.STAGE_FREE + Unit.LOAD] = ready + 1
        return end_load(c, s, w, i)
    s[S.LOAD_READY] = ready
    s[S.LOAD_BURSTS] = 1
    s[S.LOAD_X] = 0
    s[S.LOAD_Y] = 0
    set_run(c, s, row, t)
    s[S.STAGE_FREE + Unit.LOAD] = NEVER
    return 0


@kernel
def end_load(c: Any, s: I64, w: I64, i: int) -> int:
    """All of load `i` is timed: note when it is complete."""
    w[i * W.ROW + W.LAST] = s[S.DATA_FREE] - 1
    w[i * W.ROW + W.COMPLETE] = s[S.DATA_FREE] - 1 + SRAM_WRITE
    return 0


@kernel
def next_load(c: Any, s: I64) -> int:
    """The cycle of the load unit's next grant if the fetcher asks for none up to it."""
    if s[S.LOAD_BURSTS] == 0:
        return NEVER
    return max(s[S.AR_FREE], s[S.LOAD_READY])


@kernel
def grant_load(c: Any, s: I64, w: I64, t: I64, i: int, now: int) -> int:
    """Grant the next burst of load `i` in cycle `now`, and time its beats."""
    row = i * F.ROW
    word = s[S.LOAD_WORD]
    beats = burst_of(c, s, s[S.BURST_BEATS], word, s[S.LOAD_LEFT])
    earliest = accept_read(c, s, now) + s[S.READ_LATENCY]
    taken = s[S.READ_TAKEN]
    free = s[S.DATA_FREE]
    if s[S.STALL_RATE] == 0 and t[row + F.SEG] >= s[S.LOAD_LENGTH]:
        taken = max(taken + 1, earliest, free) + beats - 1
        free = taken + 1
        s[S.BUSY + Unit.LOAD] += beats
    else:
        first = s[S.READ_BEATS]
        for b in range(beats):
            pieces = pieces_of(c, s, s[S.LOAD_ADDRESS], s[S.LOAD_LENGTH], t[row + F.SEG], word + b)
            taken = max(max(taken + 1, earliest) + gap(c, s, READ, first + b), free)
            free = taken + pieces
            s[S.BUSY + Unit.LOAD] += pieces
    s[S.DATA_FREE] = free
    end_read(c, s, beats, taken)
    w[i * W.ROW + W.BEATS] += beats
    s[S.LOAD_READY] = now + 1
    s[S.LOAD_WORD] = word + beats
    s[S.LOAD_LEFT] -= beats
    if s[S.LOAD_LEFT] == 0 and not next_run(c, s, row, t):
        s[S.LOAD_BURSTS] = 0
        s[S.STAGE_FREE + Unit.LOAD] = now + 1
        end_load(c, s, w, i)
    return 0
