"""The event loop of the cycle simulator (docs/timing.md, sections 2 and 3), as kernels.

Events are: a dispatch, a grant of the read port, the start and the retirement of an instruction. Every signal between
units is registered, so an event in cycle c has effects from c + 1 on only, and the loop may always take the earliest
candidate; of two grants in the same cycle the fetcher's wins. Everything else (beats, operations, write bursts)
follows from these events by arithmetic at once.

Bits: an instruction takes its whole effect when it starts. Of two instructions that share data, the tokens of a
race-free program let the second start only after the first has retired, so the bits are those of any exact timing.
"""

from __future__ import annotations

from typing import Any

from hw.isa import Unit
from hw.timing import IN_FLIGHT
from sim.cycle.compute import start_compute
from sim.cycle.fetch import dispatch, grant_fetch, next_dispatch, next_fetch
from sim.cycle.layout import NEVER, UNITS, S, Stop, W
from sim.cycle.load import grant_load, next_load, start_load
from sim.cycle.store import start_store
from sim.jit import I64, U8, invoke, kernel, unroll
from sim.program import F


@kernel
def token_from(c: Any, s: I64, pushed: I64, channel: int) -> int:
    """The cycle from which the next pop of `channel` finds a token."""
    m = s[S.POPS + channel]
    if s[S.PUSHES + channel] <= m:
        return NEVER
    return pushed[channel * s[S.COUNT] + m] + 1


@kernel
def place_from(c: Any, s: I64, popped: I64, channel: int) -> int:
    """The cycle from which the next push of `channel` finds a place."""
    m = s[S.PUSHES + channel] - s[S.TOKEN_DEPTH]
    if m < 0:
        return 0
    if s[S.POPS + channel] <= m:
        return NEVER
    return popped[channel * s[S.COUNT] + m] + 1


@kernel
def next_start(c: Any, s: I64, w: I64, q: I64, t: I64, pushed: I64, unit: int) -> int:
    """The cycle in which `unit` starts its next instruction."""
    k = s[S.STARTED + unit]
    if k == s[S.QUEUED + unit]:
        return NEVER
    first = unit * s[S.COUNT]
    i = q[first + k]
    cycle = max(w[i * W.ROW + W.DISPATCH] + 1, s[S.STAGE_FREE + unit])
    if k >= IN_FLIGHT:
        if s[S.RETIRED + unit] <= k - IN_FLIGHT:
            return NEVER
        cycle = max(cycle, w[q[first + k - IN_FLIGHT] * W.ROW + W.RETIRE] + 1)
    if t[i * F.ROW + F.POP_PREV]:
        cycle = max(cycle, token_from(c, s, pushed, 2 * unit - 2))
    if t[i * F.ROW + F.POP_NEXT]:
        cycle = max(cycle, token_from(c, s, pushed, 2 * unit + 1))
    return cycle


@kernel
def start(
    c: Any, s: I64, w: I64, q: I64, t: I64, p: I64, uop: U8, written: I64, pushed: I64, popped: I64, unit: int, now: int
) -> int:
    """Start the next instruction of `unit` in cycle `now`; 1 if it is illegal."""
    i = q[unit * s[S.COUNT] + s[S.STARTED + unit]]
    load_token = 0
    store_token = 0
    if t[i * F.ROW + F.POP_PREV]:
        channel = 2 * unit - 2
        load_token = token_from(c, s, pushed, channel)
        popped[channel * s[S.COUNT] + s[S.POPS + channel]] = now
        s[S.POPS + channel] += 1
    if t[i * F.ROW + F.POP_NEXT]:
        channel = 2 * unit + 1
        store_token = token_from(c, s, pushed, channel)
        popped[channel * s[S.COUNT] + s[S.POPS + channel]] = now
        s[S.POPS + channel] += 1
    s[S.STARTED + unit] += 1
    w[i * W.ROW + W.START] = now
    a = S.ARGUMENTS
    # Pointers travel as 64-bit integers: the calling conventions of 64-bit hosts treat the two alike.
    if invoke(
        s[S.EXECUTE], i, s[a], s[a + 1], s[a + 2], s[a + 3], s[a + 4], s[a + 5], s[a + 6], s[a + 7], s[a + 8], s[a + 9],
        s[a + 10], s[a + 11],
    ):  # fmt: skip
        s[S.FAULT] = i
        return 1
    if unit == Unit.LOAD:
        start_load(c, s, w, t, i, now)
    elif unit == Unit.COMPUTE:
        start_compute(c, s, w, t, p, uop, written, i, now, load_token, store_token)
    else:
        start_store(c, s, w, t, i, now)
    return 0


@kernel
def next_retire(c: Any, s: I64, w: I64, q: I64, t: I64, popped: I64, unit: int) -> int:
    """The cycle in which `unit` retires its next instruction."""
    k = s[S.RETIRED + unit]
    if k == s[S.STARTED + unit]:
        return NEVER
    i = q[unit * s[S.COUNT] + k]
    cycle = w[i * W.ROW + W.COMPLETE]
    if k > 0:
        cycle = max(cycle, w[q[unit * s[S.COUNT] + k - 1] * W.ROW + W.RETIRE] + 1)
    if t[i * F.ROW + F.PUSH_PREV]:
        cycle = max(cycle, place_from(c, s, popped, 2 * unit - 1))
    if t[i * F.ROW + F.PUSH_NEXT]:
        cycle = max(cycle, place_from(c, s, popped, 2 * unit))
    return cycle


@kernel
def retire(c: Any, s: I64, w: I64, q: I64, t: I64, pushed: I64, unit: int, now: int) -> int:
    """Retire the next instruction of `unit` in cycle `now`."""
    i = q[unit * s[S.COUNT] + s[S.RETIRED + unit]]
    w[i * W.ROW + W.RETIRE] = now
    s[S.RETIRED + unit] += 1
    if t[i * F.ROW + F.PUSH_PREV]:
        channel = 2 * unit - 1
        pushed[channel * s[S.COUNT] + s[S.PUSHES + channel]] = now
        s[S.PUSHES + channel] += 1
    if t[i * F.ROW + F.PUSH_NEXT]:
        channel = 2 * unit
        pushed[channel * s[S.COUNT] + s[S.PUSHES + channel]] = now
        s[S.PUSHES + channel] += 1
    return 0


@kernel
def simulate(
    c: Any, events: int, s: I64, w: I64, q: I64, t: I64, p: I64, uop: U8, written: I64, pushed: I64, popped: I64
) -> int:
    """Process at most `events` events; a `Stop`."""
    for _event in range(events):
        done = s[S.RETIRED] + s[S.RETIRED + 1] + s[S.RETIRED + 2]
        if done == s[S.COUNT]:
            return Stop.DONE
        now = next_fetch(c, s, w)
        what = 0
        cycle = next_load(c, s)
        if cycle < now:
            now = cycle
            what = 1
        cycle = next_dispatch(c, s, w, q, t)
        if cycle < now:
            now = cycle
            what = 2
        for unit in unroll(UNITS):
            cycle = next_start(c, s, w, q, t, pushed, unit)
            if cycle < now:
                now = cycle
                what = 3 + unit
            cycle = next_retire(c, s, w, q, t, popped, unit)
            if cycle < now:
                now = cycle
                what = 6 + unit
        if now == NEVER:
            return Stop.DEADLOCK
        s[S.NOW] = now
        if what == 0:
            grant_fetch(c, s, w, now)
        elif what == 1:
            grant_load(c, s, w, t, q[s[S.STARTED] - 1], now)
        elif what == 2:
            dispatch(c, s, w, t, now)
        elif what < 6:
            if start(c, s, w, q, t, p, uop, written, pushed, popped, what - 3, now):
                return Stop.FAULT
        else:
            retire(c, s, w, q, t, pushed, what - 6, now)
    return Stop.PAUSE
