"""Store unit against plain numpy copies: addresses, strobes and bytes of every beat in order, with a memory that is
slow on all three write channels (docs/timing.md, section 7); `stop` ends addresses but not data owed."""

from __future__ import annotations

from collections import deque
from typing import Any

import cocotb
import numpy as np

from hw import isa
from hw.isa import Store
from hw.rtl.store import StoreUnit
from hw.timing import IN_FLIGHT
from tests.rtl.units.common import PARAMETERS, Pins, generator, machine, word
from tests.rtl.units.transfers import burst_starts, random_transfer
from tests.sim.reference_cycle import bursts, runs

IDLE = ("start", "instruction", "stop", "low", "high", "awready", "wready", "bvalid")


def unit(parameters: dict[str, Any]) -> StoreUnit:
    return StoreUnit(machine(parameters))


def beats_of(m: Store, source: np.ndarray, bus: int) -> list[tuple[int, int, bytes]]:
    """(bus word, strobes, data of the bytes with a strobe) of every beat of a store."""
    result = []
    for address, length in runs(m):
        # A run's row begins where the runs before it ended: found by its place among all bytes of the store.
        count = sum(len(x[2]) for x in result)
        order = [
            m.sram + y * m.y_sram + x * m.x_sram + k
            for y in range(m.y_size) for x in range(m.x_size) for k in range(m.seg)
        ][count : count + length]  # fmt: skip
        for at in range(address // bus, -(-(address + length) // bus)):
            inside = [b for b in range(at * bus, (at + 1) * bus) if address <= b < address + length]
            strobes = sum(1 << b % bus for b in inside)
            result.append((at, strobes, bytes(source[[order[b - address] for b in inside]])))
    return result


@cocotb.test()
async def copies(dut: Any) -> None:
    cfg, rng, pins = machine(PARAMETERS), generator(), Pins(dut)
    bus = cfg.bus_bytes
    source = np.zeros(cfg.out_buffer + 2 * bus, np.uint8)
    source[: cfg.out_buffer] = rng.integers(0, 256, cfg.out_buffer)
    program = [Store(**random_transfer(rng, cfg.out_buffer)) for _ in range(100)]
    addresses = deque(b for m in program for b in burst_starts(m, runs, bursts(m, cfg), bus))
    bursts_until = np.cumsum([len(bursts(m, cfg)) for m in program]).tolist()
    data = deque(x for m in program for x in beats_of(m, source, bus))
    await pins.start(**dict.fromkeys(IDLE, 0))
    accepted: deque[int] = deque()  # beats of the bursts whose data are not yet all there
    started = done = answered = owed_responses = 0
    shown = beat_in_burst = 0
    outputs: tuple[int, int] | None = None
    while done < len(program):
        assert pins.cycle < 60_000, f"stuck after {done} of {len(program)}"
        lows = dict(zip(("low", "high"), outputs, strict=True)) if outputs else {}
        await pins.drive(instruction=shown, start=0, **lows)
        start = started < len(program) and pins["free"] and started - done < IN_FLIGHT and rng.random() < 0.6
        awready, wready = rng.random() < 0.4, bool(accepted) and rng.random() < 0.6
        bvalid = owed_responses > 0 and rng.random() < 0.3
        await pins.drive(start=start, awready=awready, wready=wready, bvalid=bvalid)
        assert pins["bready"]
        if pins["awvalid"]:
            assert (pins["awword"], pins["awbeats"]) == addresses[0]
        if pins["wvalid"]:
            # Data wait for their address to be presented, not for it to be accepted.
            assert accepted or pins["awvalid"], "data before their address"
            _, strobes, values = data[0]
            length = accepted[0] if accepted else addresses[0][1]
            assert pins["wstrb"] == strobes and pins["wlast"] == (beat_in_burst + 1 == length)
            lanes = pins["wdata"].to_bytes(bus, "little")
            assert bytes(lanes[k] for k in range(bus) if strobes >> k & 1) == values
        complete = bvalid and answered + 1 == bursts_until[done]
        assert pins["done"] == complete
        if bvalid:
            owed_responses -= 1
            answered += 1
            done += complete
        if pins["awvalid"] and awready:
            accepted.append(addresses.popleft()[1])
        if pins["wvalid"] and wready:
            data.popleft()
            beat_in_burst += 1
            if beat_in_burst == accepted[0]:
                accepted.popleft()
                beat_in_burst = 0
                owed_responses += 1
        if pins["read"]:
            at = pins["word"] * bus
            outputs = (
                word(source[at : at + bus]),
                word(source[at + bus : at + 2 * bus].copy()) if at + bus < source.size else 0,
            )
        if start:
            shown = isa.encode(program[started], cfg)
            started += 1
        await pins.tick()
    await pins.drive(start=0, bvalid=0)
    assert not addresses and not data and not pins["outstanding"]


@cocotb.test()
async def stop_ends_addresses_only(dut: Any) -> None:
    """After `stop` no new address comes, one that is presented stays, and every accepted burst gets its data."""
    cfg, rng, pins = machine(PARAMETERS), generator(), Pins(dut)
    bus = cfg.bus_bytes
    for at in (3, 9, 14, 25):
        await pins.start(**dict.fromkeys(IDLE, 0))
        instr = isa.encode(Store(dram=8, seg=cfg.out_buffer // 4, x_size=4, x_dram=3 * bus + cfg.out_buffer), cfg)
        await pins.drive(start=1)
        await pins.tick()
        await pins.drive(start=0, instruction=instr)
        owed: deque[int] = deque()
        answers = 0
        presented_before_stop = False
        for cycle in range(600):
            stop = cycle >= at
            wready = bool(owed) and rng.random() < 0.7
            await pins.drive(stop=stop, awready=rng.random() < 0.3, wready=wready, bvalid=answers > 0)
            if cycle > at and not presented_before_stop:
                assert not pins["awvalid"], "an address after stop"
            taken_address = pins["awvalid"] and int(dut.awready.value)
            if pins["wvalid"] and int(dut.wready.value):
                owed[0] -= 1
                assert pins["wlast"] == (owed[0] == 0)
                if owed[0] == 0:
                    owed.popleft()
                    answers += 1
            if int(dut.bvalid.value):
                answers -= 1
            if taken_address:
                owed.append(pins["awbeats"])
            presented_before_stop = bool(pins["awvalid"]) and not taken_address
            await pins.tick()
        assert not owed and not pins["outstanding"]
