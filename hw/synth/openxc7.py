"""The open flow for Zynq-7000: yosys, nextpnr-xilinx, fasm2frames, xc7frames2bit; no vendor's tool takes part.

What comes out is the bitstream, the same as the FPGA manager wants it, and the description that PYNQ reads. yosys is a
package of Python; the rest must be installed (docs/synth_zynq.md). Without it the build ends with the netlist, checked
against what the router knows, and a script that does what is left.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from hw.synth.cells import count_cells
from hw.synth.engine import Work
from hw.synth.flow import Build, Flow, Option, Result, Step, SynthesisError, project_step, register, verilog_step
from hw.synth.yosys import yosys_step
from hw.synth.zynq import Leds, Processor, led_constraints
from hw.synth.zynq_bin import to_bin
from hw.synth.zynq_hwh import hardware_description
from hw.synth.zynq_netlist import UNTIMED, cell_counts, check_netlist
from hw.synth.zynq_top import CLOCK, TOP, check_port, top_verilog

ROUTER, FRAMES, BITSTREAM = "nextpnr-xilinx", "fasm2frames", "xc7frames2bit"
CHIPDB, DATABASE = "VDLA_CHIPDB", "VDLA_PRJXRAY_DB"
"""Environment variables that the options `chipdb` and `prjxray_db` take precedence over."""
FAMILY = "zynq7"
"""Folder of the family in prjxray's database."""
INSTALL = "see docs/synth_zynq.md for where to get it"
SCRIPT = "finish.sh"
SYNTHESIS = f"""
read_verilog vdla.v {TOP}.v
synth_xilinx -family xc7 -flatten -abc9 -top {TOP}
delete t:$scopeinfo
check -assert
write_json vdla.json
"""
"""The netlist for nextpnr-xilinx: flat, and without the cells by which yosys remembers scopes."""
FREQUENCY = re.compile(r"Max frequency for clock\s+'([^']+)':\s+([0-9.]+) MHz")


@register
class OpenXc7(Flow):
    """Steps: verilog, project, netlist, cells; then, if the tools are there: route, frames, bitstream, firmware."""

    name = "openxc7"
    about = "bitstream for Zynq-7000 with open tools (yosys, nextpnr-xilinx, prjxray)"
    families = ("xc7",)
    options: Mapping[str, Option] = {
        "chipdb": Option("", f"nextpnr-xilinx's database of the part, a file, or the folder of it; else ${CHIPDB}"),
        "prjxray_db": Option("", f"prjxray's database, the folder that holds {FAMILY}; else ${DATABASE}"),
        "seed": Option(1, "of the placement"),
        "allow_timing_fail": Option(False, "make a bitstream even if the clock is not reached"),
    }

    def steps(self, build: Build) -> Sequence[Step]:
        check_port(build.config)
        steps = [
            verilog_step(build),
            project_step(_project_files(build)),
            yosys_step("netlist", script=SYNTHESIS, reads=("vdla.v", f"{TOP}.v"), writes=("vdla.json",)),
            Step("cells", ("vdla.json",), ("cells.txt",), _check_cells, {"part": build.part.name}),
        ]
        if not missing(build):
            steps += [
                Step("route", ("vdla.json", "vdla.xdc"), ("vdla.fasm", "route.log"), _route, _facts(build)),
                Step("frames", ("vdla.fasm",), ("vdla.frames",), _frames, _facts(build)),
                Step("bitstream", ("vdla.frames",), ("vdla.bit",), _bitstream, _facts(build)),
                Step("firmware", ("vdla.bit",), ("vdla.bin",), _firmware),
            ]
        return steps

    def result(self, build: Build) -> Result:
        used = count_cells(cell_counts(build.path("vdla.json"), TOP), build.part.family)
        absent = missing(build)
        if absent:
            notes = [f"no bitstream: {', '.join(absent)}", f"to go on by hand: cd {build.folder} && sh {SCRIPT}"]
            return Result(used, files=("vdla.json", "vdla.hwh", SCRIPT), notes=notes, extra={"bitstream": False})
        fmax = max_frequency(build.path("route.log").read_text(encoding="utf-8", errors="replace"))
        return Result(
            used,
            fmax_mhz=fmax,
            fmax_tool=f"{ROUTER} after routing; {UNTIMED}",
            files=("vdla.bit", "vdla.bin", "vdla.hwh"),
            notes=[f"the clock is {build.config.clock_mhz:g} MHz; {ROUTER} says {fmax:g} MHz, but {UNTIMED}"],
            extra={"bitstream": True},
        )


def missing(build: Build) -> list[str]:
    """What of the tools and databases after yosys is not there, as a person should read it."""
    absent = [f"{tool} is not on PATH" for tool in (ROUTER, FRAMES, BITSTREAM) if shutil.which(tool) is None]
    for option, variable, path in (
        ("chipdb", CHIPDB, _chipdb(build)),
        ("prjxray_db", DATABASE, _part_file(build)),
    ):
        if path is None:
            absent.append(f"neither --option {option}=... nor ${variable} is given")
        elif not path.is_file():
            absent.append(f"{path} does not exist")
    return absent


def max_frequency(log: str) -> float:
    """The fabric clock's frequency in MHz, as the router says it after routing (it also says one before).

    Raises SynthesisError if the log has none.
    """
    found = [float(mhz) for clock, mhz in FREQUENCY.findall(log) if CLOCK in clock]
    if not found:
        raise SynthesisError(f"{ROUTER} says no frequency of {CLOCK}")
    return found[-1]


def commands(build: Build, chipdb: str, database: str) -> dict[str, list[str]]:
    """The commands after synthesis, by step; files are those of the build folder."""
    part = build.part.name
    route = [
        ROUTER, "--chipdb", chipdb, "--xdc", "vdla.xdc", "--json", "vdla.json", "--fasm", "vdla.fasm",
        "--freq", f"{build.config.clock_mhz:g}", "--seed", str(build.options["seed"]), "--log", "route.log",
    ]  # fmt: skip
    if build.options["allow_timing_fail"]:
        route.append("--timing-allow-fail")
    part_file = f"{database}/{FAMILY}/{part}/part.yaml"
    return {
        "route": route,
        "frames": [FRAMES, "--part", part, "--db-root", f"{database}/{FAMILY}", "vdla.fasm", "vdla.frames"],
        "bitstream": [
            BITSTREAM, "--part_file", part_file, "--part_name", part,
            "--frm_file", "vdla.frames", "--output_file", "vdla.bit",
        ],
    }  # fmt: skip


def finishing_script(build: Build) -> str:
    """A shell script, to be run in the build folder, that goes from the netlist to the bitstream."""
    lines = [
        "#!/bin/sh",
        "# From the netlist vdla.json to vdla.bit and vdla.bin.",
        f"# Needs {ROUTER}, {FRAMES}, {BITSTREAM} on PATH and two databases:",
        f"#   {CHIPDB}      nextpnr-xilinx's of the part (a file)",
        f"#   {DATABASE}  prjxray's (the folder that holds {FAMILY})",
        "set -eu",
        'cd "$(dirname "$0")"',
    ]
    variables = {"chipdb": f"${{{CHIPDB}:?}}", "database": f"${{{DATABASE}:?}}"}
    for command in commands(build, variables["chipdb"], variables["database"]).values():
        # The variables must be expanded, so words with them go between double quotes.
        lines.append(" ".join(f'"{word}"' if "$" in word else shlex.quote(word) for word in command))
    lines.append("python3 -m hw.synth.zynq_bin vdla.bit vdla.bin")
    return "\n".join(lines) + "\n"


def constraints(build: Build) -> str:
    """XDC: LEDs and the clock, of the commands that nextpnr-xilinx knows, one a line."""
    leds = Leds.of(build.board)
    clock = f"create_clock -period {1000 / build.config.clock_mhz:.3f} [get_nets {CLOCK}]"
    return "\n".join([*led_constraints(leds), clock]) + "\n"


def _facts(build: Build) -> dict[str, object]:
    """All that the files after the machine's Verilog depend on."""
    return {
        "part": build.part.name,
        "board": dict(build.board.facts),
        "config": build.config.to_dict(),
        "options": dict(build.options),
        "chipdb": str(_chipdb(build)),
        "database": str(_part_file(build)),
    }


def _given(build: Build, option: str, variable: str) -> str:
    return str(build.options[option]) or os.environ.get(variable, "")


def _chipdb(build: Build) -> Path | None:
    given = _given(build, "chipdb", CHIPDB)
    if not given:
        return None
    path = Path(given).resolve()
    # The toolchain's own scripts name the file after the part without its speed grade.
    return path / f"{build.part.name.partition('-')[0]}.bin" if path.is_dir() else path


def _database(build: Build) -> Path | None:
    given = _given(build, "prjxray_db", DATABASE)
    return Path(given).resolve() if given else None


def _part_file(build: Build) -> Path | None:
    database = _database(build)
    return None if database is None else database / FAMILY / build.part.name / "part.yaml"


def _project_files(build: Build) -> dict[str, str]:
    return {
        f"{TOP}.v": top_verilog(build.config, len(Leds.of(build.board).pins)),
        "vdla.xdc": constraints(build),
        "vdla.hwh": hardware_description(build.config, build.part.name, Processor.of(build.board)),
        SCRIPT: finishing_script(build),
    }


def _check_cells(build: Build, work: Work) -> None:
    counts = cell_counts(work.source("vdla.json"), TOP)
    check_netlist(counts, build.part)
    lines = [f"{kind} {count}" for kind, count in sorted(counts.items())]
    work.target("cells.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _run(build: Build, work: Work, step: str, reads: Sequence[str], writes: Sequence[str]) -> None:
    """A tool after synthesis, at work in the scratch folder on links to what it reads."""
    for name in reads:
        (work.folder / name).symlink_to(work.source(name).resolve())
    work.tool(commands(build, str(_chipdb(build)), str(_database(build)))[step], install=INSTALL)
    for name in writes:
        made = work.folder / name
        if not made.is_file() or not made.stat().st_size:
            raise SynthesisError(f"step '{step}' ended without writing {name}", work.log)
        shutil.move(made, work.target(name))


def _route(build: Build, work: Work) -> None:
    _run(build, work, "route", ("vdla.json", "vdla.xdc"), ("vdla.fasm", "route.log"))


def _frames(build: Build, work: Work) -> None:
    _run(build, work, "frames", ("vdla.fasm",), ("vdla.frames",))


def _bitstream(build: Build, work: Work) -> None:
    _run(build, work, "bitstream", ("vdla.frames",), ("vdla.bit",))


def _firmware(build: Build, work: Work) -> None:
    work.target("vdla.bin").write_bytes(to_bin(work.source("vdla.bit").read_bytes()))
