"""The command line: exit codes, output for people and for programs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests import handmade
from vdla.cli import COMMANDS, run_cli


@pytest.fixture
def model(tmp_path: Path) -> str:
    """The handmade artifact on disk."""
    path = tmp_path / "handmade.vdla"
    handmade.artifact().save(path)
    return str(path)


@pytest.mark.parametrize(
    "command", [[], *([name] for name in COMMANDS), ["config", "list"], ["config", "show"], ["config", "check"]]
)
def test_every_command_has_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli([*command, "--help"]) == 0
    assert "Usage: vdla" in capsys.readouterr().out


def test_the_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["--help"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.partition("Commands:")[2].splitlines() if line]
    assert listed == sorted(COMMANDS)


def test_a_command_imports_what_it_needs() -> None:
    script = (
        "import sys; from vdla.cli import run_cli; run_cli(['inspect', '--help']); "
        "print([name for name in ('matplotlib', 'amaranth', 'onnx', 'llvmlite') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_run_artifact_prints_a_table(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["run", model]) == 0
    out = capsys.readouterr().out
    for part in ("fc", "relu", "main stall", "cycles", "compiled in 0.25 s", "cycle simulation in", "output y"):
        assert part in out, part


def test_run_reads_inputs_and_writes_outputs(model: str, tmp_path: Path) -> None:
    x = handmade.example_input(9)
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", x=x)
    for given in ("x.npy", "x.npz"):
        arguments = ["run", model, "--sim", "functional", "--input", str(tmp_path / given)]
        assert run_cli([*arguments, "--output", str(tmp_path / "y.npz")]) == 0
        with np.load(tmp_path / "y.npz") as saved:
            assert saved.files == ["y"]
            assert np.array_equal(saved["y"], handmade.expected(x))


def test_run_json_is_the_report(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["run", model, "--json", "--report", str(tmp_path / "out")]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == json.loads((tmp_path / "out" / "report.json").read_text())


def test_run_may_change_the_memory_of_an_artifact(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    cycles = []
    for latency in (12, 60):
        assert run_cli(["run", model, "--json", "--set", f"memory.read_latency={latency}"]) == 0
        cycles.append(json.loads(capsys.readouterr().out)["totals"]["cycles"])
    assert cycles[1] >= cycles[0] + 2 * 48


def test_inspect(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["inspect", model]) == 0
    out = capsys.readouterr().out
    assert "input x: int8[3,4]" in out and "12 instructions in 1 program" in out
    assert "results leave the integers on the CPU" in out
    assert run_cli(["inspect", model, "--disasm"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("# fc (dense)") and "\nrequant" in out
    assert run_cli(["inspect", model, "--json", "--disasm"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["steps"][0]["n_instr"] == 12 and "sync" in document["disassembly"][0][9]


def test_config_list_show_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["config", "list", "--json"]) == 0
    assert "pynq-z1" in [config["name"] for config in json.loads(capsys.readouterr().out)]
    assert run_cli(["config", "list"]) == 0
    assert "ultra96" in capsys.readouterr().out
    assert run_cli(["config", "show", "pynq-z1", "--set", "vdla.block_out=32"]) == 0
    out = capsys.readouterr().out
    assert "vdla.block_out" in out and "fingerprint" in out and "macs_per_cycle: 512" in out
    own = tmp_path / "mine.yaml"
    own.write_text("name: mine\nvdla: {block_in: 8}\n")
    assert run_cli(["config", "check", str(own), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["vdla"]["block_in"] == 8


def test_report_shows_and_compares(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, latency in (("a", 12), ("b", 60)):
        arguments = ["run", model, "--set", f"memory.read_latency={latency}", "--report", str(tmp_path / name)]
        assert run_cli(arguments) == 0
    capsys.readouterr()
    assert run_cli(["report", str(tmp_path / "a")]) == 0
    assert "where the cycles went" in capsys.readouterr().out
    assert run_cli(["report", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    assert "memory.read_latency 12 -> 60" in capsys.readouterr().out


def test_console_script_exits_with_the_code(model: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vdla"]
    good = subprocess.run([*command, "inspect", model], capture_output=True, text=True)
    assert good.returncode == 0 and good.stderr == ""
    bad = subprocess.run([*command, "inspect", str(tmp_path / "absent.vdla")], capture_output=True, text=True)
    assert bad.returncode == 2 and bad.stdout == ""
    assert bad.stderr.startswith("error: ") and bad.stderr.count("\n") == 1
