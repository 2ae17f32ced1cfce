"""The machine's RTL in a simulator as a board, for the driver to be tried on: registers, memory, interrupt and all.

Host and machine see each other's bytes only through `flush` and `invalidate`, as on a processor with caches.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from hw.config import Config
from hw.rtl.registers import OFFSET, Control
from runtime.artifact import ALIGNMENT
from runtime.board.errors import BoardError
from runtime.board.interface import Board, BoardInfo, Buffer
from runtime.board.pool import Pool
from sim.rtl.bench import EVENTS, Bench, Fault
from sim.rtl.build import library

CHUNK = 1 << 14
"""Cycles between two looks at the clock on the wall."""
SETTLE = 8
"""Cycles from the end of a program within which its interrupt is up."""


class RtlBuffer(Buffer):
    """A piece of the simulated DRAM, and the host's own copy of it."""

    def __init__(self, pool: Pool, memory: np.ndarray, size: int) -> None:
        self._pool: Pool | None = pool
        self.address = pool.take(size)
        self._device = memory[self.address : self.address + size]
        room = np.zeros(size + ALIGNMENT, np.uint8)
        skip = -room.ctypes.data % ALIGNMENT
        self.view = room[skip : skip + size]

    def flush(self, begin: int, end: int) -> None:
        """See `Buffer`."""
        self._device[begin:end] = self.view[begin:end]

    def invalidate(self, begin: int, end: int) -> None:
        """See `Buffer`."""
        self.view[begin:end] = self._device[begin:end]

    def free(self) -> None:
        """See `Buffer`."""
        if self._pool is not None:
            self._pool.give_back(self.address)
            self._pool = None


class RtlBoard(Board):
    """A simulated board; time passes on it only while something is asked of it."""

    def __init__(
        self, config: Config, *, memory_bytes: int = 256 << 20, first: int = 16 << 20, machine: Path | None = None
    ) -> None:
        """Builds the machine, or takes the library `machine`, which must be of this config.

        `memory_bytes` from address 0 on exist, of which those from `first` on can be allocated.

        Raises RtlBuildError when it cannot be built.
        """
        self.config = config
        self._memory = np.zeros(memory_bytes, np.uint8)
        self._pool = Pool(first, memory_bytes)
        self._bench = Bench(machine or library(config), self._memory, config.memory)
        self._count_from_here()
        self._bench.reset()

    def inject(self, fault: Fault | None) -> None:
        """Makes the memory answer with an error in every program from now on, or no more; while none runs."""
        self._bench.attach(self._memory, self.config.memory, fault)

    def identify(self) -> BoardInfo:
        """See `Board`."""
        return BoardInfo(f"the RTL simulation of '{self.config.name}'", self.config.clock_mhz, self._memory.size)

    def read32(self, offset: int) -> int:
        """See `Board`."""
        return self._bench.read(offset)

    def write32(self, offset: int, value: int) -> None:
        """See `Board`."""
        if offset == OFFSET["CONTROL"] and value & Control.START:
            self._count_from_here()
        response = self._bench.write(offset, value)
        if response:
            raise BoardError(f"a write of register {offset:#x} was answered with {response}")

    def allocate(self, size: int) -> RtlBuffer:
        """See `Board`."""
        return RtlBuffer(self._pool, self._memory, size)

    def wait_interrupt(self, timeout_s: float) -> bool:
        """See `Board`; the simulation goes on meanwhile."""
        deadline = time.monotonic() + timeout_s
        while not self._bench.interrupt:
            if time.monotonic() >= deadline:
                return False
            self._bench.step(CHUNK)
            self._bench.step(SETTLE, beyond=True)
        return True

    def close(self) -> None:
        """See `Board`."""
        self._bench.close()

    def _count_from_here(self) -> None:
        """A new program for the bench: what it counts starts from 0, and is not kept."""
        self._bench.record((0,) * len(EVENTS), 0)
