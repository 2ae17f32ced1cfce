"""What a run tells about itself: one record a layer, and when each instruction was at work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

UNITS = ("load", "compute", "store")
"""The machine's units in the order of `InstructionTrace.unit`."""


def total(*counts: Mapping[str, int]) -> dict[str, int]:
    """The sums by name."""
    sums: dict[str, int] = {}
    for count in counts:
        for name, value in count.items():
            sums[name] = sums.get(name, 0) + value
    return sums


@dataclass(frozen=True, slots=True)
class LayerRecord:
    """One fused group of the model's operators.

    `cycles` and `stalls` are None and empty where a layer's time is not known. A layer's cycles are those of its
    compute instructions, waiting for them included (docs/timing.md says to which layer each cycle belongs), so the
    layers' cycles add up to the total; `stalls` (cause -> cycles) are those in which the multipliers issued no product.
    Bytes are whole bus words in a cycle simulation, the bytes copied in a functional one, without instruction fetch.
    """

    name: str
    op: str
    target: str
    macs: int = 0
    cycles: int | None = None
    stalls: Mapping[str, int] = field(default_factory=dict)
    dram_read_bytes: int = 0
    dram_write_bytes: int = 0
    wall_s: float = 0.0
    """Seconds on this computer: the kernel's time for the CPU; 0 for VDLA, whose steps are timed as a whole."""
    reason: str | None = None
    """Why the layer was not placed on VDLA; None where it was."""
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class InstructionTrace:
    """Per VDLA instruction, in program order: unit (index into `UNITS`), [start, end) in cycles, layer's index.

    `start` is the cycle of its first address or operation, `end` the one after its last data or operation; both count
    from the start of the run. Arrays of int64[instructions].
    """

    unit: np.ndarray
    start: np.ndarray
    end: np.ndarray
    layer: np.ndarray

    @staticmethod
    def join(parts: list[InstructionTrace]) -> InstructionTrace:
        """The traces of successive programs as one."""

        def joined(arrays: list[np.ndarray]) -> np.ndarray:
            return np.concatenate(arrays).astype(np.int64) if arrays else np.zeros(0, np.int64)

        return InstructionTrace(
            joined([p.unit for p in parts]),
            joined([p.start for p in parts]),
            joined([p.end for p in parts]),
            joined([p.layer for p in parts]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class RunProfile:
    """A whole inference."""

    sim: str
    layers: tuple[LayerRecord, ...]
    trace: InstructionTrace | None
    """None where single instructions have no time: on a board, and without time at all."""
    busy: Mapping[str, int]
    """Cycles in which each unit, and the memory's read port, was at work."""
    fetch_bytes: int
    """Bytes of instructions VDLA read."""
    wall_s: float
    """Seconds the run took on this computer, copying of inputs and outputs included."""
    cycles: int | None
    """VDLA cycles of the whole run; None where time is not known."""
    stalls: Mapping[str, int]
    """Of these, the cycles by cause in which no product was issued: the layers', where they have their own."""
    notes: tuple[str, ...] = ()
    """What a reader of the figures has to know."""

    @property
    def macs(self) -> int:
        """Useful multiply-accumulates on VDLA."""
        return sum(layer.macs for layer in self.layers)

    @property
    def dram_read_bytes(self) -> int:
        """Bytes VDLA read, instructions included."""
        return self.fetch_bytes + sum(layer.dram_read_bytes for layer in self.layers)

    @property
    def dram_write_bytes(self) -> int:
        """Bytes VDLA wrote."""
        return sum(layer.dram_write_bytes for layer in self.layers)
