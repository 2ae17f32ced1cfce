"""The lock-step comparison with a machine that is wrong on purpose: what it reports and how far it shrinks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hw.config import MemoryConfig
from hw.errors import DeadlockError
from hw.isa import Alu, AluSource, Opcode
from sim import cycle
from sim.cycle.result import CycleResult
from sim.program import F, Program
from sim.rtl.cases import PROFILES, SMALL, random_case
from sim.rtl.lockstep import Difference, LockstepError, check, compare, shrink
from sim.rtl.machine import Machine

CFG = SMALL[0]


class WrongMachine(Machine):
    """The cycle simulator in place of the RTL, its result changed by `wrong(result, memory)`."""

    def __init__(self, wrong: Callable[[CycleResult, np.ndarray], CycleResult]) -> None:
        self.cfg = CFG
        self.wrong = wrong
        self.resets = 0

    def run_decoded(self, program: Program, memory: np.ndarray, **_: Any) -> Any:
        return self.wrong(cycle.run_decoded(program, memory), memory)

    def reset(self) -> None:
        self.resets += 1


def late_accumulator_alu(result: CycleResult, _: np.ndarray) -> CycleResult:
    """Every ALU instruction with two accumulators retires a cycle late, as do all after it."""
    program = result.program
    hit = np.flatnonzero((program.column(F.OPCODE) == Opcode.ALU) & (program.column(F.SOURCE) == AluSource.ACC))
    retire = result.retire.copy()
    if hit.size:
        retire[int(hit[0]) :] += 1
    return replace(result, retire=retire)


def test_equal_machines() -> None:
    case = random_case(0, CFG)
    outcome = compare(WrongMachine(lambda result, _: result), case)
    assert outcome == cycle.run(case.memory.copy(), case.address, len(case.program), CFG).cycles


def test_difference_is_shrunk_to_its_instruction() -> None:
    machine = WrongMachine(late_accumulator_alu)
    case = random_case(3, CFG.with_(memory=PROFILES[1]))
    assert any(isinstance(m, Alu) and m.source == AluSource.ACC for m in case.program)
    with pytest.raises(LockstepError) as caught:
        check(machine, case)
    found = caught.value.difference
    culprits = [m for m in found.case.program if isinstance(m, Alu) and m.source == AluSource.ACC]
    assert len(found.case.program) <= 2 and len(culprits) == 1
    assert (culprits[0].uop_count, culprits[0].iter_out, culprits[0].iter_in) == (1, 1, 1)
    # No stall is needed to see it.
    assert found.case.cfg.memory == MemoryConfig()
    for text in ("retire in cycle", "alu", "read_latency"):
        assert text in found.text
    assert "\n" not in str(caught.value)


def test_first_in_time_is_reported() -> None:
    def wrong(result: CycleResult, _: np.ndarray) -> CycleResult:
        start, retire = result.start.copy(), result.retire.copy()
        start[8:] += 2
        retire[5:] += 2
        return replace(result, start=start, retire=retire)

    case = random_case(1, CFG)
    outcome = compare(WrongMachine(wrong), case)
    assert isinstance(outcome, Difference)
    expected = cycle.run(case.memory.copy(), case.address, len(case.program), CFG)
    first = min([*expected.start[8:].tolist(), *expected.retire[5:].tolist()])
    assert f"simulator {first}" in outcome.summary


def test_wrong_memory_names_the_store() -> None:
    def wrong(result: CycleResult, memory: np.ndarray) -> CycleResult:
        stores = np.flatnonzero(result.program.column(F.OPCODE) == Opcode.STORE)
        if stores.size:
            memory[int(result.program.column(F.DRAM)[stores[-1]])] ^= 1
        return result

    case = random_case(2, CFG)
    outcome = compare(WrongMachine(wrong), case)
    assert isinstance(outcome, Difference)
    assert outcome.summary.startswith("memory differs in 1 bytes")
    shrunk = shrink(WrongMachine(wrong), outcome)
    assert [m.OPCODE for m in shrunk.case.program] == [Opcode.STORE]


def test_a_failing_machine_is_reset() -> None:
    def wrong(result: CycleResult, _: np.ndarray) -> CycleResult:
        raise DeadlockError("stuck")

    machine = WrongMachine(wrong)
    outcome = compare(machine, random_case(4, CFG))
    assert isinstance(outcome, Difference) and "the RTL fails: program: stuck" in outcome.summary
    assert machine.resets == 1
