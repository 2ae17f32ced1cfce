"""The functional simulator against a plain numpy model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.config import Config
from sim import cycle, functional
from sim.program import decode
from sim.state import State
from tests.sim.golden import Golden
from tests.sim.programs import Case, random_case
from tests.sim.reference_cycle import Reference


def compare(case: Case) -> None:
    """All accumulators, the output buffer and the memory."""
    golden = Golden(case.cfg, case.memory.copy())
    golden.run(case.address, len(case.program))
    memory, address, count, cfg = case.run_arguments()
    state = State(cfg)
    functional.execute(decode(memory, address, count, cfg), memory, state)
    np.testing.assert_array_equal(state.acc.reshape(golden.acc.shape), golden.acc)
    np.testing.assert_array_equal(state.out.reshape(golden.out.shape), golden.out)
    np.testing.assert_array_equal(memory, golden.memory)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1))
def test_random_programs(seed: int) -> None:
    compare(random_case(seed, length=60))


CONFIGS = [
    Config(),
    Config(block_in=64, block_out=64, wgt_buffer=1 << 16),
    Config(block_in=4, block_out=64),
    Config(block_in=32, block_out=4, batch=2),
    Config(batch=8, block_in=8, block_out=8),
    Config(inp_buffer=1 << 17, wgt_buffer=1 << 17, acc_buffer=1 << 18),
]


@pytest.mark.parametrize("cfg", CONFIGS, ids=lambda c: f"{c.batch}x{c.block_in}x{c.block_out}u{c.uop_bytes}")
def test_block_sizes_and_micro_op_widths(cfg: Config) -> None:
    for seed in range(3):
        case = random_case(seed, cfg=cfg)
        compare(case)
        reference = Reference(cfg, case.program, case.used_uops(), case.address)
        assert cycle.run(*case.run_arguments()).cycles == reference.run()


def test_both_widths_of_micro_ops_are_among_them() -> None:
    assert {c.uop_bytes for c in CONFIGS} == {4, 8}


def test_counts() -> None:
    case = random_case(4)
    stats = functional.run(*case.run_arguments())
    totals = cycle.run(*case.run_arguments()).totals
    assert stats.instructions == len(case.program)
    assert stats.gemm_operations == totals["gemm"]
    assert stats.vector_operations == totals["alu"] + totals["requant"]
