"""What machines cost on an FPGA: utilisation and clock, and how far the area model (hw/area.py) is from it.

`--calibrate` synthesises the small machines that the model is fitted to and writes hw/area_calibration.yaml; without
it, the machines of the table are synthesised with the `yosys` flow. Both go on where they were interrupted, and do
nothing again that is up to date: `build/synth` keeps what was made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import yaml

from benchmarks.common import publish, table
from hw.area import CALIBRATION as CALIBRATED
from hw.area import calibration, estimate
from hw.config import Board, Config, boards, hardware_fields
from hw.synth.build import PACKING_FAMILIES
from hw.synth.engine import run_flow, write_atomically
from hw.synth.flow import Build, Flow, Result, Step, flows
from hw.synth.parts import Part, Resources
from hw.synth.yosys import read_units

FOLDER = Path("build/synth")
BOARD = "pynq-z1"
"""The part whose limits and library the figures are for."""


@dataclass(frozen=True)
class Machine:
    """A machine to synthesise: a board's, with changes."""

    base: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    packed: bool = False
    fitted: bool = False

    @property
    def config(self) -> Config:
        """Its parameters."""
        return Config.load(self.base).with_(**self.changes)

    @property
    def label(self) -> str:
        """What is special about it."""
        parts = [self.base, *(f"{key}={value}" for key, value in self.changes.items()), *(["packed"] * self.packed)]
        return " ".join(parts)


MIDDLE = {
    "uop_buffer": 8192, "inp_buffer": 8192, "wgt_buffer": 8192, "acc_buffer": 16384, "out_buffer": 8192,
    "aux_buffer": 8192,
}  # fmt: skip
"""Buffers between the tiny machine's and a board's: yosys takes minutes more over block RAMs by the hundred."""

CALIBRATION = (
    Machine("tiny", fitted=True),
    Machine("pynq-z1", {"block_in": 4, "block_out": 4, **MIDDLE}, fitted=True),
    Machine("tiny", {"block_out": 8, "batch": 2, "bus_bits": 64}, packed=True, fitted=True),
    Machine("pynq-z1", {"block_in": 4, "block_out": 8, **MIDDLE}, packed=True, fitted=True),
    Machine("ultra96", {"block_in": 8, "block_out": 4, **MIDDLE}, fitted=True),
    Machine("tiny", {"block_in": 8, "wgt_buffer": 4096, "inp_buffer": 4096, "load_queue": 32}, True, fitted=True),
    Machine("pynq-z1", {"block_in": 8, "block_out": 8, **MIDDLE}, packed=True),
    Machine("tiny", {"block_in": 8, "block_out": 8, "wgt_buffer": 8192, "acc_buffer": 8192}),
    Machine("pynq-z1", packed=True),
)  # fmt: skip
"""Machines whose units' costs stand in hw/area_calibration.yaml; the model is not fitted to the last ones."""

TABLE = tuple(
    Machine(BOARD, {"block_in": block_in, "block_out": block_out}, packed)
    for block_in, block_out, packed in ((8, 8, False), (16, 16, True), (16, 32, True), (32, 32, True))
)


COUNTED = 2
"""Steps of the `yosys` flow after which the counts are known."""


class Counting(Flow):
    """The `yosys` flow up to its netlist."""

    name = "yosys"
    about = "utilisation alone"

    def __init__(self) -> None:
        self._whole = flows()["yosys"]

    def steps(self, build: Build) -> Sequence[Step]:
        return self._whole.steps(build)[:COUNTED]

    def result(self, build: Build) -> Result:
        return Result(used=Resources(), units=read_units(build))


def build_of(machine: Machine) -> Build:
    """The machine in a folder of its own."""
    board, config = Board.load(BOARD), machine.config
    folder = FOLDER / f"{config.fingerprint}{'-packed' * machine.packed}"
    return Build(board, config, Part.of(board), folder, machine.packed)


def calibrate(machines: Sequence[Machine]) -> None:
    """Synthesise the machines and write what their units cost."""
    rows = []
    for machine in machines:
        click.echo(f"calibrating: {machine.label}", err=True)
        units = run_flow(Counting(), build_of(machine)).units
        rows.append(
            {
                "vdla": {name: getattr(machine.config, name) for name in hardware_fields()},
                "packed": machine.packed,
                "fitted": machine.fitted,
                "units": {unit: list(cost.to_dict().values()) for unit, cost in units.items()},
            }
        )
    text = yaml.safe_dump(rows, sort_keys=False, default_flow_style=None, width=120)
    header = (
        "# Made by `python -m benchmarks.synth --calibrate`: costs are [LUT, FF, DSP, RAMB36] of a unit, by path.\n"
    )
    write_atomically(CALIBRATED, (header + text).encode())


def errors() -> list[list[str]]:
    """A row a machine that the model was not fitted to: what it says of each resource, and how far that is off."""
    rows = []
    for machine, fitted, units in calibration():
        if not fitted:
            found, said = sum(units.values(), Resources()), estimate(machine.config, machine.packed)
            cells = []
            for key, real in found.to_dict().items():
                guess = said.to_dict()[key]
                cells.append(f"{guess:,} ({100 * (guess / real - 1):+.1f} %)" if real else f"{guess:,}")
            rows.append([described(machine.config, machine.packed), *cells])
    return rows


def described(config: Config, packed: bool) -> str:
    """A machine in a few words."""
    words = f"{config.batch} x {config.block_in} x {config.block_out}, {config.bus_bits}-bit bus"
    return words + (", packed" if packed else "")


def table_rows() -> list[list[str]]:
    """A row a machine of the table, synthesised with the whole `yosys` flow."""
    rows = []
    for machine in TABLE:
        click.echo(f"synthesising: {machine.label}", err=True)
        build, flow = build_of(machine), flows()["yosys"]
        result = run_flow(flow, build)
        fitting = [name for name in boards() if fits(name, result.used)]
        clock = "" if result.fmax_mhz is None else f"{result.fmax_mhz:.0f}"
        costs = [f"{cost:,}" for cost in result.used.to_dict().values()]
        rows.append([described(machine.config, machine.packed), *costs, ", ".join(fitting) or "none", clock])
    return rows


def fits(board: str, used: Resources) -> bool:
    """Whether a board with Xilinx' library of cells, for which the counts hold, has that much."""
    facts = Board.load(board)
    return facts.facts.get("family") in PACKING_FAMILIES and not Part.of(facts).excess(used)


@click.command()
@click.option("--write", is_flag=True, help="Put the section into RESULTS.md.")
@click.option("--calibrate", "calibrating", is_flag=True, help="Make hw/area_calibration.yaml again.")
@click.option("--model-only", is_flag=True, help="Leave the table out: only how far the area model is off.")
def main(write: bool, calibrating: bool, model_only: bool) -> None:
    """Synthesise machines of several sizes; compare the area model with machines that it was not fitted to."""
    if calibrating:
        calibrate(CALIBRATION)
        return
    header = ["machine", "LUT", "FF", "DSP", "RAMB36"]
    text = []
    if not model_only:
        text += [
            "Synthesis with yosys for 7-series cells, before placement; buffers are pynq-z1's. packed: two products a "
            "DSP. MHz: estimated from cell delays and an allowance for wires (hw/synth/sta.py), not routed.",
            table([*header, "fits", "MHz"], table_rows()),
        ]
    text += [
        "The area model (hw/area.py) on machines that it was not fitted to, and its error against synthesis:",
        table(header, errors()),
    ]
    publish("Synthesis", "\n\n".join(text), write=write)


if __name__ == "__main__":
    main()
