"""Fetch and dispatch (docs/timing.md, section 4) as kernels."""

from __future__ import annotations

from typing import Any

from hw.timing import FETCH_DECODE, READ
from sim.cycle.layout import NEVER, S, W
from sim.cycle.memory import accept_read, burst_of, end_read, gap
from sim.jit import I64, kernel
from sim.program import F


@kernel
def next_fetch(c: Any, s: I64, w: I64) -> int:
    """The cycle of the fetcher's next grant if the load unit asks for none before."""
    left = s[S.FETCH_LEFT]
    if left == 0:
        return NEVER
    burst = burst_of(c, s, s[S.FETCH_BURST], s[S.FETCH_WORD], left) * s[S.BUS_BYTES]
    size = s[S.INSTRUCTION_BYTES]
    needed = (s[S.FETCH_GRANTED] + burst - s[S.FETCH_BYTES] + size - 1) // size
    if needed <= 0:
        return s[S.AR_FREE]
    if s[S.DISPATCHED] < needed:
        return NEVER
    return max(s[S.AR_FREE], w[(needed - 1) * W.ROW + W.DISPATCH] + 1)


@kernel
def grant_fetch(c: Any, s: I64, w: I64, now: int) -> int:
    """Grant the fetcher's next burst in cycle `now`."""
    beats = burst_of(c, s, s[S.FETCH_BURST], s[S.FETCH_WORD], s[S.FETCH_LEFT])
    earliest = accept_read(c, s, now) + s[S.READ_LATENCY]
    first = s[S.READ_BEATS]
    taken = s[S.READ_TAKEN]
    size = s[S.INSTRUCTION_BYTES]
    for b in range(beats):
        taken = max(taken + 1, earliest) + gap(c, s, READ, first + b)
        before = s[S.FETCHED] // size
        s[S.FETCHED] += s[S.BUS_BYTES]
        for i in range(before, min(s[S.FETCHED] // size, s[S.COUNT])):
            w[i * W.ROW + W.FETCHED] = taken
    end_read(c, s, beats, taken)
    s[S.FETCH_WORD] += beats
    s[S.FETCH_LEFT] -= beats
    s[S.FETCH_GRANTED] += beats * s[S.BUS_BYTES]
    return 0


@kernel
def next_dispatch(c: Any, s: I64, w: I64, q: I64, t: I64) -> int:
    """The cycle in which the next instruction goes to its unit's queue."""
    i = s[S.DISPATCHED]
    if i == s[S.COUNT]:
        return NEVER
    fetched = w[i * W.ROW + W.FETCHED]
    if fetched == NEVER:
        return NEVER
    cycle = max(fetched + FETCH_DECODE, s[S.DISPATCH_CYCLE] + 1)
    unit = t[i * F.ROW + F.UNIT]
    leaving = s[S.QUEUED + unit] - s[S.QUEUE + unit]
    if leaving >= 0:
        if s[S.STARTED + unit] <= leaving:
            return NEVER
        cycle = max(cycle, w[q[unit * s[S.COUNT] + leaving] * W.ROW + W.START] + 1)
    return cycle


@kernel
def dispatch(c: Any, s: I64, w: I64, t: I64, now: int) -> int:
    """Dispatch the next instruction in cycle `now`."""
    i = s[S.DISPATCHED]
    w[i * W.ROW + W.DISPATCH] = now
    s[S.QUEUED + t[i * F.ROW + F.UNIT]] += 1
    s[S.DISPATCHED] += 1
    s[S.DISPATCH_CYCLE] = now
    return 0
