"""Command queue against a Python deque: random pushes and pops, often full and often empty."""

from __future__ import annotations

from collections import deque
from typing import Any

import cocotb

from hw import isa
from hw.isa import Store, Unit
from hw.random_program import random_instruction
from hw.rtl.queue import CommandQueue
from tests.rtl.units.common import PARAMETERS, Pins, generator, machine


def unit(parameters: dict[str, Any]) -> CommandQueue:
    return CommandQueue(machine(parameters), Unit.STORE, parameters["depth"])


@cocotb.test()
async def first_in_first_out(dut: Any) -> None:
    cfg, depth, rng = machine(PARAMETERS), PARAMETERS["depth"], generator()
    words = [isa.encode(random_instruction(rng, cfg, Store), cfg) for _ in range(300)]
    pins = Pins(dut)
    await pins.start(push=0, pop=0, word=0)
    waiting: deque[int] = deque()
    shown: int | None = None
    seen = set()
    for cycle in range(1200):
        await pins.drive()
        assert (pins["room"], pins["visible"]) == (len(waiting) < depth, bool(waiting))
        assert shown is None or pins["instruction"] == shown
        if waiting:
            assert pins["flags"] == waiting[0] >> isa.OPCODE_BITS & (1 << len(isa.FLAGS)) - 1
        seen.add(len(waiting))
        filling = 0.75 if cycle % 200 < 100 else 0.25
        push = len(waiting) < depth and rng.random() < filling
        pop = bool(waiting) and rng.random() < 1 - filling
        word = words[int(rng.integers(len(words)))]
        await pins.drive(push=push, pop=pop, word=word)
        if pop:
            shown = waiting.popleft()
        if push:
            waiting.append(word)
        await pins.tick()
    assert seen == {*range(depth + 1)}, "never full or never empty"
