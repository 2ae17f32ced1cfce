"""The cocotb benches of the whole machine, on AXI4 and AXI3, and of the protocol checker that both have."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from hw.config import Config
from sim import functional
from sim.rtl.build import verilog_of
from sim.rtl.cases import SMALL, random_case
from tests.rtl.burst_machine import Flaw, ScriptedBurst, burst_verilog
from tests.rtl.cocotb_runner import run_bench

AXI3 = SMALL[0]
AXI4 = next(cfg for cfg in SMALL if cfg.axi == "axi4")
"""cocotbext-axi knows no WID."""
FLAWS = {
    Flaw(0): "", Flaw.DROP_VALID: "withdrawn", Flaw.CHANGE_PAYLOAD: "changes", Flaw.LATE_LAST: "wlast",
    Flaw.CROSS_PAGE: "page", Flaw.WITHDRAW_DATA: "w withdrawn",
    Flaw.CHANGE_DATA: "w changes", Flaw.WRONG_WID: "wid", Flaw.WRONG_SIZE: "size", Flaw.WRAP: "burst",
    Flaw.LOCKED: "lock", Flaw.UNALIGNED: "aligned", Flaw.CHANGE_CACHE: "changes",
    # The last: a machine keeps its flaw until it is started with the next, and this one shows before that.
    Flaw.EARLY_DATA: "without an address",
}  # fmt: skip
"""Ways to break the protocol, and a word of what the checker must say."""


@pytest.mark.parametrize("bench, cfg, tests", [("machine", AXI4, 5), ("axi3", AXI3, 4)], ids=["axi4", "axi3"])
def test_machine(bench: str, cfg: Config, tests: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = []
    for seed in range(6):
        case = random_case(seed, cfg, 15)
        after = case.memory.copy()
        functional.run(after, case.address, len(case.program), cfg)
        programs.append((case.memory, after, case.address, len(case.program)))
    cases = tmp_path / "cases"
    cases.write_bytes(pickle.dumps(programs))
    monkeypatch.setenv("VDLA_CASES", str(cases))
    outcomes = run_bench(f"cocotb_{bench}", verilog_of(cfg), tmp_path, "verilator")
    assert len(outcomes) == tests and not any(outcomes.values()), outcomes


def test_the_checker_can_fail(tmp_path: Path) -> None:
    writes = [ScriptedBurst(4, 3), ScriptedBurst(64, 16), ScriptedBurst(200, 2, 5)]
    verilog = burst_verilog(AXI3, [ScriptedBurst(8, 4), ScriptedBurst(32, 9)], writes)
    flaws = [(int(flaw), word) for flaw, word in FLAWS.items()]
    outcomes = run_bench("cocotb_checker", verilog, tmp_path, "verilator", {"flaws": flaws})
    assert outcomes and not any(outcomes.values()), outcomes
