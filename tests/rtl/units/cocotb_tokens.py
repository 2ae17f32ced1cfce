"""Token counter against an integer (docs/timing.md, 2.2)."""

from __future__ import annotations

from typing import Any

import cocotb

from hw.rtl.tokens import TokenCounter
from tests.rtl.units.common import PARAMETERS, Pins, generator


def unit(parameters: dict[str, Any]) -> TokenCounter:
    return TokenCounter(parameters["depth"])


@cocotb.test()
async def counts(dut: Any) -> None:
    depth, rng, pins = PARAMETERS["depth"], generator(), Pins(dut)
    await pins.start(push=0, pop=0)
    held, seen = 0, set()
    for cycle in range(800):
        await pins.drive()
        assert (pins["available"], pins["room"]) == (held > 0, held < depth)
        seen.add((held > 0, held < depth))
        rate = 0.95 if cycle % 400 < 200 else 0.05
        push, pop = held < depth and rng.random() < rate, held > 0 and rng.random() < 1 - rate
        await pins.drive(push=push, pop=pop)
        held += int(push) - int(pop)
        await pins.tick()
    assert {(False, True), (True, False)} <= seen, "never empty or never full"
