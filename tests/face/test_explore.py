"""Exploring machines: every combination is a row, refusals too; what may be compared is; files follow the schema."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from rich.console import Console

import vdla
import vdla.report
from hw.config import Config
from hw.errors import ConfigError
from runtime.errors import InputError
from vdla.cli import run_cli
from vdla.cli.explore import parse_grid, time_left
from vdla.errors import ReportError, UsageError
from vdla.report.exploration import pareto, print_exploration

SCHEMA = json.loads((Path(vdla.report.__file__).parent / "explore_schema.json").read_text())
GRID = {"vdla.block_out": [4, 8], "vdla.bus_bits": [32, 48, 64]}


@pytest.fixture(scope="module")
def explored() -> vdla.Exploration:
    return vdla.explore("mlp", config="tiny", grid=GRID)


@pytest.fixture(scope="module")
def with_moves() -> vdla.Exploration:
    """The first machine has no room for a convolution's weights."""
    return vdla.explore("resnet_tiny", config="tiny", grid={"vdla.wgt_buffer": [32, 1024]})


def test_rows_are_all_combinations_in_order(explored: vdla.Exploration) -> None:
    points = [tuple(row.parameters.values()) for row in explored.rows]
    assert points == [(4, 32), (4, 48), (4, 64), (8, 32), (8, 48), (8, 64)]


def test_row_is_what_a_run_on_that_machine_gives(explored: vdla.Exploration) -> None:
    config = Config.load("tiny").override(["vdla.block_out=8", "vdla.bus_bits=64"])
    artifact = vdla.compile("mlp", config=config)
    x = np.random.default_rng(0).standard_normal((1, 1, 28, 28)).astype(np.float32)
    totals = vdla.simulate(artifact, x).document["totals"]
    row = explored.rows[5]
    assert row.fingerprint == config.fingerprint
    assert row.cycles == totals["cycles"] and row.time_ms == totals["time_ms"]
    assert row.dram_bytes == totals["dram_read_bytes"] + totals["dram_write_bytes"]
    assert row.area["plain"]["dsp"] > row.area["packed"]["dsp"] > 16
    assert row.multipliers == 32 and row.buffer_bytes == 9 * 1024 and row.stalls == totals["stalls"]


def test_refused_configuration_is_a_row_with_its_reason(explored: vdla.Exploration) -> None:
    for index in (1, 4):
        row = explored.rows[index]
        assert row.refusal is not None and "vdla.bus_bits: 48 is not one of" in row.refusal
        assert row.cycles is None and row.fingerprint is None
    assert re.search(r"^2 refused: vdla.bus_bits: 48", explored.table(), re.MULTILINE)


def test_document_compares_with_the_first_row(explored: vdla.Exploration) -> None:
    document = explored.document
    jsonschema.validate(document, SCHEMA)
    first, last = document["rows"][0], document["rows"][5]
    assert first["change"] == 0.0 and last["change"] == pytest.approx(last["cycles"] / first["cycles"] - 1)
    assert [row["outputs_equal"] for row in document["rows"]] == [True, None, True, True, None, True]


def test_operators_moved_to_the_cpu_make_a_row_incomparable(with_moves: vdla.Exploration) -> None:
    small, full = with_moves.rows
    assert "needs at least" in small.moved_to_cpu["conv1"] and not full.moved_to_cpu
    assert small.cycles is not None and full.cycles is not None and small.cycles < full.cycles
    assert with_moves.best() is full
    document = with_moves.document
    jsonschema.validate(document, SCHEMA)
    assert document["pareto"]["both"] == [1]
    assert [row["change"] for row in document["rows"]] == [None, 0.0]
    assert [row["outputs_equal"] for row in document["rows"]] == [True, True]
    assert "1 not compared: on the CPU conv1" in with_moves.table() and "fastest: 2" in with_moves.table()


def test_best_row(explored: vdla.Exploration) -> None:
    cycles = [row.cycles for row in explored.rows if row.cycles is not None]
    assert explored.best().cycles == min(cycles)
    assert explored.best("utilization", where=lambda row: row.multipliers == 32).parameters["vdla.bus_bits"] == 64
    with pytest.raises(UsageError, match="none of the 6 configurations"):
        explored.best(where=lambda row: row.multipliers < 16)


def test_processes_give_the_same_rows(explored: vdla.Exploration) -> None:
    grid = {"vdla.block_out": [4], "vdla.bus_bits": [32, 64]}
    told: list[tuple[int, int]] = []
    found = vdla.explore(
        "mlp", config="tiny", grid=grid, jobs=2, progress=lambda _, done, total: told.append((done, total))
    )
    assert [row.cycles for row in found.rows] == [explored.rows[0].cycles, explored.rows[2].cycles]
    assert found.rows[0].outputs == explored.rows[0].outputs
    assert told == [(0, 2), (1, 2), (2, 2)]


def test_functional_exploration_compares_bits_only() -> None:
    told: list[str] = []
    x = np.ones((1, 1, 28, 28), np.float32)
    found = vdla.explore(
        "mlp", config="tiny", grid={"vdla.bus_bits": [32, 64]}, inputs=x, sim="functional",
        progress=lambda what, *_: told.append(what),
    )  # fmt: skip
    jsonschema.validate(found.document, SCHEMA)
    assert found.rows[0].cycles is None and found.document["pareto"]["both"] == []
    assert "the same bits" in found.table()
    assert sorted(found.files()) == ["explore.json", "index.html"]
    assert "bus_bits=64: import" in told and told[-1] == "done"


def test_saved_files(explored: vdla.Exploration, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "out"
    for _ in range(2):
        assert sorted(explored.save(place)) == ["explore.json", "explore.png", "index.html"]
    assert json.loads((place / "explore.json").read_text()) == explored.document
    assert (place / "explore.png").read_bytes()[:4] == b"\x89PNG"
    html = (place / "index.html").read_text()
    assert html.count("data:image/png;base64,") == 1 and "refused: vdla.bus_bits: 48" in html
    assert run_cli(["report", str(place)]) == 0
    assert "fastest: 3" in capsys.readouterr().out
    with pytest.raises(ReportError, match="something other than a report"):
        explored.save(tmp_path)


@pytest.mark.parametrize(
    "grid", [{"vdla.bus_bits": [32, 64]}, {"vdla.clock_mhz": [50, 100]}, {"vdla.inp_buffer": [1024, 2048]}]
)
def test_pictures_of_other_grids(grid: Mapping[str, list[int]]) -> None:
    found = vdla.explore("mlp", config="tiny", grid=grid)
    assert found.files()["explore.png"][:4] == b"\x89PNG"


def test_pareto_front() -> None:
    points = [(16, 9, 9.0), (16, 8, 9.0), (32, 9, 5.0), (32, 10, 5.0), (64, 8, 6.0), (8, 8, None)]
    rows = [{"m": m, "b": b, "time_ms": t, "comparable": True} for m, b, t in points]
    rows.append({"m": 1, "b": 1, "time_ms": 1.0, "comparable": False})
    assert pareto(rows, "m") == [0, 1, 2, 3]
    assert pareto(rows, "m", "b") == [1, 2, 4]


@pytest.mark.parametrize(
    ("grid", "error", "message"),
    [
        ({}, UsageError, "nothing to explore"),
        ({"vdla.blok_out": [4]}, ConfigError, "did you mean vdla.block_out"),
        ({"vdla.block_out": []}, UsageError, "at least one value"),
        ({"vdla.axi": "axi3"}, UsageError, "give a list of values"),
    ],
)
def test_wrong_grids(grid: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        vdla.explore("mlp", config="tiny", grid=grid)


def test_what_is_wrong_with_all_rows_is_no_row() -> None:
    grid = {"vdla.bus_bits": [32]}
    with pytest.raises(InputError, match="expected float32"):
        vdla.explore("mlp", config="tiny", grid=grid, inputs=np.zeros((1, 2), np.float32))
    with pytest.raises(UsageError, match="no built-in model"):
        vdla.explore("mlpp", config="tiny", grid=grid)
    with pytest.raises(UsageError, match="jobs=0"):
        vdla.explore("mlp", config="tiny", grid=grid, jobs=0)


def test_settings_are_parsed_like_yaml() -> None:
    assert parse_grid(["vdla.block_out=16,32", "vdla.axi=axi3, axi4", "memory.stall_seed=null,1"]) == {
        "vdla.block_out": [16, 32],
        "vdla.axi": ["axi3", "axi4"],
        "memory.stall_seed": [None, 1],
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to explore"),
        (["--set", "vdla.block_out"], "not of the form"),
        (["--set", "vdla.block_out=4,"], "'' is not a value"),
        (["--set", "vdla.block_out=[4"], "is not a value"),
        (["--set", "vdla.block_out=4", "--set", "vdla.block_out=8"], "set twice"),
        (["--set", "vdla.block_out=5,6"], "none of the 2 configurations ran; the first: vdla.block_out: 5"),
    ],
)
def test_command_errors(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["explore", "mlp", "--config", "tiny", *arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1 and message in err


def test_command_prints_table_json_and_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "x.npy", np.ones((2, 1, 28, 28), np.float32))
    arguments = ["explore", "mlp", "--config", "tiny", "--set", "vdla.bus_bits=32,64", "--batch", "2"]
    arguments += ["--input", str(tmp_path / "x.npy"), "--report", str(tmp_path / "out")]
    assert run_cli(arguments) == 0
    out = capsys.readouterr().out
    assert "fastest: 2 (vdla.bus_bits=64)" in out and str(tmp_path / "out" / "index.html") in out
    assert run_cli([*arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    jsonschema.validate(document, SCHEMA)
    assert document["rows"][0]["outputs"]["y"]["shape"] == [2, 10]
    assert document == json.loads((tmp_path / "out" / "explore.json").read_text())


def test_run_refers_lists_to_explore(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["run", "mlp"], ["compile", "mlp", "-o", "x.vdla"], ["config", "show", "tiny"]):
        assert run_cli([*command, "--set", "vdla.block_out=16,32"]) == 2
        assert "`vdla explore --set vdla.block_out=16,32`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("elapsed", "done", "total", "text"),
    [
        (5.0, 0, 6, ""),
        (10.0, 2, 6, ", about 0:20 left"),
        (65.0, 1, 2, ", about 1:05 left"),
        (9.0, 6, 6, ", about 0:00 left"),
    ],
)
def test_time_left(elapsed: float, done: int, total: int, text: str) -> None:
    assert time_left(elapsed, done, total) == text


@pytest.mark.parametrize(("width", "left_out"), [(160, ""), (80, "DRAM MB, ms"), (64, "DRAM MB, ms, outputs")])
def test_narrow_terminal_gets_fewer_columns(explored: vdla.Exploration, width: int, left_out: str) -> None:
    console = Console(width=width, force_terminal=False)
    with console.capture() as capture:
        print_exploration(explored.document, console)
    out = capture.get()
    assert "…" not in out and f"{explored.rows[5].cycles:,}" in out
    assert (f"for the width of the terminal: {left_out}" in out) == bool(left_out)


def test_script_without_a_main_guard_is_told_so(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    call = 'vdla.explore("mlp", config="tiny", grid={"vdla.bus_bits": [32, 64]}, jobs=2)'
    script.write_text(f"import vdla\n{call}\n")
    root = str(Path(vdla.__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": root}
    ran = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120, env=environment)
    assert ran.returncode == 1
    said = [line for line in ran.stderr.splitlines() if "UsageError: one of 2 processes" in line]
    assert said and "main part is not under" in said[-1]
