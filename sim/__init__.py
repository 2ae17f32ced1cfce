"""Simulators of the VDLA machine.

`sim.functional.run` gives a program's bits (the golden model); `sim.cycle.run` gives its bits and the cycle of its
every event, exactly as docs/timing.md has them. Both take the DRAM as a numpy array of uint8 and change it in place:

    memory[address : address + program.size] = hw.isa.encode_program(instructions, cfg)
    result = sim.cycle.run(memory, address, len(instructions), cfg)

`sim.program.decode` checks a program without running it.
"""

from __future__ import annotations

from hw.errors import DeadlockError, ProgramError
from sim import cycle, functional
from sim.cycle import CycleResult, Interval, Span
from sim.functional import FunctionalStats
from sim.program import Program, decode

__all__ = [
    "CycleResult",
    "DeadlockError",
    "FunctionalStats",
    "Interval",
    "Program",
    "ProgramError",
    "Span",
    "cycle",
    "decode",
    "functional",
]
