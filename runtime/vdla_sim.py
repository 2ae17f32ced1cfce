"""The VDLA device: programs in the arena, run by the functional or the cycle simulator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hw.config import Config
from runtime.artifact import VdlaStep
from runtime.profile import InstructionTrace, LayerRecord
from sim.functional import copied_bytes, execute
from sim.program import decode
from sim.state import State


@dataclass(frozen=True, slots=True, eq=False)
class VdlaRun:
    """One program's share of a profile. `cycles`, `busy` and `trace` are 0, empty and None without time."""

    layers: tuple[LayerRecord, ...]
    cycles: int
    busy: Mapping[str, int]
    trace: InstructionTrace | None


class VdlaSimDevice:
    """A simulated VDLA."""

    def __init__(self, config: Config, sim: Literal["functional", "cycle"]) -> None:
        self.config = config
        self.sim = sim

    def execute(self, step: VdlaStep, arena: np.ndarray, start_cycle: int, first_layer: int) -> VdlaRun:
        """Runs the step's program on `arena` (uint8, the device's DRAM from address 0), changing it in place.

        Args:
            start_cycle: cycle at which the program starts, for the trace.
            first_layer: index in the profile of the step's first layer, for the trace.

        Raises:
            ProgramError: for an illegal program, DeadlockError if it stops before its end.
        """
        return self._functional(step, arena)

    def _functional(self, step: VdlaStep, arena: np.ndarray) -> VdlaRun:
        program = decode(arena, step.program_addr, step.n_instr, self.config)
        execute(program, arena, State(self.config))
        read, written = copied_bytes(program)
        layers = tuple(
            LayerRecord(
                layer.name,
                layer.op,
                "vdla",
                macs=layer.macs,
                dram_read_bytes=int(read[layer.begin : layer.end].sum()),
                dram_write_bytes=int(written[layer.begin : layer.end].sum()),
                nodes=layer.nodes,
            )
            for layer in step.layers
        )
        return VdlaRun(layers, 0, {}, None)
