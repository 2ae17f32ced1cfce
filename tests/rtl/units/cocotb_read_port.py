"""Read arbiter against a list of what was granted: fetch first, in order, unchanged until accepted; beats to their
master; the outstanding bursts counted; `stop` (docs/timing.md, section 3)."""

from __future__ import annotations

from collections import deque
from typing import Any

import cocotb

from hw.rtl.axi import ReadId
from hw.rtl.read_port import ReadPort
from tests.rtl.units.common import PARAMETERS, Pins, generator, machine

MASTERS = ("fetch", "load")


def unit(parameters: dict[str, Any]) -> ReadPort:
    return ReadPort(machine(parameters))


@cocotb.test()
async def arbitrates(dut: Any) -> None:
    cfg, rng, pins = machine(PARAMETERS), generator(), Pins(dut)
    idle = {f"{m}_{s}": 0 for m in MASTERS for s in ("request", "word", "beats", "ready")}
    await pins.start(**idle, stop=0, arready=0, rvalid=0, rid=0, rlast=0)
    wanted: dict[str, tuple[int, int] | None] = dict.fromkeys(MASTERS)
    presented: tuple[int, int, int] | None = None
    memory: deque[list[int]] = deque()  # accepted bursts: master, beats left
    granted_bursts = delivered = delivered_before = 0
    offered = False
    stop = False
    counts: dict[str, int] = dict.fromkeys(MASTERS, 0)
    for cycle in range(3000):
        for m in MASTERS:
            if wanted[m] is None and rng.random() < 0.4:
                wanted[m] = int(rng.integers(1 << 20)), int(rng.integers(1, cfg.burst_beats + 1))
        ready = [bool(rng.random() < 0.6) for _ in MASTERS]
        arready = len(memory) < 8 and bool(rng.random() < 0.5)
        stop = cycle % 500 >= 470
        offered = bool(memory) and (offered or rng.random() < 0.6)
        inputs: dict[str, int] = {"stop": stop, "arready": arready, "rvalid": offered}
        for m, is_ready in zip(MASTERS, ready, strict=True):
            word, beats = wanted[m] or (0, 0)
            inputs |= {f"{m}_request": wanted[m] is not None, f"{m}_word": word, f"{m}_beats": beats}
            inputs[f"{m}_ready"] = is_ready
        if memory:
            inputs |= {"rid": memory[0][0], "rlast": memory[0][1] == 1}
        await pins.drive(**inputs)

        assert pins["arvalid"] == (presented is not None)
        if presented is not None:
            assert (pins["arid"], pins["arword"], pins["arbeats"]) == presented
        assert pins["outstanding"] == (granted_bursts > delivered_before)
        delivered_before = delivered
        free = (presented is None or arready) and not stop
        winner = next((m for m in MASTERS if wanted[m]), None) if free else None
        assert [pins[f"{m}_granted"] for m in MASTERS] == [m == winner for m in MASTERS]
        beat_of = MASTERS[memory[0][0]] if offered and not stop else None
        assert [pins[f"{m}_beat"] for m in MASTERS] == [m == beat_of for m in MASTERS]
        taken = offered and (stop or ready[memory[0][0]])
        assert not offered or pins["rready"] == taken

        if presented is not None and arready:
            memory.append([presented[0], presented[2]])
            presented = None
        if taken:
            offered = False
            memory[0][1] -= 1
            if not memory[0][1]:
                memory.popleft()
                delivered += 1
        if winner:
            word, beats = wanted[winner] or (0, 0)
            presented = int(ReadId[winner.upper()]), word, beats
            wanted[winner] = None
            granted_bursts += 1
            counts[winner] += 1
        await pins.tick()
    assert min(counts.values()) > 5, "a master was starved"
