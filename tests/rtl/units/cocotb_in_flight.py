"""Instructions between start and retirement against the rules (docs/timing.md, 2.3 and 2.4): random starts,
completions and full token counters."""

from __future__ import annotations

from collections import deque
from typing import Any

import cocotb

from hw.rtl.tokens import InFlight
from hw.timing import IN_FLIGHT
from tests.rtl.units.common import PARAMETERS, Pins, generator


def unit(parameters: dict[str, Any]) -> InFlight:
    return InFlight(parameters["latency"])


@cocotb.test()
async def retires_in_order(dut: Any) -> None:
    latency, rng, pins = PARAMETERS["latency"], generator(), Pins(dut)
    await pins.start(start=0, pushes=0, done=0, latency=1, token_room=0)
    flight: deque[list[int]] = deque()  # pushes, cycle of completion (or -1)
    retired = 0
    for cycle in range(2000):
        await pins.drive()
        assert pins["room"] == (len(flight) < IN_FLIGHT)
        room = int(rng.integers(4)) if rng.random() < 0.5 else 3
        start, pushes = len(flight) < IN_FLIGHT and rng.random() < 0.5, int(rng.integers(4))
        undone = [f for f in flight if f[1] < 0]
        done, after = bool(undone) and rng.random() < 0.4, int(rng.integers(1, latency + 1))
        await pins.drive(token_room=room, start=start, pushes=pushes, done=done, latency=after)
        head = flight[0] if flight else None
        retires = head is not None and 0 <= head[1] <= cycle and not head[0] & ~room
        assert pins["retire"] == retires
        assert pins["push"] == (head[0] if head is not None and retires else 0)
        if done:
            undone[0][1] = cycle + after
        if retires:
            flight.popleft()
            retired += 1
        if start:
            flight.append([pushes, -1])
        await pins.tick()
    assert retired > 200
