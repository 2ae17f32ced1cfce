"""The event-driven simulator against the one that steps every cycle: the same cycle for every retirement."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.config import Config
from hw.isa import Instruction, Uop
from hw.random_program import random_program
from hw.timing import CAUSES
from sim import cycle, functional
from tests.sim.golden import Golden
from tests.sim.programs import random_case, random_config
from tests.sim.reference_cycle import Reference


def compare(result: cycle.CycleResult, program: list[Instruction], uops: dict[int, list[Uop]]) -> None:
    """Every retirement and every cause of every instruction."""
    reference = Reference(result.cfg, program, uops, result.program.address)
    total = reference.run()
    assert result.retire.tolist() == [reference.retire[i] for i in range(len(program))]
    assert result.cycles == total
    for i, row in enumerate(result.causes.tolist()):
        assert {n: v for n, v in zip(CAUSES, row, strict=True) if v} == reference.causes.get(i, {}), f"instruction {i}"
    assert result.totals["drain"] == reference.drain
    assert sum(result.totals.values()) == total


def check_timing(seed: int) -> None:
    case = random_case(seed)
    compare(cycle.run(*case.run_arguments()), case.program, case.used_uops())


def check_race_free(seed: int) -> None:
    """A race-free program: time as the reference has it, bits as numpy and the functional simulator have them."""
    rng = np.random.default_rng(seed)
    cfg = random_config(rng)
    made = random_program(rng, cfg, 30)
    count = len(made.program)
    golden = Golden(cfg, made.memory.copy())
    golden.run(made.program_address, count)
    bits, timed = made.memory.copy(), made.memory.copy()
    functional.run(bits, made.program_address, count, cfg)
    result = cycle.run(timed, made.program_address, count, cfg)
    np.testing.assert_array_equal(bits, golden.memory)
    np.testing.assert_array_equal(timed, golden.memory)
    compare(result, made.program, golden.used)


@settings(max_examples=250, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1))
def test_random_programs(seed: int) -> None:
    check_timing(seed)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1))
def test_race_free_programs(seed: int) -> None:
    check_race_free(seed)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_random_campaign(part: int) -> None:
    for seed in range(300 * part, 300 * part + 300):
        check_timing(seed)
        check_race_free(seed)


@pytest.mark.parametrize("bus_bits", [32, 64, 128, 256, 512])
@pytest.mark.parametrize("axi, burst_beats", [("axi3", 1), ("axi3", 16), ("axi4", 256)])
def test_every_bus(bus_bits: int, axi: str, burst_beats: int) -> None:
    cfg = Config(bus_bits=bus_bits, axi=axi, burst_beats=burst_beats)
    case = random_case(bus_bits + burst_beats, cfg=cfg)
    compare(cycle.run(*case.run_arguments()), case.program, case.used_uops())
