"""The Quartus flow: its Tcl in an interpreter that records the commands; reports; tools that only pretend."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from hw.config import Board
from hw.errors import ConfigError
from hw.synth.engine import run_flow
from hw.synth.flow import Build, SynthesisError
from hw.synth.parts import Part, Resources
from hw.synth.quartus import TOOLS, Quartus, utilization, worst_slack
from hw.synth.quartus_project import project_files
from hw.synth.zynq import port_widths
from tests.hw.synth.vendor_tcl import commands_of
from vdla.cli import run_cli

FIT = """Fitter Status : Successful - Sat Jan  1 00:00:00 2022
Logic utilization (in ALMs) : 20,123 / 41,910 ( 48 % )
Total registers : 31005
Total block memory bits : 2,623,488 / 5,662,720 ( 46 % )
Total RAM Blocks : 361 / 553 ( 65 % )
Total DSP Blocks : 112 / 112 ( 100 % )
"""
STA = """Type  : Slow 1100mV 100C Model Setup 'pll|altera_pll_i|general[0].gpll~PLL_OUTPUT_COUNTER|divclk'
Slack : {slack}
TNS   : 0.000

Type  : Slow 1100mV 100C Model Setup 'system_processor_hps_io_border:border|hps_sdram_inst|pll_write_clk'
Slack : -9.000
TNS   : 0.000

Type  : Slow 1100mV 100C Model Hold 'pll|altera_pll_i|general[0].gpll~PLL_OUTPUT_COUNTER|divclk'
Slack : -8.000
TNS   : 0.000

Type  : Slow 1100mV -40C Model Setup 'pll|altera_pll_i|general[0].gpll~PLL_OUTPUT_COUNTER|divclk'
Slack : 2.500
TNS   : 0.000
"""


def small() -> Board:
    """The DE10-Nano with a machine that is soon generated."""
    board, tiny = Board.load("de10-nano"), Board.load("tiny").config
    return Board(board.name, board.facts, tiny.with_(bus_bits=64, clock_mhz=100.0))


def build_of(board: Board, folder: Path, **options: Any) -> Build:
    given = {**{name: option.default for name, option in Quartus.options.items()}, **options}
    return Build(board, board.config, Part.of(board), folder, False, given)


def record(folder: Path, script: str, board: Board | None = None) -> list[list[str]]:
    for name, text in project_files(build_of(board or Board.load("de10-nano"), folder)).items():
        (folder / name).write_text(text, encoding="utf-8")
    commands = commands_of(folder / script)
    assert not [c for c in commands if c[0] == "FAILED"], commands[-1]
    return commands


def test_the_component_is_the_machine(tmp_path: Path) -> None:
    board = Board.load("de10-nano")
    commands = record(tmp_path, "vdla_hw.tcl")
    ports = {c[2]: (c[1], c[3], c[4], int(c[5])) for c in commands if c[0] == "add_interface_port"}
    widths = {name: port for name, port in port_widths(board.config).items() if not name.endswith("qos")}
    assert {name for name in ports if name.startswith(("axi_", "s_axil_"))} == set(widths)
    for name, (way, width) in widths.items():
        bus, role, direction, bits = ports[name]
        assert name == f"{bus}_{role}" and direction.removesuffix("put").lower() == way and bits == width
    assert {n: port[:2] for n, port in ports.items() if n not in widths} == {
        "clk": ("clk", "clk"), "rst": ("rst", "reset"), "interrupt": ("interrupt", "irq"),
        "trace_running": ("running", "export"),
    }  # fmt: skip
    kinds = {c[1]: c[2:] for c in commands if c[0] == "add_interface"}
    assert kinds["axi"] == ["axi", "start"] and kinds["s_axil"] == ["axi4lite", "end"] and "axi_wid" in ports
    properties = {tuple(c[1:3]): c[3] for c in commands if c[0] == "set_interface_property"}
    assert properties["axi", "readIssuingCapability"] == str(board.config.memory.read_outstanding)
    assert properties["interrupt", "associatedAddressablePoint"] == "s_axil"
    assert all(properties[bus, "associatedClock"] == "clk" for bus in kinds if bus not in ("clk", "running"))


def test_the_system_around_it(tmp_path: Path) -> None:
    board = Board.load("de10-nano")
    commands = record(tmp_path, "system.tcl", Board(board.name, board.facts, board.config.with_(clock_mhz=75.0)))
    instances = {c[1]: c[2] for c in commands if c[0] == "add_instance"}
    assert instances == {
        "board_clock": "altera_clock_bridge", "pll": "altera_pll", "processor": "altera_hps", "vdla": "vdla"
    }  # fmt: skip
    values = {(c[1], c[2]): c[3] if len(c) > 3 else "" for c in commands if c[0] == "set_instance_parameter_value"}
    assert values["pll", "gui_output_clock_frequency0"] == "75"
    assert values["pll", "gui_reference_clock_frequency"] == "50"
    assert values["board_clock", "EXPLICIT_CLOCK_RATE"] == "50000000"
    # Twice 32 bits; nothing at the ports that the boot loader would have to open.
    assert values["processor", "F2S_Width"] == "2" and values["processor", "F2SDRAM_Type"] == ""
    assert values["processor", "LWH2F_Enable"] == "true" and values["processor", "MEM_RTT_WR"] == "Dynamic ODT off"
    joined = {(c[1], c[2]) for c in commands if c[0] == "add_connection"}
    assert joined == {
        ("board_clock.out_clk", "pll.refclk"), ("processor.h2f_reset", "pll.reset"), ("pll.outclk0", "vdla.clk"),
        ("pll.outclk0", "processor.h2f_lw_axi_clock"), ("pll.outclk0", "processor.f2h_axi_clock"),
        ("processor.h2f_reset", "vdla.rst"), ("processor.h2f_lw_axi_master", "vdla.s_axil"),
        ("vdla.axi", "processor.f2h_axi_slave"), ("processor.f2h_irq0", "vdla.interrupt"),
    }  # fmt: skip
    parameters = {(c[1], c[2]): int(c[3], 0) for c in commands if c[0] == "set_connection_parameter_value"}
    base = board.facts["processor"]["registers"] - 0xFF20_0000
    assert parameters["processor.h2f_lw_axi_master/vdla.s_axil", "baseAddress"] == base
    assert parameters["vdla.axi/processor.f2h_axi_slave", "baseAddress"] == 0
    exported = {c[1]: c[3] for c in commands if c[0] == "set_interface_property"}
    assert exported == {"clk": "board_clock.in_clk", "memory": "processor.memory", "running": "vdla.running"}
    assert commands[-1] == ["save_system", "system.qsys"]


def test_assignments(tmp_path: Path) -> None:
    commands = record(tmp_path, "vdla.qsf")
    assigned = {c[2]: c[3] for c in commands if c[0] == "set_global_assignment"}
    assert (assigned["DEVICE"], assigned["TOP_LEVEL_ENTITY"]) == ("5CSEBA6U23I7", "system")
    pins = {c[3]: c[1] for c in commands if c[0] == "set_location_assignment"}
    assert pins == {"clk_clk": "PIN_V11", "running_export": "PIN_W15"}
    standards = {c[5]: c[3] for c in commands if c[0] == "set_instance_assignment"}
    assert standards == dict.fromkeys(pins, "3.3-V LVTTL")
    (clock,) = (c for c in record(tmp_path, "vdla.sdc") if c[0] == "create_clock")
    assert clock[clock.index("-period") + 1] == "20.000" and clock[-1] == "get_ports clk_clk"


@pytest.mark.parametrize(
    ("facts", "change", "key"),
    [({}, {"axi": "axi4"}, "vdla.axi"), ({}, {"bus_bits": 256}, "vdla.bus_bits"),
     ({"clock": {"mhz": 50}}, {}, "board.clock.pin"), ({"processor": None}, {}, "board.processor.registers"),
     ({"processor": {"registers": 0x43C0_0000}}, {}, "board.processor.registers")],
)  # fmt: skip
def test_what_does_not_fit(facts: dict[str, Any], change: dict[str, Any], key: str, tmp_path: Path) -> None:
    board = Board.load("de10-nano")
    with pytest.raises(ConfigError, match=key):
        project_files(build_of(Board(board.name, {**board.facts, **facts}, board.config.with_(**change)), tmp_path))


def test_reports() -> None:
    assert utilization(FIT) == Resources(40246, 31005, 112, 361)
    assert worst_slack(STA.format(slack="1.250")) == 1.25 and worst_slack(STA.format(slack="4")) == 2.5
    with pytest.raises(SynthesisError, match="no setup slack"):
        worst_slack("")
    with pytest.raises(SynthesisError, match="Total DSP Blocks"):
        utilization(FIT.replace("DSP", "---"))


FAKE = """#!{python}
import json, os, sys
tool = os.path.basename(sys.argv[0])
open({log!r}, "a").write(json.dumps([tool, *sys.argv[1:]]) + "\\n")
if tool == os.environ.get("FAKE_FAILS"):
    sys.exit("Error (170012): Fitter requires 9000 LABs to implement the design")
if tool == "qsys-script":
    assert all(os.path.exists(name) for name in ("vdla.v", "vdla_hw.tcl", "system.tcl"))
if tool == "qsys-generate":
    os.makedirs("system/synthesis")
    open("system/synthesis/hps_sdram_p0_pin_assignments.tcl", "w").close()
if tool == "quartus_sh":
    os.makedirs("output_files")
    for name, text in {files!r}.items():
        open("output_files/vdla." + name, "w").write(text)
"""


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    log, binaries = tmp_path / "calls", tmp_path / "bin"
    binaries.mkdir()
    files = {"sof": "sof", "rbf": "rbf", "fit.summary": FIT, "sta.summary": STA.format(slack="-1.250")}
    for name in TOOLS:
        (binaries / name).write_text(FAKE.format(python=sys.executable, log=str(log), files=files), encoding="utf-8")
        (binaries / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{binaries}{os.pathsep}{os.environ['PATH']}")
    return log


def test_quartus_is_called_and_its_reports_read(tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "build"
    monkeypatch.setenv("FAKE_FAILS", "quartus_sh")
    with pytest.raises(SynthesisError, match="requires 9000 LABs"):
        run_flow(Quartus(), build_of(small(), folder))
    monkeypatch.delenv("FAKE_FAILS")
    tools.unlink()
    with pytest.raises(SynthesisError, match="100 MHz is not reached, 88.9 MHz is"):
        run_flow(Quartus(), build_of(small(), folder))
    result = run_flow(Quartus(), build_of(small(), folder, allow_timing_fail=True))
    called = [json.loads(line) for line in tools.read_text(encoding="utf-8").splitlines()]
    assert [call[0] for call in called] == [
        "qsys-script", "qsys-generate", "quartus_map", "quartus_sta", "quartus_sh", "quartus_cpf"
    ]  # fmt: skip
    assert called[3][2] == "system/synthesis/hps_sdram_p0_pin_assignments.tcl"
    assert called[4][1:] == ["--flow", "compile", "vdla"]
    assert called[5][-2:] == ["output_files/vdla.sof", "output_files/vdla.rbf"]
    assert result.used.dsp == 112 and result.fmax_mhz == 88.89
    assert (folder / "vdla.rbf").read_text(encoding="utf-8") == "rbf"


def test_without_quartus_the_project_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "build"
    arguments = ["--board", "de10-nano", "--flow", "quartus", "--set", "vdla.block_in=4", "--set", "vdla.block_out=4"]
    assert run_cli(["synth", *arguments, "-o", str(folder)]) == 0
    document = json.loads((folder / "synth.json").read_text(encoding="utf-8"))
    assert document["bitstream"] is False and document["fmax_mhz"] is None
    assert all((folder / name).is_file() for name in document["files"])
    assert any(f"cd {folder} && sh build.sh" in note for note in document["notes"])
    assert "quartus_sh" in capsys.readouterr().out
