"""Boards that run PYNQ: everything through the `pynq` package, which comes with the board's Linux.

Tried against an imitation of that package which is backed by the RTL (tests/runtime/fake_pynq.py).
"""

from __future__ import annotations

import asyncio
import importlib
from pathlib import Path
from typing import Any

import numpy as np

from hw.rtl.registers import OFFSET, REGISTER_BYTES
from runtime.artifact import ALIGNMENT
from runtime.board.errors import AllocationError, BoardError
from runtime.board.interface import PAGE, Board, BoardInfo, Buffer

IP_NAMES = ("vdla", "vdla_0")
"""What the machine may be called in the block design."""
REGISTER_ROOM = max(OFFSET.values()) + REGISTER_BYTES


class PynqBuffer(Buffer):
    """Contiguous memory from the kernel. It is allocated with room to begin at a page of the machine's addresses."""

    def __init__(self, pynq: Any, size: int) -> None:
        try:
            self._whole = pynq.allocate(shape=(size + PAGE,), dtype=np.uint8)
        except (MemoryError, RuntimeError, OSError) as error:
            raise AllocationError(
                f"the board has no {size + PAGE} bytes of contiguous memory: {error}; raise the kernel's cma= or free "
                "other buffers"
            ) from None
        begin = int(self._whole.device_address)
        skip = -begin % PAGE
        self.address = begin + skip
        self._used = self._whole[skip : skip + size]
        self.view = self._used.view(np.ndarray)

    def flush(self, begin: int, end: int) -> None:
        """See `Buffer`."""
        self._used[begin:end].flush()

    def invalidate(self, begin: int, end: int) -> None:
        """See `Buffer`."""
        self._used[begin:end].invalidate()

    def free(self) -> None:
        """See `Buffer`."""
        if self._whole is not None:
            self._whole.freebuffer()
            self._whole = None


class PynqBoard(Board):
    """The machine in the programmable logic of the board that this process runs on."""

    def __init__(self, bitstream: str | Path, *, ip: str | None = None, clock_mhz: float | None = None) -> None:
        """Loads the bitstream (its .hwh must lie beside it) and finds the machine in it.

        Args:
            ip: the machine's name in the block design; by default, one of IP_NAMES.
            clock_mhz: the machine's clock, where it is not the first clock of the programmable logic.

        Raises BoardError when there is no such file, no PYNQ, or no machine in the design.
        """
        path = Path(bitstream)
        if not path.is_file():
            raise BoardError(f"there is no bitstream {path}")
        try:
            self._pynq: Any = importlib.import_module("pynq")
        except ImportError:
            raise BoardError("this computer has no `pynq` package; run this on a board with PYNQ's image") from None
        try:
            self._overlay = self._pynq.Overlay(str(path))
        except (OSError, RuntimeError, ValueError) as error:
            raise BoardError(f"PYNQ cannot load {path}: {error}") from None
        blocks = self._overlay.ip_dict
        found = [name for name in ((ip,) if ip else IP_NAMES) if name in blocks]
        if not found:
            raise BoardError(
                f"{path} has no block named {ip or ' or '.join(IP_NAMES)}; it has {', '.join(sorted(blocks)) or 'none'}"
            )
        block = blocks[found[0]]
        self._name = f"PYNQ with {path.name}"
        self._registers = self._pynq.MMIO(int(block["phys_addr"]), max(int(block["addr_range"]), REGISTER_ROOM))
        self._clock_mhz = clock_mhz if clock_mhz is not None else _clock(self._pynq)
        pins = [pin for pin in self._overlay.interrupt_pins if pin == f"{found[0]}/interrupt"]
        self._interrupt = self._pynq.Interrupt(pins[0]) if pins else None
        self._buffers: list[PynqBuffer] = []

    def identify(self) -> BoardInfo:
        """See `Board`."""
        return BoardInfo(self._name, self._clock_mhz)

    def read32(self, offset: int) -> int:
        """See `Board`."""
        return int(self._registers.read(offset))

    def write32(self, offset: int, value: int) -> None:
        """See `Board`."""
        self._registers.write(offset, int(value))

    def allocate(self, size: int) -> PynqBuffer:
        """See `Board`."""
        buffer = PynqBuffer(self._pynq, size)
        if buffer.view.ctypes.data % ALIGNMENT:
            buffer.free()
            raise AllocationError(f"PYNQ's memory is not aligned to {ALIGNMENT} bytes")
        self._buffers.append(buffer)
        return buffer

    def wait_interrupt(self, timeout_s: float) -> bool:
        """See `Board`. Without an interrupt pin in the design, the registers are looked at instead."""
        if self._interrupt is None:
            return super().wait_interrupt(timeout_s)
        loop = asyncio.get_event_loop()
        try:
            loop.run_until_complete(asyncio.wait_for(self._interrupt.wait(), timeout_s))
        except (TimeoutError, asyncio.TimeoutError):  # noqa: UP041 - two classes before Python 3.11
            return False
        return True

    def close(self) -> None:
        """Frees the memory; the bitstream stays loaded."""
        for buffer in self._buffers:
            buffer.free()
        self._buffers.clear()


def _clock(pynq: Any) -> float | None:
    """The programmable logic's first clock in MHz, if PYNQ tells."""
    clocks = getattr(pynq, "Clocks", None)
    return None if clocks is None else float(clocks.fclk0_mhz)
