"""What the cocotb benches of the whole machine have in common: the processor that starts programs and judges them."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from cocotb.triggers import ClockCycles
from cocotbext.axi import AxiLiteBus, AxiLiteMaster

from hw.rtl.registers import OFFSET, Control, Status

CASES = pickle.loads(Path(os.environ["VDLA_CASES"]).read_bytes())
"""(memory before, memory after, program address, instructions) of each program."""
PATIENCE = 20_000


class Processor:
    """The machine's control port, beside a memory that a subclass has."""

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self.cpu = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)

    def fill(self, data: np.ndarray) -> None:
        """Set the memory's bytes."""
        raise NotImplementedError

    def contents(self, size: int) -> np.ndarray:
        """The memory's first bytes."""
        raise NotImplementedError

    async def read(self, name: str) -> int:
        return int(await self.cpu.read_dword(OFFSET[name]))

    async def write(self, name: str, value: int) -> None:
        await self.cpu.write_dword(OFFSET[name], value)

    async def start(self, number: int) -> np.ndarray:
        """Begin a program; the memory it must leave."""
        before, after, address, count = CASES[number]
        self.fill(before)
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
        np.testing.assert_array_equal(self.contents(after.size), after)
