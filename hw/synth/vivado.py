"""The vendor's flow for Zynq-7000 and Zynq UltraScale+: an IP core, a block design around it, Vivado in batch mode.

Without Vivado on PATH the build ends with the project, which `vivado -mode batch -source build.tcl` builds elsewhere.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence

from hw.synth.engine import Work
from hw.synth.flow import Build, Flow, Option, Result, Step, SynthesisError, project_step, register, verilog_step
from hw.synth.parts import Resources
from hw.synth.vivado_project import BUILD, project_files
from hw.synth.vivado_reports import critical_path, total_utilization, unit_utilization, worst_slack

TOOL = "vivado"
COMMAND = (TOOL, "-mode", "batch", "-source", BUILD, "-nojournal", "-log", "vivado.log")
INSTALL = "put Vivado 2020.1 or later on PATH"
UTILIZATION, UNITS, TIMING = "utilization.rpt", "utilization_hierarchical.rpt", "timing.rpt"
SUMMARY = "timing.json"
PROJECT = ("build.tcl", "package_ip.tcl", "vdla.xdc")


@register
class Vivado(Flow):
    """Steps: verilog, project; then, if Vivado is there: vivado, timing."""

    name = "vivado"
    about = "bitstream for Zynq with Vivado, or its project where Vivado is not installed"
    families = ("xc7", "xcup")
    options: Mapping[str, Option] = {
        "jobs": Option(2, "processes that Vivado may run at once"),
        "interrupt_controller": Option(False, "an AXI interrupt controller, through which PYNQ finds the interrupt"),
        "allow_timing_fail": Option(False, "accept a bitstream whose clock is not reached"),
    }

    def steps(self, build: Build) -> Sequence[Step]:
        steps = [verilog_step(build), project_step(project_files(build))]
        if shutil.which(TOOL):
            made = ("vdla.bit", "vdla.hwh", UTILIZATION, UNITS, TIMING)
            steps += [
                Step("vivado", ("vdla.v", *PROJECT), made, _build),
                Step(
                    "timing",
                    (TIMING,),
                    (SUMMARY,),
                    _check_timing,
                    {"clock_mhz": build.config.clock_mhz, **build.options},
                ),
            ]
        return steps

    def result(self, build: Build) -> Result:
        if not shutil.which(TOOL):
            where = f"cd {build.folder} && {TOOL} -mode batch -source {BUILD}"
            notes = [
                f"{TOOL} is not on PATH, so nothing is known of size and clock",
                f"to build the bitstream: {where}",
            ]
            return Result(Resources(), files=("vdla.v", *PROJECT), notes=notes, extra={"bitstream": False})
        timing = json.loads(build.path(SUMMARY).read_text(encoding="utf-8"))
        return Result(
            total_utilization(build.path(UTILIZATION).read_text(encoding="utf-8")),
            units=unit_utilization(build.path(UNITS).read_text(encoding="utf-8")),
            fmax_mhz=timing["fmax_mhz"],
            fmax_tool="Vivado after routing, from the worst setup slack",
            critical_path=timing["path"],
            files=("vdla.bit", "vdla.hwh", UTILIZATION, TIMING),
            extra={"bitstream": True, "worst_slack_ns": timing["slack_ns"]},
        )


def _build(build: Build, work: Work) -> None:
    for name in ("vdla.v", *PROJECT):
        shutil.copyfile(work.source(name), work.folder / name)
    try:
        work.tool(COMMAND, install=INSTALL)
    except SynthesisError as error:
        # Vivado ends with counts of errors; the first error is what a person wants to read.
        lines = work.log.read_text(encoding="utf-8", errors="replace").splitlines()
        first = next((line.strip() for line in lines if line.startswith("ERROR:")), None)
        if first is None:
            raise
        raise SynthesisError(f"{TOOL} failed: {first.removeprefix('ERROR:').strip()}", error.log) from None
    for name in ("vdla.bit", "vdla.hwh", UTILIZATION, UNITS, TIMING):
        if not (work.folder / name).is_file():
            raise SynthesisError(f"{TOOL} ended without writing {name}", work.log)
        shutil.move(work.folder / name, work.target(name))


def _check_timing(build: Build, work: Work) -> None:
    report = work.source(TIMING).read_text(encoding="utf-8")
    slack = worst_slack(report)
    fmax = 1000 / (1000 / build.config.clock_mhz - slack)
    if slack < 0 and not build.options["allow_timing_fail"]:
        reason = f"{build.config.clock_mhz:g} MHz is not reached, {fmax:.1f} MHz is (slack {slack:g} ns)"
        raise SynthesisError(f"{reason}; lower vdla.clock_mhz or give --option allow_timing_fail=true", work.log)
    document = {"slack_ns": slack, "fmax_mhz": round(fmax, 2), "path": critical_path(report)}
    work.target(SUMMARY).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
