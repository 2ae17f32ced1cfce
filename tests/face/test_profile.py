"""``vdla profile``: every group timed, its work counted, the roofs measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import vdla
from runtime.executor import Executor
from vdla.cli import run_cli
from vdla.profiler import measured_roofs
from vdla.resolve import random_inputs


def test_profile(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "report"
    assert run_cli(["profile", "resnet_tiny", "--runs", "3", "--report", str(folder), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert json.loads((folder / "profile.json").read_text()) == document
    assert (folder / "roofline.png").read_bytes().startswith(b"\x89PNG")
    artifact = vdla.compile("resnet_tiny", target="cpu")
    with Executor(artifact) as executor:
        layers = executor.run(random_inputs(artifact.inputs)).profile.layers
    assert [g["name"] for g in document["groups"]] == [layer.name for layer in layers]
    assert all(g["seconds"] > 0 for g in document["groups"])
    assert sum(g["seconds"] for g in document["groups"]) == pytest.approx(document["seconds"], rel=2)
    assert 0 < document["memory"]["activations_peak"] < document["memory"]["activations_sum"]


def test_work_is_that_of_the_definition(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from vdla.models.layers import layer_model

    path = tmp_path / "c9.onnx"
    path.write_bytes(layer_model("C9").SerializeToString())
    assert run_cli(["profile", str(path), "--runs", "1", "--json"]) == 0
    groups = json.loads(capsys.readouterr().out)["groups"]
    (conv,) = [g for g in groups if g["op"].startswith("conv2d")]
    outputs = 256 * 14 * 14
    assert conv["operations"] == 2 * outputs * 256 * 9 + outputs  # products, and the rectifier
    assert conv["bytes"] == 4 * (outputs + 256 * 14 * 14 + 256 * 256 * 9)


def test_roofs_are_plausible() -> None:
    roofs = measured_roofs()
    assert 1e9 < roofs.operations < 1e14 and 1e8 < roofs.bytes < 1e13 and roofs.threads >= 1


def test_what_runs_on_vdla_is_profiled_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.vdla"
    vdla.compile("digits", config="tiny").save(path)
    assert run_cli(["profile", str(path)]) == 2
    assert "`vdla run --report` profiles those" in capsys.readouterr().err
