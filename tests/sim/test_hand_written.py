"""The example's program, and small ones whose cycles are worked out by hand from docs/timing.md."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from hw import asm, dependence, timing
from hw.config import Config, MemoryConfig
from hw.isa import Uop
from sim import CycleResult, cycle
from tests.sim.programs import place

EXAMPLE = Path(__file__).parents[2] / "examples" / "hand_written_program.py"


def simulate(text: str, cfg: Config, uops: list[Uop] | None = None) -> CycleResult:
    program = asm.assemble(text, cfg)
    return cycle.run(*place(program, cfg, uops=uops).run_arguments())


def test_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    printed = capsys.readouterr().out
    assert "equal to numpy:              True" in printed
    assert "both simulators agree:       True" in printed


def test_example_is_race_free() -> None:
    cfg = Config()
    example = runpy.run_path(str(EXAMPLE))
    memory = np.zeros(0x2000, np.uint8)
    memory[example["UOPS"]] = 1
    dependence.prove(asm.assemble(example["TEXT"], cfg), cfg, memory)


def test_first_sync() -> None:
    # Fetch grants in 0, is accepted in 1; the beats of a 32-byte instruction on a 64-bit bus come in 29..32, and two
    # cycles later it is dispatched.
    result = simulate("sync", Config())
    assert result.dispatch.tolist() == [34]
    assert result.start.tolist() == [35]
    assert result.issue.tolist() == [35 + timing.DECODE]
    assert result.retire.tolist() == [39]
    assert result.cycles == 40
    assert result.totals == {**dict.fromkeys(timing.CAUSES, 0), "fetch": 35, "decode": 4, "drain": 1}


def test_load_and_its_user() -> None:
    cfg = Config(memory=MemoryConfig(read_latency=1))
    result = simulate("load inp dram=0x7001 seg=8 push=compute\nsync pop=load", cfg)
    # One burst fetches both: granted 0, accepted 1, beats 2..9. The load is dispatched in 7, started in 8, granted
    # in 11, accepted in 12; its eight bytes touch two bus words, taken in 13 and 14.
    assert result.start.tolist() == [8, 17]
    assert result.last[0] == 14
    assert result.retire.tolist() == [16, 21]


def test_operations_follow_each_other_without_bubbles() -> None:
    cfg = Config()
    text = "load uop seg=8 push=compute\ngemm uop=0+1 in=10 dst=0+0+1 pop=load\ngemm uop=0+1 in=5 dst=20+0+1"
    result = simulate(text, cfg, [Uop(overwrite=True)])
    assert result.last[1] == result.issue[1] + 9
    assert result.issue[2] == result.last[1] + 1
    assert result.last[2] == result.issue[2] + 4
    assert result.totals["hazard"] == 0


def test_hazard_on_one_accumulator() -> None:
    text = "load uop seg=8 push=compute\ngemm uop=0+1 in=5 pop=load\nalu add imm uop=0+1 in=3"
    result = simulate(text, Config(), [Uop()])
    assert result.last[1] - result.issue[1] == 4 * timing.GEMM_HAZARD
    # The ALU's first operation waits for the change of kind, and longer for the accumulator.
    assert result.last[2] - result.last[1] == 3 * timing.VECTOR_HAZARD
    assert result.totals["switch"] == timing.GEMM_LATENCY - 1
    waits = 4 * (timing.GEMM_HAZARD - 1) + 3 * (timing.VECTOR_HAZARD - 1) - (timing.GEMM_LATENCY - 1)
    assert result.totals["hazard"] == waits
