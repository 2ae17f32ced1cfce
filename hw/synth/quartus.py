"""Intel's flow for Cyclone V with a processor: Platform Designer joins machine and processor, Quartus implements them.

Where a tool is missing, the build ends with the project, which `sh build.sh` builds elsewhere.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence

from hw.synth.engine import Work
from hw.synth.flow import Build, Flow, Option, Result, Step, SynthesisError, project_step, register, verilog_step
from hw.synth.parts import Resources
from hw.synth.quartus_project import COMPONENT, SCRIPT, SYSTEM, project_files

TOOLS = ("quartus_sh", "qsys-script", "qsys-generate", "quartus_map", "quartus_sta", "quartus_cpf")
INSTALL = "put Quartus Prime 17.0 or later on PATH"
PROJECT = (COMPONENT, SYSTEM, "vdla.qpf", "vdla.qsf", "vdla.sdc", SCRIPT)
MADE = {
    "vdla.sof": "output_files/vdla.sof",
    "vdla.rbf": "output_files/vdla.rbf",
    "fit.summary": "output_files/vdla.fit.summary",
    "sta.summary": "output_files/vdla.sta.summary",
}
"""What Quartus leaves, by its name in the build."""
SUMMARY = "timing.json"
ALUTS = 2
"""Look-up tables of an ALM, which is what Quartus counts."""
SETUP = re.compile(r"Type\s*:.*Setup '([^']*)'\s*Slack\s*:\s*(-?[\d.]+)")
"""A clock's worst setup slack under one condition."""
PLL_CLOCK = "divclk"
"""In the name that Quartus gives to a PLL's output."""


@register
class Quartus(Flow):
    """Steps: verilog, project; then, if Quartus is there: quartus, timing."""

    name = "quartus"
    about = "bitstream for Cyclone V with Quartus, or its project where Quartus is not installed"
    families = ("cyclonev",)
    options: Mapping[str, Option] = {
        "seed": Option(1, "of the placer"),
        "jobs": Option(2, "processors that Quartus may use"),
        "allow_timing_fail": Option(False, "accept a bitstream whose clock is not reached"),
    }

    def steps(self, build: Build) -> Sequence[Step]:
        steps = [verilog_step(build), project_step(project_files(build))]
        if not missing():
            settings = {"clock_mhz": build.config.clock_mhz, **build.options}
            steps += [
                Step("quartus", ("vdla.v", *PROJECT), tuple(MADE), _build),
                Step("timing", ("sta.summary",), (SUMMARY,), _check_timing, settings),
            ]
        return steps

    def result(self, build: Build) -> Result:
        absent = missing()
        if absent:
            notes = [
                f"{', '.join(absent)} not on PATH, so nothing is known of size and clock",
                f"to build the bitstream: cd {build.folder} && sh {SCRIPT}",
            ]
            return Result(Resources(), files=("vdla.v", *PROJECT), notes=notes, extra={"bitstream": False})
        timing = json.loads(build.path(SUMMARY).read_text(encoding="utf-8"))
        return Result(
            utilization(build.path("fit.summary").read_text(encoding="utf-8")),
            fmax_mhz=timing["fmax_mhz"],
            fmax_tool="Quartus after routing, from the worst setup slack of all conditions",
            files=tuple(MADE),
            notes=["look-up tables are twice the ALMs, of which Quartus may use one for two"],
            extra={"bitstream": True, "worst_slack_ns": timing["slack_ns"]},
        )


def missing() -> list[str]:
    """Which of the tools are not on PATH."""
    return [tool for tool in TOOLS if shutil.which(tool) is None]


def utilization(summary: str) -> Resources:
    """What a design takes, from the fitter's summary. Raises SynthesisError if it lacks a line."""
    counts = []
    for line in ("Logic utilization (in ALMs)", "Total registers", "Total DSP Blocks", "Total RAM Blocks"):
        found = re.search(rf"^{re.escape(line)}\s*:\s*([\d,]+)", summary, re.MULTILINE)
        if found is None:
            raise SynthesisError(f"the fitter's summary has no line '{line}'")
        counts.append(int(found[1].replace(",", "")))
    alms, registers, dsps, rams = counts
    return Resources(ALUTS * alms, registers, dsps, rams)


def worst_slack(summary: str) -> float:
    """Worst setup slack in ns of the machine's clock over all conditions, from the timing analyser's summary.

    Raises SynthesisError if it has none.
    """
    slacks = [float(slack) for clock, slack in SETUP.findall(summary) if PLL_CLOCK in clock]
    if not slacks:
        raise SynthesisError("the timing analyser's summary has no setup slack of the PLL's clock")
    return min(slacks)


def _build(build: Build, work: Work) -> None:
    for name in ("vdla.v", *PROJECT):
        shutil.copyfile(work.source(name), work.folder / name)
    work.tool(["sh", SCRIPT], install=INSTALL)
    for name, left in MADE.items():
        if not (work.folder / left).is_file():
            raise SynthesisError(f"Quartus ended without writing {left}", work.log)
        shutil.move(work.folder / left, work.target(name))


def _check_timing(build: Build, work: Work) -> None:
    slack = worst_slack(work.source("sta.summary").read_text(encoding="utf-8"))
    fmax = 1000 / (1000 / build.config.clock_mhz - slack)
    if slack < 0 and not build.options["allow_timing_fail"]:
        reason = f"{build.config.clock_mhz:g} MHz is not reached, {fmax:.1f} MHz is (slack {slack:g} ns)"
        raise SynthesisError(f"{reason}; lower vdla.clock_mhz or give --option allow_timing_fail=true", work.log)
    document = {"slack_ns": slack, "fmax_mhz": round(fmax, 2)}
    work.target(SUMMARY).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
