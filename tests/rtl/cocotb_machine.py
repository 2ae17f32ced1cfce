"""cocotb bench of the whole machine, its buses driven by cocotbext-axi: other people's idea of what AXI is.

Run by test_cocotb.py; VDLA_CASE names the pickled Case and VDLA_EXPECTED the memory it must leave.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam
from cocotbext.axi.axi_ram import AxiRamRead, AxiRamWrite

from hw.rtl.registers import OFFSET, Control, Error, Status
from tests.rtl.axi_memory import Checker, Port, watch

CASES = pickle.loads(Path(os.environ["VDLA_CASES"]).read_bytes())
"""(memory before, memory after, program address, instructions) of each program."""
PATIENCE = 20_000


class Board:
    """The machine with a memory and a processor."""

    def __init__(self, dut: Any, memory_bytes: int) -> None:
        self.dut = dut
        cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
        self.ram: Any = AxiRam(AxiBus.from_prefix(dut, "axi"), dut.clk, dut.rst, size=memory_bytes)
        cocotb.start_soon(watch(dut, Checker(Port(dut))))
        self.cpu = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)

    async def reset(self) -> None:
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, 4)
        self.dut.rst.value = 0
        await RisingEdge(self.dut.clk)

    async def read(self, name: str) -> int:
        return int(await self.cpu.read_dword(OFFSET[name]))

    async def write(self, name: str, value: int) -> None:
        await self.cpu.write_dword(OFFSET[name], value)

    async def start(self, number: int) -> np.ndarray:
        """Begin a program; the memory it must leave."""
        before, after, address, count = CASES[number]
        self.ram.write(0, before.tobytes())
        await self.write("PROGRAM_ADDRESS", address)
        await self.write("PROGRAM_LENGTH", count)
        await self.write("CONTROL", Control.START)
        return after

    async def finish(self) -> Status:
        for _ in range(PATIENCE // 20):
            await ClockCycles(self.dut.clk, 20)
            status = Status(await self.read("STATUS"))
            if not status & Status.BUSY:
                return status
        raise AssertionError("the machine hangs")

    async def check(self, number: int) -> None:
        """The program runs right."""
        after = await self.start(number)
        assert await self.finish() == Status.DONE
        found = np.frombuffer(self.ram.read(0, after.size), np.uint8)
        np.testing.assert_array_equal(found, after)


async def make(dut: Any) -> Board:
    board = Board(dut, max(before.size for before, *_ in CASES))
    await board.reset()
    return board


def pauses(seed: int, share: float) -> Iterator[bool]:
    """Random back-pressure."""
    rng = np.random.default_rng(seed)
    while True:
        yield bool(rng.random() < share)


@cocotb.test()
async def programs_back_to_back(dut: Any) -> None:
    board = await make(dut)
    for number in range(len(CASES)):
        await board.check(number)


@cocotb.test()
async def back_pressure_on_every_channel(dut: Any) -> None:
    board = await make(dut)
    ram = board.ram
    channels = (
        ram.read_if.ar_channel, ram.read_if.r_channel,
        ram.write_if.aw_channel, ram.write_if.w_channel, ram.write_if.b_channel,
    )  # fmt: skip
    for k, channel in enumerate(channels):
        channel.set_pause_generator(pauses(k, 0.3 + 0.1 * k))
    for number in range(len(CASES)):
        await board.check(number)


@cocotb.test()
async def reset_in_flight(dut: Any) -> None:
    board = await make(dut)
    for cycles in (1, 17, 60, 150, 400):
        await board.start(0)
        await ClockCycles(dut.clk, cycles)
        await board.write("CONTROL", Control.RESET)
        await board.finish()
        await board.check(1)


@cocotb.test()
async def reset_line_in_flight(dut: Any) -> None:
    board = await make(dut)
    for cycles in (2, 33, 90, 200):
        await board.start(0)
        await ClockCycles(dut.clk, cycles)
        await board.reset()
        await board.check(1)


@cocotb.test()
async def error_responses(dut: Any) -> None:
    board = await make(dut)
    for interface, method, error in (
        (AxiRamRead, "_read", Error.READ),
        (AxiRamWrite, "_write", Error.WRITE),
    ):
        original = getattr(interface, method)
        for accesses in (0, 5, 40) if error == Error.READ else (0, 2):
            left = accesses

            async def failing(self: Any, *arguments: Any, original: Any = original) -> Any:
                nonlocal left
                left -= 1
                if left == -1:
                    raise OSError("no memory here")
                return await original(self, *arguments)

            setattr(interface, method, failing)
            await board.start(0)
            status = await board.finish()
            setattr(interface, method, original)
            assert status & Status.ERROR
            assert Error(await board.read("ERROR")) == error
            await board.check(1)
