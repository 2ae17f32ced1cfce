"""Builds Verilog for cocotb and runs a bench on it, on Verilator or on Icarus.

What is built is kept in the cache directory under a key of the Verilog. Verilator's runtime is compiled once for all
units, and a unit without optimization: these are small, and are clocked for some thousand cycles.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import cocotb_tools.config
from cocotb_tools.runner import get_runner

from sim.rtl.build import cached, digest, run_tool, tools

Simulator = Literal["verilator", "icarus"]
TOP = "vdla"
"""Name of the top module of every Verilog text given here."""
ROOT = Path(__file__).parents[2]

_RUNTIME = ("verilated.cpp", "verilated_threads.cpp", "verilated_vpi.cpp")


def run_bench(
    module: str,
    verilog: str,
    folder: Path,
    simulator: Simulator = "verilator",
    parameters: Mapping[str, Any] | None = None,
) -> dict[str, str]:
    """Run the cocotb tests of `tests.rtl.<module>` on Verilog whose top module is TOP.

    `parameters` (JSON) are what tests.rtl.units.common.PARAMETERS has in the bench. Returns the name of every test ->
    why it failed, empty if it passed. Raises RtlBuildError when a simulator is missing or the build fails.
    """
    runner = get_runner(simulator)
    results = folder / "results.xml"
    search = os.pathsep.join([str(ROOT), *(p for p in sys.path if p)])
    made = _built(verilog, simulator)
    # The runner ends pytest when a test fails; what failed is in the file.
    with suppress(SystemExit):
        runner.test(
            hdl_toplevel=TOP,
            hdl_toplevel_lang="verilog",
            test_module=f"tests.rtl.{module}",
            build_dir=made,
            test_dir=str(folder),
            results_xml=str(results),
            extra_env={"VDLA_PARAMETERS": json.dumps(dict(parameters or {})), "PYTHONPATH": search},
        )
    outcomes = {}
    for case in ElementTree.parse(results).getroot().iter("testcase"):
        problems = [problem for kind in ("failure", "error") for problem in case.iter(kind)]
        outcomes[str(case.get("name"))] = "; ".join(str(p.get("message") or p.get("error_msg")) for p in problems)
    return outcomes


def _built(verilog: str, simulator: Simulator) -> Path:
    """The folder in which cocotb's runner looks for the simulator's executable."""
    # The executable finds cocotb's libraries where they were when it was built.
    versions = f"{importlib.metadata.version('cocotb')} {importlib.metadata.version('verilator')}"
    version = digest([Path(__file__)], f"{versions} {cocotb_tools.config.libs_dir}")
    make = {"verilator": _verilate, "icarus": _compile}[simulator]
    return cached(f"cocotb-{simulator}", "", (verilog, version), lambda folder: make(verilog, folder))


def _compile(verilog: str, folder: Path) -> Path:
    # Logic whose inputs are what they were at the start would else never be evaluated.
    source = "`timescale 1ns/1ps\n" + verilog.replace("always @*", "always_comb")
    (folder / "vdla.v").write_text(source, encoding="utf-8")
    made = folder / "made"
    made.mkdir()
    run_tool(["iverilog", "-g2012", "-s", TOP, "-o", str(made / "sim.vvp"), str(folder / "vdla.v")], folder)
    return made


def _verilate(verilog: str, folder: Path) -> Path:
    root, compiler = tools()
    (folder / "vdla.v").write_text(verilog, encoding="utf-8")
    made = folder / "made"
    run_tool(
        [
            str(root / "bin" / "verilator_bin"), "--cc", "vdla.v", "--top-module", TOP, "--prefix", "Vtop",
            "--Mdir", str(made), "--vpi", "--public-flat-rw", "--x-assign", "fast", "--timescale", "1ns/1ps",
            "--no-timing", "-Wno-fatal", "-Wno-lint", "-Wno-style",
        ],
        folder, {"VERILATOR_ROOT": str(root)},
    )  # fmt: skip
    sources = [*sorted(made.glob("*.cpp")), cocotb_tools.config.share_dir / "lib" / "verilator" / "verilator.cpp"]
    (made / "all.cpp").write_text("".join(f'#include "{s}"\n' for s in sources), encoding="utf-8")
    libraries = cocotb_tools.config.libs_dir
    run_tool(
        [
            compiler, *_flags(root), "-O0", f"-I{made}", str(made / "all.cpp"), str(_runtime(root, compiler)),
            "-o", str(made / TOP), f"-Wl,-rpath,{libraries}", f"-L{libraries}", "-lcocotbvpi_verilator", "-lpthread",
        ],
        folder,
    )  # fmt: skip
    for file in made.iterdir():
        if file.name != TOP:
            file.unlink()
    return made


def _runtime(root: Path, compiler: str) -> Path:
    def make(folder: Path) -> Path:
        (folder / "runtime.cpp").write_text("".join(f'#include "{root / "include" / n}"\n' for n in _RUNTIME))
        target = folder / "runtime.o"
        run_tool([compiler, *_flags(root), "-O1", "-c", str(folder / "runtime.cpp"), "-o", str(target)], folder)
        return target

    version = f"{importlib.metadata.version('verilator')} {compiler}"
    return cached("cocotb-runtime", ".o", (version, *_flags(root)), make)


def _flags(root: Path) -> list[str]:
    return [
        "-std=c++17", "-w", "-DVM_TRACE=0", "-DVM_COVERAGE=0", "-DVM_SC=0",
        f"-I{root / 'include'}", f"-I{root / 'include' / 'vltstd'}",
    ]  # fmt: skip
