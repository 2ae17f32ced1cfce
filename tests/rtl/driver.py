"""What a driver does with the machine, one step at a time, for tests that look at what goes wrong."""

from __future__ import annotations

import numpy as np

from hw.config import MemoryConfig
from hw.rtl.registers import OFFSET, Control, Error, Status
from sim import cycle
from sim.rtl.bench import EVENTS, Bench, Fault, Recording, WriteOrder
from sim.rtl.build import library
from sim.rtl.lockstep import Case

PATIENCE = 20_000
"""Cycles after which a machine that is still busy counts as hung."""


class Driver:
    """A machine with a memory; `recording` is that of the program started last."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.memory = case.memory.copy()
        self.bench = Bench(library(case.cfg), self.memory, case.cfg.memory)
        self.bench.reset()
        self.recording: Recording
        self.expected = case.memory.copy()
        self.simulated = cycle.run(self.expected, case.address, len(case.program), case.cfg)

    def read(self, name: str) -> int:
        return self.bench.read(OFFSET[name])

    def write(self, name: str, value: int) -> None:
        assert self.bench.write(OFFSET[name], value) == 0

    @property
    def status(self) -> Status:
        return Status(self.read("STATUS"))

    @property
    def error(self) -> Error:
        return Error(self.read("ERROR"))

    def attach(
        self,
        memory: np.ndarray,
        fault: Fault | None = None,
        environment: MemoryConfig | None = None,
        disorder: int = 0,
        write_order: WriteOrder = WriteOrder.ADDRESS_FIRST,
    ) -> None:
        self.memory = memory
        self.bench.attach(memory, environment or self.case.cfg.memory, fault, disorder, write_order)

    def start(self, address: int, count: int) -> None:
        self.recording = self.bench.record([4096] * len(EVENTS), 4096)
        self.write("PROGRAM_ADDRESS", address)
        self.write("PROGRAM_LENGTH", count)
        self.write("CONTROL", Control.START)

    def wait(self) -> Status:
        """Until it is no longer busy; fails if that takes longer than PATIENCE."""
        for _ in range(PATIENCE):
            self.bench.step(1, beyond=True)
            status = self.status
            if not status & Status.BUSY:
                assert self.bench.idle, "not busy, with a burst in flight"
                return status
        raise AssertionError(f"still busy after {PATIENCE} cycles")

    def run(self, address: int, count: int) -> Status:
        self.start(address, count)
        return self.wait()

    def check_healthy(self) -> None:
        """The case runs right, in the cycles of the simulator."""
        self.attach(self.case.memory.copy())
        self.start(self.case.address, len(self.case.program))
        assert self.bench.step(PATIENCE), "the program does not end"
        assert self.status == Status.DONE and self.error == Error.NONE
        assert self.recording.cycles == self.simulated.cycles
        np.testing.assert_array_equal(self.memory, self.expected)
