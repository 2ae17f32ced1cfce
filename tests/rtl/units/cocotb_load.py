"""Load unit against plain numpy copies: the bursts of both strides, bytes of any alignment into every buffer, fills
between copies, with late grants, late beats and several instructions under way (docs/timing.md, section 5)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import cocotb
import numpy as np

from hw import isa
from hw.isa import Buffer, Load
from hw.rtl.load import DONE_LATENCY, LoadUnit, piece_layout
from hw.timing import DECODE, IN_FLIGHT
from tests.rtl.units.common import PARAMETERS, Pins, generator, machine, unpack, word
from tests.rtl.units.transfers import DRAM_BYTES, burst_starts, random_transfer
from tests.sim.reference_cycle import bursts, runs


def unit(parameters: dict[str, Any]) -> LoadUnit:
    return LoadUnit(machine(parameters))


def bytes_of(m: Load, memory: np.ndarray) -> Iterator[tuple[Buffer, int, int]]:
    """(buffer, address, value) of every byte that a load writes, in its order."""
    for y in range(m.y_size):
        for x in range(m.x_size):
            to, at = m.sram + y * m.y_sram + x * m.x_sram, m.dram + y * m.y_dram + x * m.x_dram
            for k in range(m.seg):
                yield m.buffer, to + k, m.value if m.fill else int(memory[at + k])


@cocotb.test()
async def copies_and_fills(dut: Any) -> None:
    cfg, rng, pins = machine(PARAMETERS), generator(), Pins(dut)
    bus = cfg.bus_bytes
    memory = rng.integers(0, 256, DRAM_BYTES).astype(np.uint8)
    program = []
    for _ in range(120):
        buffer = Buffer(int(rng.integers(len(Buffer))))
        fill = buffer != Buffer.UOP and rng.random() < 0.25
        fields = random_transfer(rng, getattr(cfg, f"{buffer.name.lower()}_buffer"))
        program.append(Load(buffer=buffer, fill=fill, value=int(rng.integers(256)), **fields))
    expected = [byte for instr in program for byte in bytes_of(instr, memory)]
    ends = list(accumulate(i.seg * i.x_size * i.y_size for i in program))
    await pins.start(start=0, instruction=0, granted=0, beat=0, data=0)
    wanted: deque[tuple[int, int]] = deque()
    beats: deque[int] = deque()
    complete: deque[tuple[int, int]] = deque()  # cycle, bytes that are in the buffers after it
    started = done = written = 0
    shown = 0
    while done < len(program) or complete:
        assert pins.cycle < 60_000, f"stuck after {done} of {len(program)}"
        # The queue shows an instruction from the cycle after its start on.
        await pins.drive(instruction=shown, granted=0, start=0)
        start = started < len(program) and pins["free"] and started - done < IN_FLIGHT and rng.random() < 0.6
        beat = bool(beats) and rng.random() < 0.7
        here = beats[0] * bus if beat else 0
        await pins.drive(start=start, beat=beat, data=word(memory[here : here + bus]) if beat else 0)
        if pins["request"]:
            assert (pins["word"], pins["beats"]) == wanted[0]
        grant = pins["request"] and rng.random() < 0.5
        await pins.drive(granted=grant)
        if beat and pins["ready"]:
            beats.popleft()
        if grant:
            first, length = wanted.popleft()
            beats.extend(range(first, first + length))
        if pins["write"]:
            piece = unpack(piece_layout(cfg), pins["piece"])
            data = int(piece.bytes).to_bytes(bus, "little")
            masks = int(piece.mask_low) | int(piece.mask_high) << bus
            places = [k for k in range(2 * bus) if masks >> k & 1]
            found = [(Buffer(int(piece.buffer)), int(piece.word) * bus + k, data[k % bus]) for k in places]
            assert found == expected[written : written + len(found)]
            written += len(found)
        if pins["done"]:
            # What a token then lets start reads no earlier than a cycle and its decoding later.
            complete.append((pins.cycle + DONE_LATENCY + DECODE, ends[done]))
            done += 1
        if complete and complete[0][0] == pins.cycle:
            assert written >= complete.popleft()[1], "complete too long before its bytes are written"
        if start:
            instr = program[started]
            shown = isa.encode(instr, cfg)
            if not instr.fill:
                wanted.extend(burst_starts(instr, runs, bursts(instr, cfg), bus))
            started += 1
        await pins.tick()
    assert written == len(expected) and not beats and not wanted
