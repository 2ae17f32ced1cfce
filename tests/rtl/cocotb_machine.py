"""cocotb bench of the whole machine, its buses driven by cocotbext-axi: other people's idea of what AXI is.

Run by test_cocotb.py; VDLA_CASE names the pickled Case and VDLA_EXPECTED the memory it must leave.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiBus, AxiRam
from cocotbext.axi.axi_ram import AxiRamRead, AxiRamWrite

from hw.rtl.registers import Control, Error, Status
from tests.rtl.axi_memory import Checker, Port, watch
from tests.rtl.cocotb_board import CASES, Processor


class Board(Processor):
    """The machine with a memory and a processor."""

    def __init__(self, dut: Any, memory_bytes: int) -> None:
        super().__init__(dut)
        cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
        self.ram: Any = AxiRam(AxiBus.from_prefix(dut, "axi"), dut.clk, dut.rst, size=memory_bytes)
        cocotb.start_soon(watch(dut, Checker(Port(dut))))

    def fill(self, data: np.ndarray) -> None:
        self.ram.write(0, data.tobytes())

    def contents(self, size: int) -> np.ndarray:
        return np.frombuffer(self.ram.read(0, size), np.uint8)

    async def reset(self) -> None:
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, 4)
        self.dut.rst.value = 0
        await RisingEdge(self.dut.clk)


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
