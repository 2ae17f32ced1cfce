"""The message of a deadlock: who waits for whom."""

from __future__ import annotations

import numpy as np

from hw import isa
from hw.isa import Opcode, Unit
from sim.cycle.layout import S
from sim.program import F, Program

_NAMES = ("load", "compute", "store")


def explain(program: Program, s: np.ndarray, q: np.ndarray) -> str:
    """One line: where each unit stands and what it waits for, from the state of a stopped simulation."""
    parts = []
    for unit in Unit:
        started, queued = int(s[S.STARTED + unit]), int(s[S.QUEUED + unit])
        retired = int(s[S.RETIRED + unit])
        if retired < started:
            index = int(q[unit, retired])
            parts.append(f"{_name(program, index)} cannot retire: {_blocked_push(program, s, unit, index)}")
        elif started < queued:
            index = int(q[unit, started])
            parts.append(f"{_name(program, index)} waits for {_missing_tokens(program, s, unit, index)}")
    dispatched = int(s[S.DISPATCHED])
    if dispatched < len(program):
        unit = int(program.table[dispatched, F.UNIT])
        if s[S.QUEUED + unit] - s[S.STARTED + unit] >= s[S.QUEUE + unit]:
            parts.append(f"{_name(program, dispatched)} waits for a place in the full {_NAMES[unit]} queue")
    done = int(s[S.RETIRED : S.RETIRED + 3].sum())
    return f"deadlock after {done} of {len(program)} instructions: " + "; ".join(parts)


def _name(program: Program, index: int) -> str:
    opcode = isa.Opcode(int(program.table[index, F.OPCODE]))
    return f"instruction {index} ({Opcode(opcode).name}, {_NAMES[int(program.table[index, F.UNIT])]})"


def _missing_tokens(program: Program, s: np.ndarray, unit: int, index: int) -> str:
    missing = []
    for flag, channel, other in ((F.POP_PREV, 2 * unit - 2, unit - 1), (F.POP_NEXT, 2 * unit + 1, unit + 1)):
        if program.table[index, flag] and s[S.PUSHES + channel] <= s[S.POPS + channel]:
            missing.append(f"a token from {_NAMES[other]}, which has pushed {s[S.PUSHES + channel]}")
    return " and ".join(missing) or "an earlier one to retire"


def _blocked_push(program: Program, s: np.ndarray, unit: int, index: int) -> str:
    full = []
    for flag, channel, other in ((F.PUSH_PREV, 2 * unit - 1, unit - 1), (F.PUSH_NEXT, 2 * unit, unit + 1)):
        if program.table[index, flag] and s[S.PUSHES + channel] - s[S.POPS + channel] >= s[S.TOKEN_DEPTH]:
            full.append(f"its counter to {_NAMES[other]} is full ({s[S.TOKEN_DEPTH]} tokens)")
    return " and ".join(full) or "it is not complete"
