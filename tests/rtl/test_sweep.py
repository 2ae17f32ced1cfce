"""The sweep: cut in parts, gone on with after an interruption, its outcome as text and JSON; what coverage counts."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from hw.isa import FLAGS, Gemm, Load, Opcode, Store, Sync
from hw.timing import CAUSES
from sim import cycle
from sim.rtl import campaign, sweep
from sim.rtl.campaign import PART, Plan, Share, State, SweepError, run_part
from sim.rtl.cases import PROFILES, SMALL, random_case
from sim.rtl.coverage import Coverage, points
from sim.rtl.lockstep import compare
from tests.rtl.test_lockstep import WrongMachine, late_accumulator_alu

PLAN = Plan(machines=3, programs=2 * PART + 5, profiles=2, length=10, seed=4)


def sample(seed: int) -> Share:
    """What one real run found."""
    case = random_case(seed, SMALL[0])
    share = Share(runs=1, instructions=len(case.program), cycles=seed)
    share.coverage.add(cycle.run_decoded(case.decoded, case.memory.copy()))
    return share


def test_parts_make_the_whole() -> None:
    parts = PLAN.parts
    assert [(m, seed) for m, seeds in parts for seed in seeds] == [(m, s) for m in range(3) for s in range(4, 109)]
    assert len(PLAN.configs) == 3
    assert len({cfg.fingerprint for cfg in Plan(20, 1, 1, 1, 0).configs}) == 20


def test_the_machines_of_the_sweep_are_of_all_kinds() -> None:
    configs = Plan(20, 1000, 4, 30, 0).configs
    assert {cfg.bus_bits for cfg in configs} == {32, 64, 128}
    assert {cfg.axi for cfg in configs} == {"axi3", "axi4"}
    assert any(cfg.block_in < cfg.block_out for cfg in configs) and any(cfg.block_in > cfg.block_out for cfg in configs)
    assert {cfg.batch for cfg in configs} >= {1, 2, 4, 8}
    assert all(any(d & (d - 1) for d in (cfg.inp_depth, cfg.acc_depth, cfg.aux_depth)) for cfg in configs[4:])


def test_state_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "state"
    first = State(path, PLAN)
    for part in (0, 4):
        first.add(PLAN, part, sample(part))
    with path.open("a") as file:
        file.write('{"part": 5, "runs"')
    second = State(path, PLAN)
    assert set(second.done) == {0, 4} and second.seconds == pytest.approx(first.seconds)
    assert second.total.coverage.to_dict() == first.total.coverage.to_dict()
    assert dataclasses.asdict(second.total) | {"coverage": 0} == dataclasses.asdict(first.total) | {"coverage": 0}
    assert second.machines[0].cycles == 0 and second.machines[1].cycles == 4
    with pytest.raises(SweepError, match="of another sweep or of other sources; remove it"):
        State(path, dataclasses.replace(PLAN, seed=5))


def test_a_difference_ends_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "_machine", lambda cfg: WrongMachine(late_accumulator_alu))
    share = run_part(SMALL[0], range(100), 1, 10)
    assert share.difference is not None and len(share.difference.case.program) <= 2
    assert 0 < share.runs < 100


def test_outcomes_of_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    arguments = ["--machines", "2", "--programs", "3", "--length", "8", "--jobs", "1"]
    good = CliRunner().invoke(sweep.main, [*arguments, "--state", str(tmp_path / "state"), "--json"])
    assert good.exit_code == 0, good.output
    result = json.loads(good.stdout)
    assert (result["runs"], result["differences"], len(result["machines"])) == (24, 0, 2)
    assert result["coverage"]["machine"] == {"met": 7, "of": 11}
    assert ["machine", "bus 128"] in result["never_met"]
    # All is done: the same command has nothing left to run.
    monkeypatch.setattr(sweep, "sweep", lambda *_: None)
    again = CliRunner().invoke(sweep.main, [*arguments, "--state", str(tmp_path / "state")])
    assert again.exit_code == 0 and "never met: machine x bus 128" in again.stdout
    assert "0 differences: 3 programs x 2 machines x 4 memories = 24 runs" in again.stdout.splitlines()[-1]
    outcome = compare(WrongMachine(late_accumulator_alu), random_case(3, SMALL[0]))
    monkeypatch.setattr(sweep, "sweep", lambda *_: outcome)
    bad = CliRunner().invoke(sweep.main, arguments)
    assert bad.exit_code == 1 and "retire in cycle" in bad.output


def test_an_interrupted_sweep_keeps_what_is_done(tmp_path: Path) -> None:
    state = tmp_path / "state"
    command = [sys.executable, "-m", "sim.rtl.sweep", "--machines", "1", "--jobs", "1", "--state", str(state)]
    # As from a terminal: a process in the background may have interrupts ignored.
    running = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    )
    deadline = time.monotonic() + 300
    while not state.exists() or len(state.read_text().splitlines()) < 2:
        assert running.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(running.pid, signal.SIGINT)
    _, text = running.communicate(timeout=60)
    assert running.returncode == 130 and f"goes on from {state}" in text and "Traceback" not in text
    found = State(state, Plan(1, 1000, 4, 30, 0))
    assert 0 < found.total.runs < 4000 and found.total.runs % (4 * PART) == 0


# ---- coverage ---------------------------------------------------------------------------------------------------


def by_hand(results: list[Any]) -> dict[tuple[str, ...], int]:
    """Flags, causes and hazards counted instruction by instruction, from the instructions themselves."""
    counts: dict[tuple[str, ...], int] = {}
    for case, result in results:
        for index, instr in enumerate(case.program):
            name = instr.OPCODE.name
            hazard = "hazard" if result.causes[index, CAUSES.index("hazard")] else "free"
            for flag in FLAGS:
                if not getattr(instr, flag, False):
                    continue
                met = [("flag", name, flag)]
                for k, cause in enumerate(CAUSES):
                    if result.causes[index, k]:
                        met += [("cause", name, flag, cause), ("hazard", name, flag, hazard, cause)]
                for point in met:
                    counts[point] = counts.get(point, 0) + 1
    return counts


def test_coverage_counts() -> None:
    coverage, results = Coverage(), []
    for seed in range(12):
        case = random_case(seed, SMALL[1]).under(PROFILES[seed % 4])
        result = cycle.run_decoded(case.decoded, case.memory.copy())
        coverage.add(result)
        results.append((case, result))
    expected = by_hand(results)
    for point in points():
        if point[0] in ("flag", "cause", "hazard"):
            assert coverage.hits(point) == expected.get(point, 0), point
    loads = sum(isinstance(m, Load) and not m.fill for case, _ in results for m in case.program)
    names = ("UOP", "INP", "WGT", "AUX")
    assert sum(coverage.hits(("buffer", name, "copy")) for name in names) == loads
    # Nothing is counted that is called impossible.
    possible = set(points())
    impossible = {p for p in expected if p[0] == "cause" and p not in possible}
    assert all(p[2].startswith("pop") and p[3].startswith("wait") for p in impossible), impossible


def test_points_by_opcode() -> None:
    flags = {kind.OPCODE: [p[2] for p in points() if p[:2] == ("flag", kind.OPCODE.name)] for kind in (Load, Store)}
    assert flags == {Opcode.LOAD: ["pop_next", "push_next"], Opcode.STORE: ["pop_prev", "push_prev"]}
    assert all(len([p for p in points() if p[:2] == ("flag", kind.OPCODE.name)]) == 4 for kind in (Gemm, Sync))
