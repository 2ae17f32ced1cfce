"""The memory port's timing (docs/timing.md, section 3) as kernels: bursts, beats, pieces and the stall profile.

A read burst's beats are all timed in the cycle of its grant: they depend only on what was granted before, on the load
unit's data side, which works in the same order, and on the stall profile.
"""

from __future__ import annotations

from typing import Any

from hw.timing import PAGE
from sim.cycle.layout import RING, S
from sim.jit import I64, kernel


@kernel
def gap(c: Any, s: I64, channel: int, index: int) -> int:
    """The stall profile: hw.timing.stall_gap for one index."""
    if s[S.STALL_RATE] == 0:
        return 0
    x = index * 0x9E3779B1 + s[S.STALL_SEED] * 0x85EBCA77 + channel * 0xC2B2AE3D
    x &= 0xFFFFFFFF
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & 0xFFFFFFFF
    x = ((x ^ (x >> 15)) * 0x846CA68B) & 0xFFFFFFFF
    x ^= x >> 16
    return 1 + (x & 7) if (x >> 8) < s[S.STALL_RATE] else 0


@kernel
def beats_of(c: Any, s: I64, address: int, length: int) -> int:
    """Bus words that the run of `length` bytes at `address` touches."""
    bus = s[S.BUS_BYTES]
    return (address + length + bus - 1) // bus - address // bus


@kernel
def burst_of(c: Any, s: I64, longest: int, word: int, left: int) -> int:
    """Beats of the burst that starts at bus word `word` of a run with `left` beats left."""
    page = PAGE // s[S.BUS_BYTES]
    return min(longest, page - word % page, left)


@kernel
def pieces_of(c: Any, s: I64, address: int, length: int, seg: int, word: int) -> int:
    """Segments of the run of `length` bytes at `address` that lie (in part) in bus word `word`."""
    low = max(word * s[S.BUS_BYTES], address)
    high = min((word + 1) * s[S.BUS_BYTES], address + length)
    return (high - 1 - address) // seg - (low - address) // seg + 1


@kernel
def accept_read(c: Any, s: I64, granted: int) -> int:
    """The cycle in which the read burst granted in `granted` is accepted; the next grant is no earlier."""
    accepted = granted + 1
    burst = s[S.READ_BURSTS]
    if burst >= s[S.READ_OUTSTANDING]:
        accepted = max(accepted, s[S.READ_LAST + (burst - s[S.READ_OUTSTANDING]) % RING] + 1)
    s[S.AR_FREE] = accepted
    return accepted


@kernel
def end_read(c: Any, s: I64, beats: int, taken: int) -> int:
    """Account for a read burst of `beats` whose last beat is taken in `taken`."""
    s[S.READ_LAST + s[S.READ_BURSTS] % RING] = taken
    s[S.READ_BURSTS] += 1
    s[S.READ_BEATS] += beats
    s[S.READ_TAKEN] = taken
    return 0
