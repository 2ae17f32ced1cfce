"""Reordering loads keeps a program's meaning, whatever the program; and it does hide latency."""

from __future__ import annotations

import numpy as np
import pytest

from hw.config import Config
from hw.dependence import insert_tokens, prove
from hw.isa import Load, Unit, encode_program
from hw.random_program import random_program, without_tokens
from sim import cycle, functional
from vdla.target.schedule_loads import find_conflicts, reorder


@pytest.mark.parametrize("seed", range(40))
def test_random_programs_keep_their_meaning(seed: int) -> None:
    cfg = Config.load("tiny")
    made = random_program(np.random.default_rng(seed), cfg, 40)
    program = without_tokens(made.program)
    order = reorder(program, find_conflicts(program, cfg, made.memory, 0, made.memory.size), cfg)
    assert sorted(order) == list(range(len(program)))
    others = [i for i in order if program[i].UNIT is not Unit.LOAD]
    assert others == sorted(others)
    moved = insert_tokens([program[i] for i in order], cfg, made.memory)
    prove(moved, cfg, made.memory)
    expected, got = made.memory.copy(), made.memory.copy()
    data = slice(made.data_address, made.data_address + made.data_bytes)
    functional.run(expected, made.program_address, len(made.program), cfg)
    # Tokens may need other SYNCs in the new order: the code lies behind everything else.
    at = -(-got.size // 64) * 64
    code = encode_program(moved, cfg)
    got = np.concatenate([got, np.zeros(at - got.size, np.uint8), code, np.zeros(64, np.uint8)])
    timed = got.copy()
    functional.run(got, at, len(moved), cfg)
    cycle.run(timed, at, len(moved), cfg)
    np.testing.assert_array_equal(got[data], expected[data])
    np.testing.assert_array_equal(timed[data], expected[data])


def test_some_load_moves() -> None:
    cfg = Config.load("tiny")
    moved = 0
    for seed in range(10):
        made = random_program(np.random.default_rng(seed), cfg, 40)
        program = without_tokens(made.program)
        order = reorder(program, find_conflicts(program, cfg, made.memory, 0, made.memory.size), cfg)
        moved += order != list(range(len(program)))
        assert any(isinstance(p, Load) for p in program)
    assert moved > 5
