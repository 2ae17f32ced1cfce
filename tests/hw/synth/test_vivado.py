"""The Vivado flow: its Tcl in an interpreter that records the commands; reports; a tool that only pretends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hw.config import Board
from hw.errors import ConfigError
from hw.rtl import axi
from hw.rtl.registers import REGISTERS
from hw.synth.engine import run_flow
from hw.synth.flow import Build, SynthesisError
from hw.synth.parts import Part, Resources
from hw.synth.vivado import Vivado
from hw.synth.vivado_project import project_files
from hw.synth.vivado_reports import critical_path, total_utilization, unit_utilization, worst_slack
from hw.synth.zynq import port_widths
from tests.hw.synth.vendor_tcl import words_of
from vdla.cli import run_cli

BOARDS = ("pynq-z1", "pynq-z2", "ultra96")
RECORDER = r"""
# Every command that Tcl does not know is written down, one a line as a list, and answers with its own words.
set record [open [lindex $argv 1] w]
proc note {words} {
    puts $::record [string map {\n { }} $words]
    return $words
}
proc unknown {args} {
    if {$args eq {version -short}} { return [lindex $::argv 2] }
    if {[lindex $args 0] eq "get_property" && [lindex $args 1] eq "PROGRESS"} { return 100% }
    if {[lindex $args 0] eq "get_property" && [lindex $args 1] eq "DIRECTORY"} { return /runs }
    if {[lindex $args 0] eq "get_ipdefs"} {
        set name [lindex [split [lindex $args end] :] 2]
        return [list xilinx.com:ip:$name:9.0 xilinx.com:ip:$name:10.1]
    }
    if {[lindex $args 0] eq "get_board_parts"} { return {} }
    if {[string match get_* [lindex $args 0]] || [string match ipx::get_* [lindex $args 0]]} { return $args }
    return [note $args]
}
rename file real_file
proc file {what args} {
    if {$what eq "copy"} { return [note [list file copy {*}$args]] }
    return [real_file $what {*}$args]
}
proc glob {args} { return [lindex $args end] }
set script [lindex $argv 0]
if {[catch {uplevel #0 [list source $script]} message]} { puts $record [list FAILED $message] }
close $record
"""


def build_of(board: Board, folder: Path, **options: Any) -> Build:
    given = {**{name: option.default for name, option in Vivado.options.items()}, **options}
    return Build(board, board.config, Part.of(board), folder, False, given)


def record(board: Board, folder: Path, version: str = "2024.1", **options: Any) -> list[list[str]]:
    """The vendor's commands that the project runs, each as its words."""
    for name, text in project_files(build_of(board, folder, **options)).items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "recorder.tcl").write_text(RECORDER, encoding="utf-8")
    log = folder / "record"
    subprocess.run(
        ["tclsh", folder / "recorder.tcl", folder / "build.tcl", log, version], check=True, capture_output=True
    )
    return words_of(log)


def settings_of(commands: list[list[str]], target: str) -> dict[str, str]:
    """What ``set_property -dict`` sets on a cell."""
    dictionaries = [c for c in commands if c[:2] == ["set_property", "-dict"] and target in c[3]]
    words = next(c[2] for c in dictionaries if "PCW_USE" in c[2] or "PSU__USE" in c[2])
    text = f'foreach {{name value}} {{{words}}} {{puts "$name=$value"}}'
    lines = subprocess.run(["tclsh"], input=text, text=True, check=True, capture_output=True).stdout.splitlines()
    return dict(line.removeprefix("CONFIG.").split("=", 1) for line in lines)


@pytest.mark.parametrize("name", BOARDS)
def test_the_core_is_the_machine(name: str, tmp_path: Path) -> None:
    board = Board.load(name)
    commands = record(board, tmp_path)
    assert not [c for c in commands if c[0] == "FAILED"], commands[-1]
    mapped = {}
    for command in commands:
        if command[0] == "set_property" and command[1] == "physical_name":
            signal = command[3].split()[1]
            mapped[command[2]] = signal
    widths = port_widths(board.config)
    buses = {port: signal for port, signal in mapped.items() if port in widths}
    assert set(buses) == set(widths)
    assert all(port.endswith("_" + signal.lower()) for port, signal in buses.items())
    assert {port: signal for port, signal in mapped.items() if port not in widths} == {
        "clk": "CLK", "rst": "RST", "interrupt": "INTERRUPT"
    }  # fmt: skip
    assert ("axi_wid" in mapped) == (board.config.axi == "axi3")
    values = {c[3].split()[1]: c[2] for c in commands if c[:2] == ["set_property", "value"] and "{add" not in c[3]}
    assert values["DATA_WIDTH"] == str(board.config.bus_bits) and values["PROTOCOL"] == board.config.axi.upper()
    assert values["ID_WIDTH"] == str(axi.ID_BITS) and values["POLARITY"] == "ACTIVE_HIGH"
    assert values["ASSOCIATED_BUSIF"] == "axi:s_axil" and values["ASSOCIATED_RESET"] == "rst"
    registers = [c[1] for c in commands if c[0] == "ipx::add_register"]
    assert registers == [register.name for register in REGISTERS]
    offsets = [int(c[2], 16) for c in commands if c[:2] == ["set_property", "address_offset"]]
    assert offsets == [register.offset for register in REGISTERS]
    assert ["set_property", "range", "4096"] in [c[:3] for c in commands]


@pytest.mark.parametrize("name", BOARDS)
def test_the_design_around_it(name: str, tmp_path: Path) -> None:
    board = Board.load(name)
    commands = record(board, tmp_path)
    projects = [c for c in commands if c[0] == "create_project"]
    assert all(board.facts["part"] in c for c in projects) and len(projects) == 2
    ultrascale = name == "ultra96"
    ps = "zynq_ultra_ps_e" if ultrascale else "processing_system7"
    # The newest installed version: 10.1 is newer than 9.0.
    cells = {c[-1]: c[-2] for c in commands if c[0] == "create_bd_cell"}
    assert cells == {
        f"{ps}_0": f"xilinx.com:ip:{ps}:10.1", "vdla_0": "vdla:user:vdla:1.0",
        "reset_0": "xilinx.com:ip:proc_sys_reset:10.1", "registers_0": "xilinx.com:ip:smartconnect:10.1",
        "memory_0": "xilinx.com:ip:smartconnect:10.1",
    }  # fmt: skip
    settings = settings_of(commands, f"{ps}_0")
    clock = "PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ" if ultrascale else "PCW_FPGA0_PERIPHERAL_FREQMHZ"
    assert float(settings[clock]) == board.config.clock_mhz
    width = "PSU__SAXIGP2__DATA_WIDTH" if ultrascale else "PCW_S_AXI_HP0_DATA_WIDTH"
    assert int(settings[width]) == board.config.bus_bits
    master, slave = ("M_AXI_HPM0_FPD", "S_AXI_HP0_FPD") if ultrascale else ("M_AXI_GP0", "S_AXI_HP0")
    buses = [tuple(word.split()[-1] for word in c[1:]) for c in commands if c[0] == "connect_bd_intf_net"]
    assert buses == [
        (f"{ps}_0/{master}", "registers_0/S00_AXI"), ("registers_0/M00_AXI", "vdla_0/s_axil"),
        ("vdla_0/axi", "memory_0/S00_AXI"), ("memory_0/M00_AXI", f"{ps}_0/{slave}"),
    ]  # fmt: skip
    nets = {word.split()[-1]: c[1].split()[-1] for c in commands if c[0] == "connect_bd_net" for word in c[2:]}
    source = f"{ps}_0/{'pl_clk0' if ultrascale else 'FCLK_CLK0'}"
    for pin in ("vdla_0/clk", "reset_0/slowest_sync_clk", "registers_0/aclk", "memory_0/aclk"):
        assert nets[pin] == source
    assert nets["vdla_0/rst"] == "reset_0/peripheral_reset"
    assert nets[f"{ps}_0/{'pl_ps_irq0' if ultrascale else 'IRQ_F2P'}"] == "vdla_0/interrupt"
    registers, memory = (c for c in commands if c[0] == "assign_bd_address")
    assert int(registers[registers.index("-offset") + 1], 16) == board.facts["processor"]["registers"]
    assert registers[registers.index("-range") + 1] == "4096"
    assert memory[memory.index("-range") + 1] == f"{board.facts['dram_mib']}M"
    copied = [c[-1] for c in commands if c[:2] == ["file", "copy"]]
    assert [Path(path).name for path in copied] == ["vdla.bit", "vdla.hwh"]


def test_the_interrupt_by_way_of_a_controller(tmp_path: Path) -> None:
    commands = record(Board.load("pynq-z1"), tmp_path, interrupt_controller=True)
    assert ("create_bd_cell", "interrupts_0") in {(c[0], c[-1]) for c in commands}
    buses = {tuple(word.split()[-1] for word in c[1:]) for c in commands if c[0] == "connect_bd_intf_net"}
    assert ("registers_0/M01_AXI", "interrupts_0/s_axi") in buses
    nets = {word.split()[-1]: c[1].split()[-1] for c in commands if c[0] == "connect_bd_net" for word in c[2:]}
    assert nets["interrupts_0/intr"] == "vdla_0/interrupt"
    assert nets["processing_system7_0/IRQ_F2P"] == "interrupts_0/irq"
    assert nets["interrupts_0/s_axi_aclk"] == "processing_system7_0/FCLK_CLK0"
    assert nets["interrupts_0/s_axi_aresetn"] == "reset_0/peripheral_aresetn"
    ranges = [int(c[c.index("-offset") + 1], 16) for c in commands if c[0] == "assign_bd_address"]
    assert ranges == [0x43C0_0000, 0x43C1_0000, 0]


def test_old_versions_are_refused(tmp_path: Path) -> None:
    (failed,) = (c for c in record(Board.load("pynq-z1"), tmp_path, "2019.2") if c[0] == "FAILED")
    assert "2020.1 or later is needed, this is 2019.2" in failed[1]


@pytest.mark.parametrize(
    ("name", "change"), [("pynq-z1", {"axi": "axi4"}), ("ultra96", {"axi": "axi3", "burst_beats": 16}),
                         ("ultra96", {"bus_bits": 256}), ("pynq-z1", {"bus_bits": 128})]
)  # fmt: skip
def test_machines_that_do_not_fit(name: str, change: dict[str, Any], tmp_path: Path) -> None:
    board = Board.load(name)
    with pytest.raises(ConfigError):
        project_files(build_of(Board(name, board.facts, board.config.with_(**change)), tmp_path))


# ---- reports ------------------------------------------------------------------------------------------------------

UTILIZATION = """
+----------------------------+-------+-------+-----------+-------+
|          Site Type         |  Used | Fixed | Available | Util% |
+----------------------------+-------+-------+-----------+-------+
| Slice LUTs*                | 24123 |     0 |     53200 | 45.34 |
|   LUT as Logic             | 23499 |     0 |     53200 | 44.17 |
| Slice Registers            | 12011 |     0 |    106400 | 11.29 |
| Block RAM Tile             | 105.5 |     0 |       140 | 75.36 |
| DSPs                       |   162 |     0 |       220 | 73.64 |
"""
HIERARCHY = """
| Instance            | Module         | Total LUTs | Logic LUTs | LUTRAMs | SRLs | FFs | RAMB36 | RAMB18 | DSP Blocks |
+---------------------+----------------+------------+------------+---------+------+-----+--------+--------+------------+
| system_wrapper      |          (top) |        100 |        100 |       0 |    0 |  90 |      3 |      1 |          4 |
|   system_i          |         system |        100 |        100 |       0 |    0 |  90 |      3 |      1 |          4 |
|     vdla_0          |  system_vdla_0 |         80 |         80 |       0 |    0 |  70 |      3 |      1 |          4 |
|       inst          |           vdla |         80 |         80 |       0 |    0 |  70 |      3 |      1 |          4 |
|         (inst)      |           vdla |          5 |          5 |       0 |    0 |   1 |      0 |      0 |          0 |
|         core        |      vdla_core |         75 |         75 |       0 |    0 |  69 |      3 |      1 |          4 |
|           (core)    |      vdla_core |         10 |         10 |       0 |    0 |   9 |      0 |      0 |          0 |
|           compute   |   vdla_compute |         65 |         65 |       0 |    0 |  60 |      3 |      1 |          4 |
"""
TIMING = """
    WNS(ns)      TNS(ns)  TNS Failing Endpoints  TNS Total Endpoints      WHS(ns)
    -------      -------  ---------------------  -------------------      -------
     {slack}      0.000                      0                36543        0.021

Slack (MET) :             1.250ns  (required time - arrival time)
  Source:                 system_i/vdla_0/inst/core/a_reg/C
  Destination:            system_i/vdla_0/inst/core/b_reg/D
"""


def test_reports() -> None:
    assert total_utilization(UTILIZATION) == Resources(24123, 12011, 162, 105.5)
    assert unit_utilization(HIERARCHY) == {
        "vdla": Resources(5, 1, 0, 0), "core": Resources(10, 9, 0, 0), "core.compute": Resources(65, 60, 4, 3.5)
    }  # fmt: skip
    assert worst_slack(TIMING.format(slack=" 1.250")) == 1.25 and worst_slack(TIMING.format(slack="-0.5")) == -0.5
    assert critical_path(TIMING) == ["system_i/vdla_0/inst/core/a_reg/C", "system_i/vdla_0/inst/core/b_reg/D"]
    for broken in ("", "WNS(ns)\n---\nNA\n"):
        with pytest.raises(SynthesisError):
            worst_slack(broken)
    with pytest.raises(SynthesisError, match="DSPs"):
        total_utilization(UTILIZATION.replace("DSPs", "----"))


# ---- the steps ----------------------------------------------------------------------------------------------------

FAKE = """#!{python}
import json, os, sys
open({log!r}, "a").write(json.dumps(sys.argv[1:]) + "\\n")
assert all(os.path.exists(name) for name in ("vdla.v", "build.tcl", "package_ip.tcl", "vdla.xdc"))
if os.environ.get("FAKE_FAILS"):
    print("ERROR: [Place 30-640] This design requires more slices\\nINFO: 1 Warnings and 2 Errors encountered.")
    sys.exit(1)
for name, text in {files!r}.items():
    open(name, "w").write(text)
"""


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    log, binaries = tmp_path / "calls", tmp_path / "bin"
    binaries.mkdir()
    files = {
        "vdla.bit": "bit", "vdla.hwh": "hwh", "utilization.rpt": UTILIZATION,
        "utilization_hierarchical.rpt": HIERARCHY, "timing.rpt": TIMING.format(slack="-1.250"),
    }  # fmt: skip
    fake = binaries / "vivado"
    fake.write_text(FAKE.format(python=sys.executable, log=str(log), files=files), encoding="utf-8")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{binaries}{os.pathsep}{os.environ['PATH']}")
    return log


def small() -> Board:
    """The PYNQ-Z1 with a machine that is soon generated."""
    board, tiny = Board.load("pynq-z1"), Board.load("tiny").config
    return Board(board.name, board.facts, tiny.with_(bus_bits=64, clock_mhz=100.0))


def test_vivado_is_called_and_its_reports_read(tool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "build"
    monkeypatch.setenv("FAKE_FAILS", "1")
    with pytest.raises(SynthesisError, match="requires more slices"):
        run_flow(Vivado(), build_of(small(), folder))
    monkeypatch.delenv("FAKE_FAILS")
    with pytest.raises(SynthesisError, match="100 MHz is not reached, 88.9 MHz is"):
        run_flow(Vivado(), build_of(small(), folder))
    result = run_flow(Vivado(), build_of(small(), folder, allow_timing_fail=True))
    called = [json.loads(line) for line in tool.read_text(encoding="utf-8").splitlines()]
    assert called == [["-mode", "batch", "-source", "build.tcl", "-nojournal", "-log", "vivado.log"]] * 2
    assert result.used.dsp == 162 and result.fmax_mhz == 88.89 and result.units["core.compute"].dsp == 4
    assert (folder / "vdla.bit").read_text(encoding="utf-8") == "bit"


def test_without_vivado_the_project_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hw.synth.vivado.shutil.which", lambda _: None)
    result = run_flow(Vivado(), build_of(small(), tmp_path / "build"))
    assert all((tmp_path / "build" / name).is_file() for name in result.files)
    assert f"cd {tmp_path / 'build'} && vivado -mode batch -source build.tcl" in result.notes[1]


def test_the_command_line(tool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "build"
    arguments = ["synth", "--board", "pynq-z1", "--flow", "vivado", "-o", str(folder)]
    arguments += ["--set", "vdla.block_in=4", "--set", "vdla.block_out=4"]
    assert run_cli(arguments) == 2
    assert "100 MHz is not reached" in capsys.readouterr().err and not (folder / "synth.json").exists()
    assert run_cli([*arguments, "--option", "allow_timing_fail=true"]) == 0
    assert "used" in (shown := capsys.readouterr().out) and "162" in shown
    document = json.loads((folder / "synth.json").read_text(encoding="utf-8"))
    assert (document["schema"], document["flow"], document["bitstream"]) == ("vdla.synth/1", "vivado", True)
    assert document["used"] == {"lut": 24123, "ff": 12011, "dsp": 162, "bram": 105.5}
    assert document["fmax_mhz"] == 88.89 and document["options"]["allow_timing_fail"] is True
    assert all((folder / name).is_file() for name in document["files"])
    assert len(tool.read_text(encoding="utf-8").splitlines()) == 1
    assert run_cli(["synth", "--board", "de10-nano", "--flow", "vivado", "-o", str(tmp_path / "other")]) == 2
    assert "de10-nano has a cyclonev part, for which there is --flow quartus or yosys" in capsys.readouterr().err
