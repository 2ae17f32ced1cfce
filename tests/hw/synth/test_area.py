"""The area model: memories against what yosys says it maps them to, the fit against machines that it does not know."""

from __future__ import annotations

import pytest

from hw.area import Machine, calibration, estimate, estimate_units, fit
from hw.block_memory import MappedMemory, MemoryShape, map_memory
from hw.config import Config
from hw.synth.parts import Resources

ROWS = calibration()
HELD_OUT = 0.10
"""Error allowed for a machine that the model was not fitted to."""


@pytest.mark.parametrize(
    "shape, mapped",
    [
        (MemoryShape(512, 2048, copies=2), MappedMemory(0, 0, 57)),
        (MemoryShape(64, 2048, bytewise=True), MappedMemory(0, 0, 4)),
        (MemoryShape(64, 128, bytewise=True), MappedMemory(0, 0, 1)),
        (MemoryShape(32, 128, bytewise=True), MappedMemory(0, 0, 0.5)),
        (MemoryShape(32, 64, bytewise=True, copies=4), MappedMemory(192, 128, 0)),
        (MemoryShape(128, 256), MappedMemory(0, 0, 2)),
        (MemoryShape(4, 32, clocked=False), MappedMemory(4, 0, 0)),
    ],
    ids=str,
)
def test_memories_become_what_yosys_makes_of_them(shape: MemoryShape, mapped: MappedMemory) -> None:
    assert map_memory(shape) == mapped


@pytest.mark.parametrize("machine, fitted, units", ROWS, ids=[m.config.fingerprint + "p" * m.packed for m, *_ in ROWS])
def test_block_ram_and_array_are_counted_exactly(machine: Machine, fitted: bool, units: dict[str, Resources]) -> None:
    said = estimate_units(machine.config, machine.packed)
    assert {unit: cost.bram for unit, cost in said.items()} == {unit: cost.bram for unit, cost in units.items()}
    assert said["core.compute.gemm"].dsp == units["core.compute.gemm"].dsp


@pytest.mark.parametrize("machine, fitted, units", ROWS, ids=[m.config.fingerprint + "p" * m.packed for m, *_ in ROWS])
def test_every_resource_is_near(machine: Machine, fitted: bool, units: dict[str, Resources]) -> None:
    said, found = estimate(machine.config, machine.packed).to_dict(), sum(units.values(), Resources()).to_dict()
    for resource, count in found.items():
        assert said[resource] == pytest.approx(count, rel=HELD_OUT), resource


def test_a_fit_finds_the_coefficients_of_a_machine_that_follows_them() -> None:
    machines = [Machine(Config.load("tiny").with_(block_out=o, batch=b)) for o in (4, 8, 16) for b in (1, 2)]
    rows = [
        (m, {"core.compute.vector": Resources(100 + 30 * m.lanes + 7 * m.config.block_out, 5 * m.lanes, 2 * m.lanes)})
        for m in machines
    ]
    coefficients = fit(rows)["core.compute.vector"]
    assert coefficients[:, 0] == pytest.approx([100, 30, 7], rel=1e-3)
    assert coefficients[1, 1:] == pytest.approx([5, 2], rel=1e-3)


def test_more_machine_costs_more() -> None:
    small, wide = Config.load("pynq-z1"), Config.load("pynq-z1").with_(block_in=32, block_out=32)
    for packed in (False, True):
        less, more = estimate(small, packed).to_dict(), estimate(wide, packed).to_dict()
        assert all(more[resource] > less[resource] for resource in ("lut", "ff", "dsp"))
    assert estimate(small, packed=True).dsp < estimate(small).dsp
