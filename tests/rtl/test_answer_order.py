"""The memory may do what AXI allows beyond docs/timing.md: the machine's bits do not change.

It answers bursts of different IDs in any order, beat by beat mixed; it waits for data before it takes their address.

Fetch reads with ID 0 and load with ID 1, so AXI lets their beats overtake each other; writes have one ID, so their
responses come in order. The bench's checker holds the memory to what is legal, and the machine to WID on AXI3.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from hw.config import Config, MemoryConfig
from hw.isa import Unit
from hw.rtl.registers import Control, Error, Status
from sim import cycle
from sim.rtl.bench import Fault, WriteOrder
from sim.rtl.cases import PROFILES, SMALL, random_case
from tests.rtl.driver import Driver

SEEDS = range(24)
ENVIRONMENTS = (*PROFILES, MemoryConfig(read_latency=3, read_outstanding=16, write_outstanding=16))


@lru_cache(maxsize=len(SMALL))
def driver(cfg: Config) -> Driver:
    return Driver(random_case(100, cfg, 12))


@pytest.mark.parametrize("cfg", SMALL, ids=lambda cfg: f"{cfg.axi}-{cfg.bus_bits}-{cfg.burst_beats}")
@pytest.mark.parametrize("environment", range(len(ENVIRONMENTS)))
def test_any_order_gives_the_same_bits(cfg: Config, environment: int) -> None:
    d = driver(cfg)
    elsewhen = 0
    for seed in SEEDS:
        case = random_case(seed, cfg, 20)
        expected = case.memory.copy()
        in_order = cycle.run_decoded(case.decoded, expected)
        d.attach(case.memory.copy(), environment=ENVIRONMENTS[environment], disorder=seed + 1)
        assert d.run(case.address, len(case.program)) == Status.DONE
        np.testing.assert_array_equal(d.memory, expected)
        assert d.read("RETIRED") == len(case.program)
        elsewhen += d.recording.cycles != in_order.cycles
    assert elsewhen > len(SEEDS) / 2
    d.check_healthy()


def test_errors_in_any_order() -> None:
    d = driver(SMALL[0])
    for beat in range(d.simulated.busy["read_port"]):
        d.attach(d.case.memory.copy(), Fault(read_beat=beat), ENVIRONMENTS[beat % len(ENVIRONMENTS)], disorder=beat + 1)
        assert d.run(d.case.address, len(d.case.program)) == Status.ERROR, beat
        assert d.error == Error.READ
        d.check_healthy()


def test_abandoned_in_any_order() -> None:
    d = driver(SMALL[0])
    for when in range(0, d.simulated.cycles, 3):
        d.attach(d.case.memory.copy(), environment=ENVIRONMENTS[when % len(ENVIRONMENTS)], disorder=when + 1)
        d.start(d.case.address, len(d.case.program))
        d.bench.step(when)
        d.write("CONTROL", Control.RESET)
        assert not d.wait() & Status.ERROR, when
        d.check_healthy()


@pytest.mark.parametrize("order", [WriteOrder.ADDRESS_WAITS, WriteOrder.DATA_FIRST], ids=lambda order: order.name)
@pytest.mark.parametrize("cfg", SMALL, ids=lambda cfg: f"{cfg.axi}-{cfg.bus_bits}-{cfg.burst_beats}")
def test_a_memory_that_waits_for_data(cfg: Config, order: WriteOrder) -> None:
    """It takes an address only with its first data presented, or all of them taken: the machine must not wait."""
    d = driver(cfg)
    stores = 0
    for seed in SEEDS:
        case = random_case(seed, cfg, 20)
        expected = case.memory.copy()
        simulated = cycle.run_decoded(case.decoded, expected)
        environment = ENVIRONMENTS[seed % len(ENVIRONMENTS)]
        d.attach(case.memory.copy(), environment=environment, disorder=seed % 3, write_order=order)
        assert d.run(case.address, len(case.program)) == Status.DONE
        np.testing.assert_array_equal(d.memory, expected)
        stores += simulated.busy[Unit.STORE.name.lower()]
    assert stores > 0
    d.check_healthy()


def test_abandoned_before_a_memory_that_waits_for_data() -> None:
    """An address that was presented gets its data, whatever the memory waits for."""
    d = driver(SMALL[0])
    for when in range(0, d.simulated.cycles, 5):
        order = (WriteOrder.ADDRESS_WAITS, WriteOrder.DATA_FIRST)[when % 2]
        d.attach(d.case.memory.copy(), environment=ENVIRONMENTS[when % len(ENVIRONMENTS)], write_order=order)
        d.start(d.case.address, len(d.case.program))
        d.bench.step(when)
        d.write("CONTROL", Control.RESET)
        assert not d.wait() & Status.ERROR, when
        d.check_healthy()
