"""The RTL against the cycle simulator, cycle by cycle, on random programs, machines and memories."""

from __future__ import annotations

from functools import lru_cache

import pytest

from hw.config import Config
from sim import cycle
from sim.rtl.cases import PROFILES, SMALL, random_case, random_machine
from sim.rtl.coverage import Coverage
from sim.rtl.lockstep import check
from sim.rtl.machine import Machine
from tests.rtl.covered import COVERED

PROGRAMS = 50
"""Random programs for each machine and memory, in parts of 10."""


@lru_cache(maxsize=4)
def machine(cfg: Config) -> Machine:
    return Machine(cfg)


def check_programs(cfg: Config, profiles: int, seeds: range) -> None:
    """Programs follow each other without a reset, so each also starts where the last one left the machine."""
    for seed in seeds:
        case = random_case(seed, cfg)
        for profile in PROFILES[:profiles]:
            check(machine(cfg), case.under(profile), COVERED)


@pytest.mark.parametrize("shape", range(len(SMALL)))
@pytest.mark.parametrize("part", range(PROGRAMS // 10))
def test_random_programs(shape: int, part: int) -> None:
    check_programs(SMALL[shape], 2, range(10 * part, 10 * part + 10))


def test_the_programs_cover_everything() -> None:
    """Every opcode with every flag and cause of a stall, every operation, operand, shape of a transfer and machine."""
    coverage = Coverage()
    for cfg in SMALL:
        for seed in range(PROGRAMS):
            case = random_case(seed, cfg)
            for profile in PROFILES[:2]:
                under = case.under(profile)
                coverage.add(cycle.run_decoded(under.decoded, under.memory.copy()))
    # The widest cross, with and without a hazard, takes some more programs: the sweep has them.
    assert all(point[0] == "hazard" for point in coverage.missing), str(coverage)
    assert len(coverage.missing) < 10, str(coverage)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_random_machines(seed: int) -> None:
    check_programs(random_machine(seed), len(PROFILES), range(1000, 1200))
