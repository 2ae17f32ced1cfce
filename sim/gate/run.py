"""Runs a program on the netlist."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hw.config import Config
from sim.gate.netlist import library
from sim.rtl.machine import Machine, RtlResult


def run(
    memory: np.ndarray,
    program_address: int,
    instructions: int,
    cfg: Config,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> RtlResult:
    """As sim.rtl.run, on the gates: changes `memory` (uint8) in place.

    Raises as sim.rtl.Machine.run, and RtlBuildError when the netlist cannot be made.
    """
    with Machine(cfg, path=library(cfg)) as machine:
        return machine.run(memory, program_address, instructions, progress=progress)
