"""The store unit (docs/timing.md, section 7) as a kernel.

Nothing else uses the write channels, so a store is timed whole when it starts.
"""

from __future__ import annotations

from typing import Any

from hw.isa import Unit
from hw.timing import DECODE, RESPONSE, STORE_READ, STORE_RETIRE, WRITE
from sim.cycle.layout import RING, S, W
from sim.cycle.memory import beats_of, burst_of, gap, pieces_of
from sim.jit import I64, kernel
from sim.program import F


@kernel
def start_store(c: Any, s: I64, w: I64, t: I64, i: int, now: int) -> int:
    """Start store `i` in cycle `now` and time its bursts, beats and responses."""
    row = i * F.ROW
    seg = t[row + F.SEG]
    whole = t[row + F.X_DRAM] == seg or t[row + F.X_SIZE] == 1
    runs = 1 if whole else t[row + F.X_SIZE]
    length = seg * (t[row + F.X_SIZE] if whole else 1)
    plain = s[S.STALL_RATE] == 0 and seg >= length
    address_ready = now + DECODE
    # Earliest cycle in which a next beat of one piece could be presented.
    data_ready = now + DECODE + STORE_READ
    total = 0
    w[i * W.ROW + W.ISSUE] = address_ready
    for y in range(t[row + F.Y_SIZE]):
        for x in range(runs):
            address = t[row + F.DRAM] + y * t[row + F.Y_DRAM] + x * t[row + F.X_DRAM]
            word = address // s[S.BUS_BYTES]
            left = beats_of(c, s, address, length)
            total += left
            while left > 0:
                beats = burst_of(c, s, s[S.BURST_BEATS], word, left)
                n = s[S.WRITE_BURSTS]
                accepted = address_ready
                if n >= s[S.WRITE_OUTSTANDING]:
                    accepted = max(accepted, s[S.RESPONSE + (n - s[S.WRITE_OUTSTANDING]) % RING] + 1)
                address_ready = accepted + 1
                taken = 0
                if plain:
                    taken = max(data_ready, accepted + 1) + beats - 1
                    data_ready = taken + 1
                    s[S.BUSY + Unit.STORE] += beats
                else:
                    bound = accepted + 1
                    for b in range(beats):
                        pieces = pieces_of(c, s, address, length, seg, word + b)
                        presented = max(data_ready + pieces - 1, bound)
                        taken = presented + gap(c, s, WRITE, s[S.WRITE_BEATS] + b)
                        data_ready = taken + 1
                        bound = 0
                        s[S.BUSY + Unit.STORE] += pieces
                response = max(taken + s[S.WRITE_LATENCY], s[S.WRITE_RESPONSE] + 1) + gap(c, s, RESPONSE, n)
                s[S.RESPONSE + n % RING] = response
                s[S.WRITE_RESPONSE] = response
                s[S.WRITE_BURSTS] += 1
                s[S.WRITE_BEATS] += beats
                word += beats
                left -= beats
    w[i * W.ROW + W.BEATS] = total
    w[i * W.ROW + W.LAST] = data_ready - 1
    w[i * W.ROW + W.COMPLETE] = s[S.WRITE_RESPONSE] + STORE_RETIRE
    s[S.STAGE_FREE + Unit.STORE] = data_ready
    return 0
