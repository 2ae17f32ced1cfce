"""The native bench with a machine of scripted bursts: the memory's cycles and data, and what the checker finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from hw.config import Config, MemoryConfig
from hw.timing import READ, RESPONSE, WRITE, stall_gap
from sim.rtl.bench import EVENTS, Bench, BusError, Fault, Recording
from sim.rtl.build import library_of
from tests.rtl.burst_machine import STUTTER_EVERY, Flaw, ScriptedBurst, burst_verilog

ENVIRONMENTS = (
    MemoryConfig(read_latency=1, write_latency=1, read_outstanding=1, write_outstanding=1),
    MemoryConfig(
        read_latency=9, write_latency=5, read_outstanding=3, write_outstanding=2, stall_seed=7, stall_rate=0.4
    ),
    MemoryConfig(read_latency=28, write_latency=16, stall_seed=0xFFFFFFFF, stall_rate=0.9),
    MemoryConfig(
        read_latency=4, write_latency=2, read_outstanding=2, write_outstanding=8, stall_seed=3, stall_rate=0.05
    ),
)


def bursts(rng: np.random.Generator, cfg: Config, count: int, first: int) -> list[ScriptedBurst]:
    """Bursts anywhere in the two pages at bus word `first`, within pages."""
    page = 4096 // cfg.bus_bytes
    made = []
    for _ in range(count):
        beats = int(rng.integers(1, min(cfg.burst_beats, 6) + 1))
        word = int(rng.integers(2)) * page + int(rng.integers(page - beats + 1)) + first
        made.append(ScriptedBurst(word, beats, int(rng.choice([0, 0, 0, 3, 30]))))
    return made


def gaps(memory: MemoryConfig, channel: int, count: int) -> list[int]:
    return stall_gap(memory.stall_seed, memory.stall_rate, channel, np.arange(count)).tolist()


def expected_reads(memory: MemoryConfig, script: Sequence[ScriptedBurst], stutter: int) -> tuple[list[int], list[int]]:
    """Cycles of AR accepted and R taken, by section 3 of docs/timing.md."""
    gap = gaps(memory, READ, sum(b.beats for b in script))
    accepted: list[int] = []
    lasts: list[int] = []
    taken: list[int] = []
    granted = -1
    for n, burst in enumerate(script):
        granted = max(granted + 1 + burst.pause, accepted[-1] if accepted else 0)
        earliest = granted + 1
        if n >= memory.read_outstanding:
            earliest = max(earliest, lasts[n - memory.read_outstanding] + 1)
        accepted.append(earliest)
        for b in range(burst.beats):
            offered = max((taken[-1] if taken else -1) + 1, earliest + memory.read_latency if b == 0 else 0)
            cycle = offered + gap[len(taken)]
            while stutter and cycle % stutter == 0:
                cycle += 1
            taken.append(cycle)
        lasts.append(taken[-1])
    return accepted, taken


def expected_writes(memory: MemoryConfig, script: Sequence[ScriptedBurst]) -> tuple[list[int], list[int], list[int]]:
    """Cycles of AW accepted, W taken and B."""
    w_gap = gaps(memory, WRITE, sum(b.beats for b in script))
    b_gap = gaps(memory, RESPONSE, len(script))
    accepted: list[int] = []
    taken: list[int] = []
    responses: list[int] = []
    filled = -1
    for n, burst in enumerate(script):
        filled = max(filled + 1 + burst.pause, accepted[-1] if accepted else 0)
        earliest = filled + 1
        if n >= memory.write_outstanding:
            earliest = max(earliest, responses[n - memory.write_outstanding] + 1)
        accepted.append(earliest)
        for b in range(burst.beats):
            presented = max((taken[-1] if taken else -1) + 1, earliest + 1 if b == 0 else 0)
            taken.append(presented + w_gap[len(taken)])
        responses.append(max(taken[-1] + memory.write_latency, (responses[-1] if responses else -1) + 1) + b_gap[n])
    return accepted, taken, responses


def start(bench: Bench, flaws: Flaw = Flaw.START) -> Recording:
    bench.reset()
    recording = bench.record([4096] * len(EVENTS), 0)
    assert bench.write(0, Flaw.START | flaws) == 0
    return recording


def events(recording: Recording, name: str) -> list[int]:
    return recording.events[name][: recording.counts[name]].tolist()


@dataclass(frozen=True)
class Machine:
    """A built machine and its script."""

    cfg: Config
    reads: list[ScriptedBurst]
    writes: list[ScriptedBurst]
    library: Path


@lru_cache(maxsize=2)
def machine(bus_bits: int, axi: str) -> Machine:
    cfg = Config(bus_bits=bus_bits, axi=axi, burst_beats=8)
    rng = np.random.default_rng(bus_bits)
    reads, writes = bursts(rng, cfg, 25, 0), bursts(rng, cfg, 15, 8192 // cfg.bus_bytes)
    return Machine(cfg, reads, writes, library_of(burst_verilog(cfg, reads, writes), cfg))


def written(m: Machine, memory: np.ndarray) -> np.ndarray:
    """What the machine's writes leave of a memory."""
    expected = memory.copy()
    number = 0
    for burst in m.writes:
        for word in range(burst.word, burst.word + burst.beats):
            at = word * m.cfg.bus_bytes
            expected[at + number % 2 : at + m.cfg.bus_bytes] = number % 256 + 1
            number += 1
    return expected


@pytest.mark.parametrize("bus_bits, axi", [(32, "axi3"), (128, "axi4")])
@pytest.mark.parametrize("stutter", [False, True])
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_memory_beat_by_beat(bus_bits: int, axi: str, stutter: bool, environment: MemoryConfig) -> None:
    m = machine(bus_bits, axi)
    memory = np.random.default_rng(0).integers(0, 256, 1 << 15).astype(np.uint8)
    expected = written(m, memory)
    with Bench(m.library, memory, environment) as bench:
        recording = start(bench, Flaw.STUTTER if stutter else Flaw.START)
        assert bench.step(100_000) and bench.idle
    accepted, taken = expected_reads(environment, m.reads, STUTTER_EVERY if stutter else 0)
    assert events(recording, "load_start") == accepted
    assert events(recording, "load_retire") == taken
    accepted, taken, responses = expected_writes(environment, m.writes)
    assert events(recording, "store_start") == accepted
    assert events(recording, "compute_retire") == taken
    assert events(recording, "store_retire") == responses
    np.testing.assert_array_equal(memory, expected)


def test_read_data_reaches_the_machine() -> None:
    m = machine(32, "axi3")
    memory = np.random.default_rng(1).integers(0, 256, 1 << 15).astype(np.uint8)
    words = memory.view("<u4")
    with Bench(m.library, memory, MemoryConfig()) as bench:
        start(bench)
        assert bench.step(10_000)
        found = bench.read(0)
    checksum = 0
    for burst in m.reads:
        for word in range(burst.word, burst.word + burst.beats):
            checksum = (checksum * 3 + int(words[word])) & 0xFFFFFFFF
    assert found == checksum


FLAWS = {
    Flaw.DROP_VALID: "A[RW]VALID was withdrawn",
    Flaw.CHANGE_PAYLOAD: "A[RW] payload changed",
    Flaw.CHANGE_CACHE: "A[RW] payload changed",
    Flaw.CROSS_PAGE: "A[RW] burst of . beats at 0xffc crosses 4 KB",
    Flaw.LATE_LAST: "WLAST is 0 in beat",
    Flaw.LONG_BURST: "burst of 9 beats; at most 8",
    Flaw.EARLY_DATA: "write data without an address",
    Flaw.WITHDRAW_DATA: "WVALID was withdrawn",
    Flaw.CHANGE_DATA: "W payload changed",
    Flaw.WRONG_WID: "WID 1 in a burst with AWID 0",
    Flaw.WRONG_SIZE: "A[RW]SIZE is 1, the bus has 4 bytes",
    Flaw.WRAP: "A[RW]BURST is 2, not INCR",
    Flaw.LOCKED: "A[RW]LOCK is 1",
    Flaw.UNALIGNED: "A[RW]ADDR 0x.* is no multiple of a bus word",
    Flaw.EARLY_ANSWER: "a register write is answered before its address and data are taken",
}
"""What the checker says of each; an address channel is named only by those of both."""
SLOW = MemoryConfig(read_outstanding=1, write_outstanding=1, stall_seed=1, stall_rate=0.5)


@pytest.mark.parametrize("flaw", FLAWS, ids=lambda flaw: flaw.name)
def test_checker(flaw: Flaw) -> None:
    """What both address channels can do wrong is shown on either, the other one silent."""
    message = FLAWS[flaw]
    sides = {"R": Flaw.NO_WRITES, "W": Flaw.NO_READS} if "[RW]" in message else {"": Flaw.START}
    for letter, silent in sides.items():
        with Bench(machine(32, "axi3").library, np.zeros(1 << 15, np.uint8), SLOW) as bench:
            with pytest.raises(BusError, match=message.replace("[RW]", letter)):
                start(bench, flaw | silent)
                bench.step(10_000)
                bench.write(0, Flaw.START)


def test_checker_during_reset() -> None:
    with Bench(machine(32, "axi3").library, np.zeros(1 << 15, np.uint8), SLOW) as bench:
        start(bench, Flaw.TALK_IN_RESET)
        assert bench.step(10_000)
        with pytest.raises(BusError, match="a valid signal is high during reset"):
            bench.reset()


def test_a_broken_bus_stays_broken() -> None:
    """What was found is not forgotten by a reset: the bench is of no use any more."""
    with Bench(machine(32, "axi3").library, np.zeros(1 << 15, np.uint8), SLOW) as bench:
        with pytest.raises(BusError, match="WLAST"):
            start(bench, Flaw.LATE_LAST)
            bench.step(10_000)
        with pytest.raises(BusError, match="WLAST"):
            bench.reset()


@pytest.mark.parametrize("seed", range(1, 9))
def test_answers_in_any_order(seed: int) -> None:
    """Beats of different IDs come mixed, those of one in order (which the checker sees to), and all come."""
    m = machine(32, "axi3")
    memory = np.random.default_rng(1).integers(0, 256, 1 << 15).astype(np.uint8)
    with Bench(m.library, memory.copy(), MemoryConfig()) as bench:
        recording = start(bench)
        assert bench.step(100_000)
        in_order = bench.read(0)
        again = memory.copy()
        bench.reset()
        bench.attach(again, MemoryConfig(), disorder=seed)
        recording = start(bench)
        assert bench.step(100_000) and bench.idle
        # The order of the beats went into the sum.
        assert bench.read(0) != in_order
    beats = sum(b.beats for b in m.reads), len(m.writes)
    assert (recording.counts["load_retire"], recording.counts["store_retire"]) == beats
    np.testing.assert_array_equal(again, written(m, memory))


@pytest.mark.parametrize("fault", [Fault(read_beat=4), Fault(write_burst=2, response=3)])
def test_errors_do_not_change_the_time(fault: Fault) -> None:
    """An error response is a beat like any other to the memory's time."""
    m = machine(32, "axi3")
    with Bench(m.library, np.zeros(1 << 15, np.uint8), MemoryConfig(), fault) as bench:
        recording = start(bench)
        assert bench.step(10_000)
    assert events(recording, "load_retire") == expected_reads(MemoryConfig(), m.reads, 0)[1]
    assert events(recording, "store_retire") == expected_writes(MemoryConfig(), m.writes)[2]
