"""The ECP5 flow: what it reads and refuses; and, slow, real bitstreams."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from hw.config import BOARDS, Board, Config
from hw.errors import ConfigError
from hw.harness.ulx3s import to_verilog
from hw.synth.build import find_flow, make_build
from hw.synth.ecp5_files import IDCODES, PREAMBLE, check_bitstream, design_name, device_of, path_lines
from hw.synth.engine import Work
from hw.synth.flow import Build, SynthesisError
from vdla.cli import run_cli

PART = "LFE5U-85F-6BG381C"
FLOW = find_flow("ecp5")


def build_of(folder: Path, config: Config | None = None, *options: str) -> Build:
    board = Board.load("ulx3s")
    return make_build(board, config or board.config, folder, FLOW, options=options)


def test_part_numbers() -> None:
    assert device_of(PART) == ("85k", "CABGA381", "6")
    assert device_of("LFE5U-25F-8BG256C") == ("25k", "CABGA256", "8")
    with pytest.raises(ConfigError, match="board.part: 'xc7z020clg400-1' is not a part of this flow"):
        device_of("xc7z020clg400-1")


def bitstream(size: str) -> bytes:
    identifier = IDCODES[size].to_bytes(4, "big")
    return b"\xff\x00Part\x00\xff" + PREAMBLE + b"\xff" * 4 + b"\x3b\x00\x00\x00\xe2\x00\x00\x00" + identifier + b"\x22"


def test_a_bitstream_must_be_for_the_part() -> None:
    check_bitstream(bitstream("85"), PART)
    with pytest.raises(SynthesisError, match="is for 0x41112043, LFE5U-85F-6BG381C is 0x41113043"):
        check_bitstream(bitstream("45"), PART)
    with pytest.raises(SynthesisError, match="preamble"):
        check_bitstream(b"\xff" * 100, PART)
    with pytest.raises(SynthesisError, match="is for nothing"):
        check_bitstream(PREAMBLE + b"\x22" + b"\x00" * 20, PART)


def test_names_are_the_designs() -> None:
    assert design_name("harness.vdla.core.fetch.word_LUT4_Z_1_A") == "vdla.core.fetch.word"
    assert design_name("harness.link.address_TRELLIS_FF_Q_3") == "link.address"
    assert design_name("led[3]") == "led[3]"


def test_the_critical_path_is_the_clocks_own() -> None:
    def step(kind: str, delay: float, net: str = "") -> dict[str, Any]:
        ends = {"from": {"cell": "harness.a_TRELLIS_FF_Q"}, "to": {"cell": "harness.b_TRELLIS_FF_Q"}}
        return {"type": kind, "delay": delay, "net": net, **ends}

    crossing = {"from": "posedge pin", "to": "posedge clk", "path": [step("logic", 9.0)]}
    own = [step("clk-to-q", 0.5), step("routing", 1.25, "harness.wire"), step("setup", 0.25)]
    report = {"critical_paths": [crossing, {"from": "posedge clk", "to": "posedge clk", "path": own}]}
    assert path_lines(report, "clk") == ["  0.50 ns  clk-to-q of a", "  1.75 ns  along wire", "  2.00 ns  setup of b"]


def test_a_design_that_does_not_fit_is_refused_before_routing(tmp_path: Path) -> None:
    build = build_of(tmp_path)
    cells = {"LUT4": 90_000, "CCU2C": 10, "DP16KD": 300, "MULT18X18D": 64}
    build.path("utilization.json").write_text(json.dumps({"design": {"num_cells_by_type": cells}}))
    step = next(s for s in FLOW.steps(build) if s.name == "fit")
    with pytest.raises(
        SynthesisError, match=r"needs 90,020 LUT, LFE5U-85F-6BG381C has 83,640; needs 300 DP16KD, .* 208"
    ):
        step.run(build, Work(build, step, tmp_path, tmp_path / "log"))


def test_a_board_without_pins_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = yaml.safe_load((BOARDS / "ulx3s.yaml").read_text())
    del data["board"]["harness"]
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(data))
    assert run_cli(["synth", "--board", str(path), "--flow", "ecp5", "-o", str(tmp_path / "build")]) != 0
    assert "board.harness: ulx3s has no harness" in capsys.readouterr().err


def test_constraints_and_design_have_the_same_pins() -> None:
    board = Board.load("ulx3s")
    tiny = Config.load("tiny").with_(clock_mhz=board.config.clock_mhz)
    header = to_verilog(board, tiny).split("module ulx3s(", 1)[1].split(")", 1)[0]
    located = {
        line.split('"')[1].split("[")[0] for line in (BOARDS / "ulx3s.lpf").read_text().splitlines() if "LOCATE" in line
    }
    assert located == {name.strip() for name in header.split(",")}


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [("--set", "vdla.block_in=4", "--set", "vdla.block_out=4"), ()])
def test_a_real_bitstream(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Minutes: yosys and the router on the board's machine, and on a quarter of it."""
    command = ["synth", "--board", "ulx3s", "--flow", "ecp5", "-o", str(tmp_path), *arguments]
    assert run_cli(command) == 0
    document = json.loads((tmp_path / "synth.json").read_text())
    assert (
        document["fits"]
        and document["fmax_mhz"] >= document["config"]["vdla"]["clock_mhz"]
        and document["critical_path"]
    )
    data = (tmp_path / "vdla.bit").read_bytes()
    check_bitstream(data, PART)
    # Nothing changed: all steps are up to date, and the same bitstream remains.
    assert run_cli(command) == 0
    assert (tmp_path / "vdla.bit").read_bytes() == data
