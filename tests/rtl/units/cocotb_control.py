"""Control registers behind cocotbext-axi's AXI4-Lite master, against a Python model of hw/rtl/registers.py: random
reads and writes with pauses on every channel, byte strobes, and programs whose events the bench makes up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import cocotb
from cocotb.triggers import ClockCycles, FallingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster

from hw.isa import Unit
from hw.rtl.control import ControlUnit
from hw.rtl.registers import OFFSET, REGISTER_BYTES, REGISTERS, Control, Error, Status
from hw.rtl.revision import revision
from hw.timing import CAUSES
from tests.rtl.units.common import PARAMETERS, Pins, generator, machine

EVENTS = ("outstanding", "retires", "last", "waiting", "cause", "working", "read_error", "write_error", "illegal")


def unit(parameters: dict[str, Any]) -> ControlUnit:
    return ControlUnit(machine(parameters))


class Processor:
    """Reads and writes registers by name."""

    def __init__(self, dut: Any) -> None:
        self.bus = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)
        rng = generator()

        def pauses() -> Iterator[bool]:
            while True:
                yield bool(rng.random() < 0.4)

        bus: Any = self.bus
        write, read = bus.write_if, bus.read_if
        for channel in (write.aw_channel, write.w_channel, write.b_channel, read.ar_channel, read.r_channel):
            channel.set_pause_generator(pauses())

    async def read(self, name: str) -> int:
        return int(await self.bus.read_dword(OFFSET[name]))

    async def write(self, name: str, value: int) -> None:
        await self.bus.write_dword(OFFSET[name], value)


async def make(dut: Any) -> tuple[Pins, Processor]:
    pins = Pins(dut)
    processor = Processor(dut)
    await pins.start(**dict.fromkeys(EVENTS, 0))
    return pins, processor


@cocotb.test()
async def registers_keep_what_is_written(dut: Any) -> None:
    cfg, rng = machine(PARAMETERS), generator()
    _, cpu = await make(dut)
    kept = {"PROGRAM_ADDRESS": 0, "PROGRAM_LENGTH": 0, "INTERRUPT_ENABLE": 0}
    constant = {"FINGERPRINT_LOW": int(cfg.fingerprint, 16) & 0xFFFFFFFF}
    constant["FINGERPRINT_HIGH"] = int(cfg.fingerprint, 16) >> 32
    constant["REVISION"] = revision()
    for _ in range(60):
        name = REGISTERS[int(rng.integers(len(REGISTERS)))].name
        value = int(rng.integers(1 << 32))
        if name != "CONTROL" and rng.random() < 0.7:
            length = 4 if rng.random() < 0.7 else int(rng.integers(1, 4))
            await cpu.bus.write(OFFSET[name], value.to_bytes(4, "little")[:length])
            if name in kept and length == 4:
                kept[name] = value & 1 if name == "INTERRUPT_ENABLE" else value
        name = REGISTERS[int(rng.integers(len(REGISTERS)))].name
        assert await cpu.read(name) == {**kept, **constant}.get(name, 0), name
    for beyond in (len(REGISTERS), 63):
        assert await cpu.bus.read_dword(REGISTER_BYTES * beyond) == 0


async def run_program(dut: Any, pins: Pins, cpu: Processor, length: int, ending: str = "") -> dict[str, int]:
    """Start a program and make up its events until the last retirement; what the counters must then say.

    `ending` names an input that is set before the end.
    """
    rng = generator()
    await cpu.write("PROGRAM_LENGTH", length)
    start = cocotb.start_soon(cpu.write("CONTROL", Control.START))
    for _ in range(100):
        await pins.drive()
        if pins["start"]:
            break
        await pins.tick()
    assert pins["start"]
    counts: Counter[str] = Counter()
    retired = undecided = 0
    while True:
        await pins.tick()
        await pins.drive()
        assert pins["running"]
        amount = int(rng.integers(0, min(len(Unit), length - retired) + 1)) if rng.random() < 0.2 else 0
        retires = {0: 0, 1: 2, 2: 5, 3: 7}[amount]
        stopping = ending and counts["CYCLES_LOW"] == 30
        waiting, cause, working = (
            bool(rng.random() < 0.3), CAUSES.index(str(rng.choice([c for c in CAUSES if c not in ("fetch", "drain")]))),
            int(rng.integers(1 << len(Unit))),
        )  # fmt: skip
        # In the cycle of the last retirement no compute instruction is left.
        waiting = waiting or retired + amount == length
        inputs = {"retires": retires, "waiting": waiting, "cause": cause, "working": working, "outstanding": 1}
        await pins.drive(**inputs, **({ending: 1} if stopping else {}))
        retired += amount
        counts["CYCLES_LOW"] += 1
        for u in Unit:
            counts[f"BUSY_{u.name}"] += working >> u & 1
        if waiting:
            undecided += 1
        else:
            counts["CYCLES_FETCH"] += undecided
            counts[f"CYCLES_{CAUSES[cause].upper()}"] += 1
            undecided = 0
        if stopping or retired == length:
            break
    counts["CYCLES_DRAIN"] = undecided
    counts["RETIRED"] = retired
    await pins.tick()
    await pins.drive(**dict.fromkeys(EVENTS, 0) | {"outstanding": bool(ending)})
    await start
    return counts


@cocotb.test()
async def counters_count(dut: Any) -> None:
    pins, cpu = await make(dut)
    await cpu.write("INTERRUPT_ENABLE", 1)
    for length in (1, 40, 97):
        expected = await run_program(dut, pins, cpu, length)
        assert pins["interrupt"] and not pins["running"]
        assert await cpu.read("STATUS") == Status.DONE
        for register in REGISTERS:
            if register.name.startswith(("CYCLES", "BUSY")) or register.name == "RETIRED":
                assert await cpu.read(register.name) == expected.get(register.name, 0), register.name
        await cpu.write("STATUS", Status.DONE)
        assert not pins["interrupt"] and await cpu.read("STATUS") == 0


@cocotb.test()
async def errors_stop_the_machine(dut: Any) -> None:
    pins, cpu = await make(dut)
    for ending, error in (("read_error", Error.READ), ("write_error", Error.WRITE), ("illegal", Error.INSTRUCTION)):
        await run_program(dut, pins, cpu, 90, ending)
        assert pins["stop"] and not pins["running"]
        assert await cpu.read("STATUS") == Status.BUSY | Status.ERROR
        # A start, and the program's registers, are not taken while it stops.
        await cpu.write("CONTROL", Control.START)
        await cpu.write("PROGRAM_LENGTH", 1)
        assert pins["stop"] and await cpu.read("PROGRAM_LENGTH") == 90
        await pins.drive(outstanding=0)
        resets = 0
        for _ in range(4):
            await FallingEdge(dut.clk)
            resets += pins["reset"]
        assert resets == 1 and not pins["stop"]
        assert await cpu.read("STATUS") == Status.ERROR and await cpu.read("ERROR") == error


@cocotb.test()
async def a_reset_abandons(dut: Any) -> None:
    pins, cpu = await make(dut)
    await cpu.write("PROGRAM_LENGTH", 5)
    await cpu.write("CONTROL", Control.START)
    await ClockCycles(dut.clk, 9)
    await pins.drive(outstanding=1)
    await cpu.write("CONTROL", Control.RESET)
    assert pins["stop"] and not pins["running"] and await cpu.read("STATUS") == Status.BUSY
    await pins.drive(outstanding=0)
    await ClockCycles(dut.clk, 3)
    assert not pins["stop"] and await cpu.read("STATUS") == 0 and await cpu.read("ERROR") == Error.NONE


@cocotb.test()
async def misplaced_programs_do_not_start(dut: Any) -> None:
    cfg = machine(PARAMETERS)
    pins, cpu = await make(dut)
    unit = max(cfg.bus_bytes, cfg.instruction_bytes)
    for address, length, legal in (
        (unit // 2, 1, False), (2**32 - cfg.instruction_bytes, 1, True),
        (2**32 - unit, unit // cfg.instruction_bytes + 1, False),
        (unit, 2**32 - 1, False), (0, 0, True),
    ):  # fmt: skip
        await cpu.write("PROGRAM_ADDRESS", address)
        await cpu.write("PROGRAM_LENGTH", length)
        await cpu.write("CONTROL", Control.START)
        await ClockCycles(dut.clk, 6)
        status = Status(await cpu.read("STATUS"))
        if not legal:
            assert status == Status.ERROR and await cpu.read("ERROR") == Error.PROGRAM
        elif length:
            assert status == Status.BUSY and pins["running"] and pins["address"] == address
            await cpu.write("CONTROL", Control.RESET)
            await ClockCycles(dut.clk, 4)
        else:
            assert status == Status.DONE
