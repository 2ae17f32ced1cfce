"""The RTL and the cycle simulator side by side: memory, retirements and causes must be the same, to the cycle.

A difference is reported at the first instruction (in time) at which the two part, after its program has been made as
short as it gets without losing the difference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import yaml

from hw import isa
from hw.asm import format_instruction
from hw.config import Config, MemoryConfig
from hw.dependence import insert_tokens
from hw.errors import VdlaError
from hw.isa import Instruction, Sync
from hw.random_program import without_tokens
from hw.timing import CAUSES
from sim import cycle
from sim.cycle.result import CycleResult
from sim.program import Program, decode
from sim.rtl.coverage import Coverage
from sim.rtl.machine import Machine

NEIGHBOURS = 6
"""Instructions shown before and after the first difference."""
_PATIENCE = 20_000
"""Cycles beyond the simulator's end after which the RTL counts as stuck."""


@dataclass(frozen=True)
class Case:
    """A program in the DRAM image (uint8) it starts from. `cfg` has the memory's behaviour and stall seed."""

    cfg: Config
    memory: np.ndarray
    program: list[Instruction]
    address: int

    @staticmethod
    def place(program: Sequence[Instruction], cfg: Config, memory: np.ndarray, address: int) -> Case:
        """The program written into a copy of `memory`."""
        image = memory.copy()
        data = isa.encode_program(program, cfg)
        image[address : address + data.size] = data
        return Case(cfg, image, list(program), address)

    @cached_property
    def decoded(self) -> Program:
        """The program as both sides take it. Raises ProgramError for an illegal one."""
        return decode(self.memory, self.address, len(self.program), self.cfg)

    def under(self, memory: MemoryConfig) -> Case:
        """The same with another behaviour of the memory; the program is not decoded again."""
        case = replace(self, cfg=self.cfg.with_(memory=memory))
        vars(case)["decoded"] = replace(self.decoded, cfg=case.cfg)
        return case


@dataclass(frozen=True)
class Difference:
    """Where the two part: `text` is the whole report, `summary` its first line."""

    case: Case
    summary: str
    text: str

    def __str__(self) -> str:
        return self.text


class LockstepError(VdlaError):
    """The RTL and the cycle simulator differ. `difference` has the report."""

    def __init__(self, difference: Difference) -> None:
        self.difference = difference
        super().__init__(difference.summary)


def compare(machine: Machine, case: Case, coverage: Coverage | None = None) -> Difference | int:
    """Run a case on both: the first difference, or the cycles it took. Raises ProgramError for an illegal program."""
    expected_memory, found_memory = case.memory.copy(), case.memory.copy()
    expected = cycle.run_decoded(case.decoded, expected_memory)
    if coverage is not None:
        coverage.add(expected)
    try:
        found = machine.run_decoded(case.decoded, found_memory, limit=expected.cycles + _PATIENCE)
    except VdlaError as error:
        machine.reset()
        return _report(case, f"the RTL fails: {error}", expected, None, None)
    return _first_difference(case, expected, found, expected_memory, found_memory) or expected.cycles


def check(machine: Machine, case: Case, coverage: Coverage | None = None) -> None:
    """Raises LockstepError, with the shrunk program, if the two differ."""
    outcome = compare(machine, case, coverage)
    if isinstance(outcome, Difference):
        raise LockstepError(shrink(machine, outcome))


def _first_difference(
    case: Case, expected: CycleResult, found: CycleResult, expected_memory: np.ndarray, found_memory: np.ndarray
) -> Difference | None:
    # Of all that differ, the instruction with the earliest event is nearest to the cause.
    first: tuple[int, int, str] | None = None
    for name in ("dispatch", "start", "retire"):
        a, b = getattr(expected, name), getattr(found, name)
        for index in np.flatnonzero(a != b).tolist():
            when = min(int(a[index]), int(b[index]))
            if first is None or when < first[0]:
                first = when, index, f"instruction {index}: {name} in cycle {b[index]}, simulator {a[index]}"
    if first is not None:
        return _report(case, first[2], expected, found, first[1])
    different = np.flatnonzero((expected.causes != found.causes).any(axis=1))
    if different.size:
        index = int(different[0])
        named = [
            f"{name} {found.causes[index, k]} (simulator {expected.causes[index, k]})"
            for k, name in enumerate(CAUSES)
            if expected.causes[index, k] != found.causes[index, k]
        ]
        return _report(case, f"instruction {index}: causes differ: {', '.join(named)}", expected, found, index)
    if expected.cycles != found.cycles:
        return _report(case, f"{found.cycles} cycles, simulator {expected.cycles}", expected, found, None)
    wrong = np.flatnonzero(expected_memory != found_memory)
    if wrong.size:
        at = int(wrong[0])
        values = f"{found_memory[at]}, simulator {expected_memory[at]}"
        summary = f"memory differs in {wrong.size} bytes, first at {at:#x}: {values}"
        return _report(case, summary, expected, found, _writer(case, at))
    return None


def _writer(case: Case, address: int) -> int | None:
    """The last instruction that stores to a byte of DRAM."""
    last = None
    for index, m in enumerate(case.program):
        if isinstance(m, isa.Store):
            rows = m.dram + np.arange(m.y_size)[:, None] * m.y_dram + np.arange(m.x_size) * m.x_dram
            if ((rows <= address) & (address < rows + m.seg)).any():
                last = index
    return last


def _report(
    case: Case, summary: str, expected: CycleResult, found: CycleResult | None, index: int | None
) -> Difference:
    n = len(case.program)
    middle = n - 1 if index is None else index
    shown = range(max(0, middle - NEIGHBOURS), min(n, middle + NEIGHBOURS + 1)) if n > 40 else range(n)
    lines = [summary, "", f"# instructions {shown.start}..{shown.stop - 1} of {n}: cycles as simulator | RTL"]
    for i in shown:
        mark = ">" if i == index else " "
        a = f"{expected.dispatch[i]:6d} {expected.start[i]:6d} {expected.retire[i]:6d}"
        b = f"{found.dispatch[i]:6d} {found.start[i]:6d} {found.retire[i]:6d}" if found is not None else "-"
        lines.append(f"{mark}{i:4d}  {a} | {b:20s}  {format_instruction(case.program[i])}")
    lines += ["     (columns: dispatch, start, retire)", "", yaml.safe_dump(case.cfg.to_dict(), sort_keys=False)]
    return Difference(case, summary, "\n".join(lines))


# ---- shrinking --------------------------------------------------------------------------------------------------


def shrink(machine: Machine, difference: Difference, budget: int = 400) -> Difference:
    """The difference on the shortest program found that has one; at most `budget` runs.

    Instructions are taken away in ever smaller groups (delta debugging); what is left gets its tokens anew, so every
    candidate is a legal program. Then the memory is tried without stalls and with its default behaviour.
    """
    best = difference
    runs = 0

    def attempt(program: Sequence[Instruction], cfg: Config) -> bool:
        nonlocal best, runs
        runs += 1
        try:
            with_tokens = insert_tokens(list(program), cfg, best.case.memory)
            found = compare(machine, Case.place(with_tokens, cfg, best.case.memory, best.case.address))
        except VdlaError:
            return False
        if isinstance(found, Difference):
            best = found
        return isinstance(found, Difference)

    # Programs write what they load: the image must be the one before any run, which Case keeps.
    program = [m for m in without_tokens(best.case.program) if not isinstance(m, Sync)]
    if not attempt(program, best.case.cfg):
        program = without_tokens(best.case.program)
    program = _reduce(program, lambda p: runs < budget and attempt(p, best.case.cfg))
    program = [
        _simplest(program, i, lambda p: runs < budget and attempt(p, best.case.cfg)) for i in range(len(program))
    ]
    calm = replace(best.case.cfg.memory, stall_seed=None, stall_rate=0.0)
    for memory in (MemoryConfig(), calm):
        if memory != best.case.cfg.memory and attempt(program, best.case.cfg.with_(memory=memory)):
            break
    return best


def _reduce(program: list[Instruction], fails: Callable[[list[Instruction]], bool]) -> list[Instruction]:
    """The program without every group of instructions that it fails without."""
    size = max(1, len(program) // 2)
    while True:
        before = len(program)
        at = 0
        while at < len(program):
            shorter = program[:at] + program[at + size :]
            if shorter and fails(shorter):
                program = shorter
            else:
                at += size
        # What nothing needs any more goes in the next round of single instructions.
        if size == 1 and len(program) == before:
            break
        size = max(1, size // 2)
    return program


def _simplest(program: list[Instruction], i: int, fails: Callable[[list[Instruction]], bool]) -> Instruction:
    """Instruction i with its loop counts set to 1 where it still fails; the program is changed with it."""
    for name in ("y_size", "x_size", "uop_count", "iter_out", "iter_in", "seg"):
        if getattr(program[i], name, 1) > 1:
            simpler = replace(program[i], **{name: 1})
            if fails([*program[:i], simpler, *program[i + 1 :]]):
                program[i] = simpler
    return program[i]
