"""An imitation of the `pynq` package: the classes and attributes that the backend uses, on the RTL as a board."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from runtime.board.errors import AllocationError
from runtime.board.rtl import RtlBoard, RtlBuffer

ADDRESS = 0x4000_0000
BLOCK = "vdla_0"
SKEW = 64
"""The kernel's memory begins at a cache line, not at a page."""


class Memory(np.ndarray):
    """As PynqBuffer: an array whose slices know their place in the buffer."""

    device_address: int
    lent: RtlBuffer

    def __array_finalize__(self, base: Any) -> None:
        if isinstance(base, Memory) and hasattr(base, "lent"):
            self.device_address = base.device_address + self.ctypes.data - base.ctypes.data
            self.lent = base.lent

    def _span(self) -> tuple[int, int]:
        begin = self.device_address - self.lent.address
        return begin, begin + self.nbytes

    def flush(self) -> None:
        self.lent.flush(*self._span())

    def invalidate(self) -> None:
        self.lent.invalidate(*self._span())

    def freebuffer(self) -> None:
        self.lent.free()


def module(board: RtlBoard, *, interrupt: bool = True, block: str = BLOCK) -> ModuleType:
    """The package, with `board` as the only thing in the programmable logic."""

    class Overlay:
        def __init__(self, path: str) -> None:
            assert Path(path).is_file()
            self.ip_dict = {block: {"phys_addr": ADDRESS, "addr_range": 0x1000}, "ps7": {}}
            self.interrupt_pins = {f"{block}/interrupt": {"controller": "intc", "index": 0}} if interrupt else {}

    class MMIO:
        def __init__(self, address: int, length: int) -> None:
            assert address == ADDRESS and length >= 0x64

        def read(self, offset: int) -> int:
            return board.read32(offset)

        def write(self, offset: int, value: int) -> None:
            assert type(value) is int, "MMIO takes plain integers"
            board.write32(offset, value)

    class Interrupt:
        def __init__(self, pin: str) -> None:
            assert pin == f"{block}/interrupt"

        async def wait(self) -> None:
            while not board.wait_interrupt(0.0005):
                await asyncio.sleep(0)

    class Clocks:
        fclk0_mhz = 50.0

    def allocate(shape: tuple[int, ...], dtype: type) -> Any:
        try:
            lent = board.allocate(shape[0] + SKEW)
        except AllocationError:
            raise RuntimeError("Failed to allocate Memory!") from None
        memory = lent.view.view(Memory)
        memory.device_address, memory.lent = lent.address, lent
        assert dtype is np.uint8
        return memory[SKEW:]

    fake: Any = ModuleType("pynq")
    fake.Overlay, fake.MMIO, fake.Interrupt, fake.Clocks, fake.allocate = Overlay, MMIO, Interrupt, Clocks, allocate
    return fake
