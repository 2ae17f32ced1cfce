"""What the graph executor asks of whatever runs VDLA programs: a simulator or a board."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from hw.config import Config
from runtime.artifact import Artifact, VdlaStep
from runtime.profile import InstructionTrace, LayerRecord


@dataclass(frozen=True, eq=False)
class VdlaRun:
    """One program's share of a profile. Without time, `cycles` is 0, `busy` and `stalls` are empty.

    `stalls` has the cycles by cause of the program as a whole, without those in which a product was issued.
    """

    layers: tuple[LayerRecord, ...]
    fetch_bytes: int
    cycles: int = 0
    busy: Mapping[str, int] = field(default_factory=dict)
    stalls: Mapping[str, int] = field(default_factory=dict)
    trace: InstructionTrace | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class LayerWave:
    """The waveform of one layer's cycles, to be written to `path`, a .vcd or .fst; only for the RTL."""

    layer: str
    path: Path


class VdlaDevice(Protocol):
    """Runs the programs of one artifact.

    Attributes:
        name: as reports call it.
        timed: whether runs tell cycles.
        traced: whether they tell each instruction's, and each layer's.
        config: the machine.
        artifact: what is run, its programs as the device wants them in the arena.
        arena: the device's DRAM as the host sees it, uint8[arena_bytes], aligned to ALIGNMENT.
    """

    name: str
    timed: bool
    traced: bool
    config: Config
    artifact: Artifact
    arena: np.ndarray

    def execute(
        self,
        step: VdlaStep,
        start_cycle: int,
        first_layer: int,
        progress: Callable[[int, int], None] | None = None,
    ) -> VdlaRun:
        """Runs the step's program on the arena, changing it in place.

        Args:
            start_cycle: cycle at which the program starts, for the trace.
            first_layer: index in the profile of the step's first layer, for the trace.
            progress: told (instructions retired, instructions in all) now and then.
        """
        ...

    def close(self) -> None:
        """Frees what the device holds; it cannot be used any more."""
        ...
