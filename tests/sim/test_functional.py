"""The functional simulator against a plain numpy model."""

from __future__ import annotations

import numpy as np
import pytest

from sim import functional
from sim.program import decode
from sim.state import State
from tests.sim.golden import Golden
from tests.sim.programs import random_case


@pytest.mark.parametrize("seed", range(12))
def test_random_programs_match_numpy(seed: int) -> None:
    case = random_case(seed, length=60)
    golden = Golden(case.cfg, case.memory.copy())
    golden.run(case.address, len(case.program))
    memory, address, count, cfg = case.run_arguments()
    state = State(cfg)
    functional.execute(decode(memory, address, count, cfg), memory, state)
    np.testing.assert_array_equal(state.acc.reshape(golden.acc.shape), golden.acc)
    np.testing.assert_array_equal(state.out.reshape(golden.out.shape), golden.out)
    np.testing.assert_array_equal(memory, golden.memory)
