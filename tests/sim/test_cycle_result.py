"""What a cycle simulation reports: causes, intervals, stalls, deadlocks, progress."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hw import asm
from hw.config import Config, MemoryConfig
from hw.errors import DeadlockError
from hw.isa import Instruction, Opcode
from sim import cycle
from sim.program import F
from tests.sim.programs import place, random_case


@pytest.mark.parametrize("seed", range(8))
def test_intervals_partition_the_cycles(seed: int) -> None:
    case = random_case(seed)
    result = cycle.run(*case.run_arguments())
    n = len(case.program)
    cuts = sorted({0, n, *np.random.default_rng(seed).integers(0, n + 1, 5).tolist()})
    parts = [result.interval(a, b) for a, b in zip(cuts, cuts[1:], strict=False)]
    assert sum(p.cycles for p in parts) == result.cycles
    for cause, cycles in result.totals.items():
        assert sum(p.causes[cause] for p in parts) == cycles
    assert all(sum(p.causes.values()) == p.cycles for p in parts)
    fetched = result.fetch_beats * case.cfg.bus_bytes
    assert sum(p.dram_read_bytes for p in parts) + fetched == result.dram_read_bytes
    assert sum(p.dram_write_bytes for p in parts) == result.dram_write_bytes


def test_an_interval_outside_the_program_is_refused() -> None:
    result = cycle.run(*random_case(0).run_arguments())
    with pytest.raises(ValueError, match="are not a range of this program"):
        result.interval(0, len(result.program) + 1)


def test_an_empty_program_takes_no_time() -> None:
    result = cycle.run(np.zeros(4096, np.uint8), 0, 0, Config())
    assert result.cycles == 0
    assert set(result.totals.values()) == {0}


def test_the_timeline_has_a_bar_for_each_instruction() -> None:
    case = random_case(3)
    result = cycle.run(*case.run_arguments())
    spans = list(result.timeline())
    assert [s.index for s in spans] == list(range(len(case.program)))
    assert all(0 <= s.start <= s.end < result.cycles for s in spans)
    assert {s.unit for s in spans} == {"load", "compute", "store"}
    issued = sum(s.end - s.start + 1 for s in spans if s.unit == "compute")
    assert issued == result.busy["compute"]


def test_gemm_cycles_are_the_operations() -> None:
    result = cycle.run(*random_case(5).run_arguments())
    gemm = result.program.column(F.OPCODE) == Opcode.GEMM
    counts = result.program.column(F.UOP_COUNT) * result.program.column(F.ITER_OUT) * result.program.column(F.ITER_IN)
    assert result.totals["gemm"] == counts[gemm].sum() > 0


def test_stalls_are_reproducible_and_cost_time() -> None:
    case = random_case(7, cfg=Config())

    def cycles(memory: MemoryConfig) -> list[int]:
        return cycle.run(case.memory.copy(), case.address, len(case.program), Config(memory=memory)).retire.tolist()

    none, one = cycles(MemoryConfig()), cycles(MemoryConfig(stall_seed=1, stall_rate=0.3))
    assert one == cycles(MemoryConfig(stall_seed=1, stall_rate=0.3))
    assert one != cycles(MemoryConfig(stall_seed=2, stall_rate=0.3))
    assert max(one) > max(none)
    assert none == cycles(MemoryConfig(stall_seed=1, stall_rate=0.0))


def test_progress_is_told() -> None:
    seen: list[tuple[int, int]] = []
    case = random_case(1)
    cycle.run(*case.run_arguments(), progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(case.program), len(case.program))


def run(program: list[Instruction], cfg: Config) -> None:
    cycle.run(*place(program, cfg).run_arguments())


def test_deadlock_says_who_waits_for_whom() -> None:
    cfg = Config()
    program = asm.assemble("load inp seg=8 pop=compute\nsync pop=load\nstore dram=0x4000 seg=4 pop=compute", cfg)
    with pytest.raises(DeadlockError) as caught:
        run(program, cfg)
    message = str(caught.value)
    assert "deadlock after 0 of 3 instructions" in message
    assert "instruction 0 (LOAD, load) waits for a token from compute, which has pushed 0" in message
    assert "instruction 1 (SYNC, compute) waits for a token from load, which has pushed 0" in message
    assert "instruction 2 (STORE, store) waits for a token from compute, which has pushed 0" in message


def test_deadlock_of_a_full_counter() -> None:
    cfg = Config(token_depth=2)
    program = asm.assemble("sync push=load\n" * 3, cfg)
    with pytest.raises(DeadlockError, match=r"instruction 2 .* its counter to load is full \(2 tokens\)"):
        run(program, cfg)


def test_deadlock_of_a_full_queue() -> None:
    cfg = Config(compute_queue=2)
    wait = asm.assemble("sync pop=load", cfg)
    program = wait * 3 + asm.assemble("load inp seg=8 push=compute", cfg)
    with pytest.raises(DeadlockError, match=r"instruction 2 \(SYNC, compute\) waits for a place in the full compute"):
        run(program, cfg)
    run([replace(wait[0], pop_prev=False), *program[1:3], *program[3:] * 2], cfg)
