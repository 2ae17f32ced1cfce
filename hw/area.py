"""What a machine costs on an FPGA, without synthesis: LUTs, flip-flops, DSPs and block RAMs of each unit.

Memories are counted: their shapes are the RTL's, what they become is yosys' rule (`hw.block_memory`); so are the
multipliers of the array. For the rest a unit's cost is linear in a few sizes of the machine (`FEATURES`), with
coefficients fitted to machines that were synthesised, whose costs by unit stand in ``area_calibration.yaml``;
``python -m benchmarks.synth --calibrate`` makes that file again, as it must when the RTL changes. Counts are those of
yosys for 7-series parts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from hw.block_memory import MemoryShape, map_memory
from hw.config import Config
from hw.isa import Unit
from hw.rtl.banks import Geometry
from hw.rtl.layouts import flags_layout, unit_bits
from hw.synth.parts import Resources
from hw.timing import FETCH_FIFO

CALIBRATION = Path(__file__).with_name("area_calibration.yaml")
GEMM = "core.compute.gemm"
_RESOURCES = ("lut", "ff", "dsp")
"""What is fitted; block RAMs are counted."""
_RIDGE = 1e-6
"""Of the fit, relative to the largest value of a feature: decides only what the calibration leaves open."""


@dataclass(frozen=True)
class Machine:
    """A config, and whether its array makes two products a DSP; with the sizes that units' costs are linear in."""

    config: Config
    packed: bool = False

    @property
    def lanes(self) -> int:
        """Accumulators of a vector."""
        return self.config.batch * self.config.block_out

    @property
    def index_bits(self) -> int:
        """Widths of an index into each buffer, together."""
        c = self.config
        widths = (c.inp_index_bits, c.wgt_index_bits, c.acc_index_bits, c.out_index_bits, c.aux_index_bits)
        return sum(widths) + c.uop_index_bits

    @cached_property
    def buffers(self) -> dict[str, Geometry]:
        """How each buffer of load and store lies in columns."""
        c = self.config
        kinds = ("uop", "inp", "wgt", "aux", "out")
        sizes = {kind: (getattr(c, f"{kind}_buffer"), getattr(c, f"{kind}_vector_bytes")) for kind in kinds}
        return {kind: Geometry(size, vector, c.bus_bytes) for kind, (size, vector) in sizes.items()}

    @cached_property
    def memories(self) -> dict[str, list[MemoryShape]]:
        """The memories in each unit, by its path."""
        c = self.config
        result = {
            f"core.{kind}_buffer": [MemoryShape(8 * g.word, g.rows, bytewise=True, copies=g.columns)]
            for kind, g in self.buffers.items()
        }
        result["core.compute.accumulators"] = [MemoryShape(8 * c.acc_vector_bytes, c.acc_depth, copies=2)]
        for unit in Unit:
            name = unit.name.lower()
            depth = getattr(c, f"{name}_queue")
            result[f"core.{name}_queue"] = [
                MemoryShape(unit_bits(unit, c), depth),
                MemoryShape(flags_layout().size, depth, clocked=False),
            ]
        beat = max(1, c.bus_bytes // c.instruction_bytes)
        columns = max(beat, c.instruction_bytes // c.bus_bytes)
        width = 8 * min(c.bus_bytes, c.instruction_bytes)
        result["core.fetch"] = [MemoryShape(width, FETCH_FIFO // beat, clocked=False, copies=columns)]
        return result

    def counted(self, unit: str) -> Resources:
        """What is certain of a unit's cost: its memories, and the multipliers of the array."""
        total = Resources()
        for shape in self.memories.get(unit, ()):
            mapped = map_memory(shape)
            total += Resources(mapped.lut, mapped.ff, 0, mapped.bram)
        if unit == GEMM:
            total += Resources(dsp=self.config.macs_per_cycle / (2 if self.packed else 1))
        return total


FEATURES: dict[str, Callable[[Machine], tuple[float, ...]]] = {
    GEMM: lambda m: (
        m.lanes,
        m.config.macs_per_cycle * (not m.packed),
        m.config.macs_per_cycle * m.packed,
        m.config.acc_index_bits,
    ),
    "core.compute.vector": lambda m: (1, m.lanes, m.config.block_out),
    "core.compute.accumulators": lambda m: (1, m.lanes),
    "core.compute": lambda m: (1, m.lanes),
    "core.control": lambda m: (1,),
    **{
        f"core.{kind}_buffer": lambda m, kind=kind: (
            1,
            m.buffers[kind].columns,
            8 * m.buffers[kind].word,
            8 * m.buffers[kind].vector if m.buffers[kind].vectors > 1 else 0,
        )
        for kind in ("uop", "inp", "wgt", "aux")
    },
    "core.out_buffer": lambda m: (1, 8 * m.buffers["out"].word, 8 * m.buffers["out"].word * m.buffers["out"].columns),
    "": lambda m: (1, m.config.bus_bits, m.index_bits),
}
"""Sizes that a unit's cost, what is counted apart, is linear in; a unit without an entry has that of its parent."""


def features(unit: str, machine: Machine) -> tuple[float, ...]:
    """The sizes that the unit's cost is linear in, of a machine."""
    while unit not in FEATURES:
        unit = unit.rpartition(".")[0]
    return FEATURES[unit](machine)


def estimate_units(config: Config, packed: bool = False) -> dict[str, Resources]:
    """Cost of each unit, without the units inside it, by path."""
    machine = Machine(config, packed)
    result = {}
    for unit, coefficients in _model().items():
        values = np.maximum(np.array(features(unit, machine)) @ coefficients, 0)
        result[unit] = Resources(*(round(float(value)) for value in values)) + machine.counted(unit)
    return result


def estimate(config: Config, packed: bool = False) -> Resources:
    """Cost of the whole machine. `packed` as for `hw.rtl.top.Vdla`."""
    return sum(estimate_units(config, packed).values(), Resources())


def calibration() -> list[tuple[Machine, bool, dict[str, Resources]]]:
    """Machines that were synthesised: (machine, whether the model is fitted to it, cost of each unit)."""
    rows: list[dict[str, Any]] = yaml.safe_load(CALIBRATION.read_text(encoding="utf-8"))
    result = []
    for row in rows:
        config = Config.from_dict({"vdla": row["vdla"]})
        units = {unit: Resources(*costs) for unit, costs in row["units"].items()}
        result.append((Machine(config, row["packed"]), row["fitted"], units))
    return result


@cache
def _model() -> dict[str, np.ndarray]:
    return fit([(machine, units) for machine, fitted, units in calibration() if fitted])


def fit(rows: Sequence[tuple[Machine, Mapping[str, Resources]]]) -> dict[str, np.ndarray]:
    """Coefficients [features, resources] of each unit: least squares over the machines, what is counted apart."""
    model = {}
    for unit in sorted({unit for _, units in rows for unit in units}):
        sizes = np.array([features(unit, machine) for machine, _ in rows], dtype=float)
        costs = np.array([_uncounted(unit, machine, units.get(unit)) for machine, units in rows])
        scale = np.maximum(np.abs(sizes).max(axis=0), 1)
        scaled = sizes / scale
        normal = scaled.T @ scaled + _RIDGE * np.eye(scaled.shape[1])
        model[unit] = np.linalg.solve(normal, scaled.T @ costs) / scale[:, None]
    return model


def _uncounted(unit: str, machine: Machine, cost: Resources | None) -> tuple[float, ...]:
    counted = machine.counted(unit)
    return tuple(0.0 if cost is None else getattr(cost, name) - getattr(counted, name) for name in _RESOURCES)
