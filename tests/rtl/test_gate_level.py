"""The netlist of a synthesis gives the bits and the cycles of the machine that it was made from."""

from __future__ import annotations

import re

import numpy as np
import pytest

import vdla
from hw.config import Config
from runtime.artifact import VdlaStep
from runtime.executor import Executor
from sim import cycle, gate
from sim.gate.netlist import BLOCK_RAM
from sim.rtl.machine import Machine
from tests import handmade


@pytest.mark.slow
def test_digits_on_gates() -> None:
    config = Config.load("tiny")
    artifact = vdla.compile("digits", config=config)
    x = np.random.default_rng(5).standard_normal(artifact.inputs[0].shape).astype(np.float32)
    simulated, found = (Executor(artifact, sim=sim).run(x) for sim in ("cycle", "gates"))
    assert np.array_equal(found.outputs["y"], simulated.outputs["y"])
    assert found.profile.cycles == simulated.profile.cycles
    assert found.profile.stalls == simulated.profile.stalls
    assert [layer.cycles for layer in found.profile.layers] == [layer.cycles for layer in simulated.profile.layers]


@pytest.mark.slow
def test_programs_on_gates_one_after_the_other() -> None:
    config = Config.load("tiny")
    artifact = handmade.artifact()
    step = next(step for step in artifact.steps if isinstance(step, VdlaStep))
    program = step.program_addr, step.n_instr
    with Machine(config, path=gate.library(config)) as machine:
        for stalls in ({}, {"stall_seed": 3, "stall_rate": 0.3}):
            settings = [f"memory.{name}={value}" for name, value in stalls.items()]
            memory, expected = artifact.initial_arena(), artifact.initial_arena()
            found = machine.run(memory, *program, cfg=config.override(settings))
            wanted = cycle.run(expected, *program, config.override(settings))
            assert np.array_equal(memory, expected) and found.cycles == wanted.cycles


def test_the_models_of_block_rams_have_all_contents() -> None:
    text = BLOCK_RAM.read_text(encoding="utf-8")
    for name, data, parity in (("RAMB18E1", 64, 8), ("RAMB36E1", 128, 16)):
        module = text.split(f"\nmodule {name} ")[1].split("\nendmodule")[0]
        # Declared ascending, joined descending.
        for prefix, count in (("INIT", data), ("INITP", parity)):
            numbers = [int(n, 16) for n in re.findall(rf"\b{prefix}_([0-9A-F]{{2}})\b", module)]
            assert numbers == [*range(count), *reversed(range(count))]
