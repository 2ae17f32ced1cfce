"""The whole machine on an AXI3 port, as a Zynq-7000 has: memory and checker of tests.rtl.axi_memory.

Run by test_cocotb.py; VDLA_CASES names the programs with the memory that each must leave.
"""

from __future__ import annotations

from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge

from hw.rtl.registers import Control, Error, Status
from tests.rtl.axi_memory import Checker, Memory, Port, serve
from tests.rtl.cocotb_board import CASES, Processor


class Board(Processor):
    """The machine with a memory, a processor, and the checker, which sees every cycle."""

    def __init__(self, dut: Any, pauses: float) -> None:
        super().__init__(dut)
        Clock(dut.clk, 10, "ns").start()
        port = Port(dut)
        self.memory, self.checker = Memory(port, CASES[0][0].copy(), 0, pauses), Checker(port)
        for name in (
            "rvalid",
            "bvalid",
            "rid",
            "rdata",
            "rresp",
            "rlast",
            "bid",
            "bresp",
            "arready",
            "awready",
            "wready",
        ):
            port[name] = 0
        dut.rst.value = 1
        cocotb.start_soon(serve(dut, self.memory, self.checker))

    def fill(self, data: np.ndarray) -> None:
        self.memory.data = data.copy()

    def contents(self, size: int) -> np.ndarray:
        return self.memory.data[:size]

    async def reset(self) -> None:
        await FallingEdge(self.dut.clk)
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, 4)
        await FallingEdge(self.dut.clk)
        self.dut.rst.value = 0
        await ClockCycles(self.dut.clk, 2)


async def make(dut: Any, pauses: float = 0.0) -> Board:
    board = Board(dut, pauses)
    await board.reset()
    return board


@cocotb.test()
async def programs_back_to_back(dut: Any) -> None:
    board = await make(dut)
    for number in range(len(CASES)):
        await board.check(number)
    assert board.checker.beats > 50


@cocotb.test()
async def back_pressure_on_every_channel(dut: Any) -> None:
    board = await make(dut, 0.6)
    for number in range(len(CASES)):
        await board.check(number)


@cocotb.test()
async def reset_in_flight(dut: Any) -> None:
    board = await make(dut, 0.3)
    for cycles in (1, 60, 400):
        await board.start(0)
        await ClockCycles(dut.clk, cycles)
        await board.write("CONTROL", Control.RESET)
        await board.finish()
        await board.check(1)
    for cycles in (2, 90, 200):
        await board.start(0)
        await ClockCycles(dut.clk, cycles)
        await board.reset()
        await board.check(1)


@cocotb.test()
async def error_responses(dut: Any) -> None:
    board = await make(dut, 0.2)
    for error, accesses in ((Error.READ, (0, 17, 90)), (Error.WRITE, (0, 2))):
        for access in accesses:
            board.memory.fail_read = access if error == Error.READ else -1
            board.memory.fail_write = access if error == Error.WRITE else -1
            await board.start(0)
            assert await board.finish() & Status.ERROR
            assert Error(await board.read("ERROR")) == error
            board.memory.fail_read = board.memory.fail_write = -1
            await board.check(1)
