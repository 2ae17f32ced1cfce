"""Fetch and dispatch against the program itself: bursts by docs/timing.md, 4.1 and 4.2, instructions in order, each in
the first cycle that 4.3 allows and to its unit when that has room; a word that is no instruction is never dispatched.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import cocotb
import numpy as np

from hw import isa
from hw.config import Config
from hw.rtl.fetch import Fetch
from hw.timing import FETCH_DECODE, FETCH_FIFO, PAGE
from tests.rtl.units.common import PARAMETERS, Pins, generator, legal_instruction, machine, word


def unit(parameters: dict[str, Any]) -> Fetch:
    return Fetch(machine(parameters))


def burst_sizes(address: int, count: int, cfg: Config) -> list[tuple[int, int]]:
    """(first bus word, beats) of the bursts that read a program."""
    bus, size = cfg.bus_bytes, cfg.instruction_bytes
    at, left, result = address, -(-count * size // bus), []
    while left:
        beats = min(cfg.burst_beats, FETCH_FIFO * size // (2 * bus), (PAGE - at % PAGE) // bus, left)
        result.append((at // bus, beats))
        at, left = at + beats * bus, left - beats
    return result


@cocotb.test()
async def dispatches_in_order(dut: Any) -> None:
    cfg, rng, pins = machine(PARAMETERS), generator(), Pins(dut)
    bus, size = cfg.bus_bytes, cfg.instruction_bytes
    await pins.start(start=0, address=0, length=0, stop=0, granted=0, beat=0, data=0, room=0)
    for turn, count in enumerate((1, 3, 57, 120)):
        program = [legal_instruction(rng, cfg) for _ in range(count)]
        words = [isa.encode(i, cfg) for i in program]
        unit_bytes = max(bus, size)
        address = PAGE - unit_bytes * int(rng.integers(1, 9))
        data = np.zeros(address + (count + 2) * unit_bytes, np.uint8)
        for k, w in enumerate(words):
            at = address + k * size
            data[at : at + size] = np.frombuffer(w.to_bytes(size, "little"), np.uint8)
        await pins.drive(address=address, length=count, granted=0, beat=0)
        await pins.tick()
        await pins.tick()
        await pins.drive(start=1)
        await pins.tick()
        await pins.drive(start=0, address=0, length=0)
        expected = deque(burst_sizes(address, count, cfg))
        beats: deque[int] = deque()
        arrived: list[int] = []  # cycle in which the last beat of each instruction is taken
        granted = dispatched = taken = 0
        eager = turn % 2
        for _ in range(6000):
            if dispatched == count:
                break
            room = 0 if rng.random() < (0.2 if eager else 0.7) else int(rng.integers(1, 8))
            beat = bool(beats) and rng.random() < 0.7
            here = beats[0] * bus if beat else 0
            await pins.drive(room=room, beat=beat, data=word(data[here : here + bus]) if beat else 0, granted=0)
            if expected:
                burst = expected[0][1] * bus
                may = granted + burst - dispatched * size <= FETCH_FIFO * size
                assert pins["request"] == may, "a burst is wanted exactly while it fits"
                if may:
                    assert (pins["word"], pins["beats"]) == expected[0]
            else:
                assert not pins["request"]
            unit_bit = 1 << program[dispatched].UNIT
            ready = dispatched < len(arrived) and pins.cycle >= arrived[dispatched] + FETCH_DECODE
            assert pins["dispatch"] == (unit_bit & room if ready else 0)
            assert not ready or not pins["illegal"]
            if pins["dispatch"]:
                assert pins["instruction"] == words[dispatched]
            grant = pins["request"] and rng.random() < 0.5
            await pins.drive(granted=grant)
            dispatched += pins["dispatch"] != 0
            if beat:
                beats.popleft()
                taken += bus
                arrived += [pins.cycle] * (taken // size - len(arrived))
            if grant:
                first, length = expected.popleft()
                beats.extend(range(first, first + length))
                granted += length * bus
            await pins.tick()
        assert dispatched == count, "the program is not dispatched to its end"
        await pins.drive(room=7, beat=0, granted=0)
        assert not pins["dispatch"] and not pins["illegal"] and not pins["request"]
        # What was fetched beyond the program is thrown away by the core's reset before the next start.
        dut.rst.value = 1
        await pins.tick()
        dut.rst.value = 0


@cocotb.test()
async def what_is_no_instruction_stays(dut: Any) -> None:
    cfg, pins = machine(PARAMETERS), Pins(dut)
    bus, size = cfg.bus_bytes, cfg.instruction_bytes
    await pins.start(start=0, address=0, length=0, stop=0, granted=0, beat=0, data=0, room=7)
    good = isa.encode(isa.Sync(), cfg)
    data = np.frombuffer(good.to_bytes(size, "little") + bytes(max(bus, size) * 2), np.uint8)
    await pins.drive(start=1, length=2)
    await pins.tick()
    await pins.drive(start=0)
    dispatched = illegal = at = 0
    for _ in range(40):
        grant = pins["request"]
        await pins.drive(granted=grant, beat=at < 2 * size, data=word(data[at : at + bus]))
        at += bus
        dispatched += pins["dispatch"] != 0
        illegal = pins["illegal"]
        await pins.tick()
    assert dispatched == 1 and illegal
    await pins.drive(stop=1)
    assert not pins["illegal"] and not pins["request"]
