"""Compiling through the face: what is passed to the compile driver and what comes back.

The driver itself is replaced by one that returns the handmade artifact.
"""

from __future__ import annotations

import json
import sys
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import vdla
from compiler.graph.pipeline import Calibration
from hw.config import Config
from runtime.artifact import Artifact
from tests import handmade
from vdla import models
from vdla.cli import run_cli
from vdla.errors import UsageError


@dataclass
class Call:
    """The arguments of one call of the driver."""

    source: Any
    config: Config
    targets: tuple[str, ...]
    virtual_threads: bool
    samples: Any = None
    batch: int | None = 1


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """Replaces vdla.driver; the calls it got."""
    seen: list[Call] = []

    @dataclass
    class CompileOptions:
        virtual_threads: bool = True
        batch: int | None = None
        calibration: Calibration = field(default_factory=Calibration)
        tiles: Any = None
        kernels: Any = None
        integer: bool = False

    @dataclass
    class CompiledModel:
        artifact: Artifact
        pass_times: list[tuple[str, float]]

    def compile_model(
        source: Any, config: Config, targets: tuple[str, ...], options: CompileOptions, progress: Any
    ) -> CompiledModel:
        samples = options.calibration.samples
        seen.append(Call(source, config, targets, options.virtual_threads, samples, options.batch))
        if progress is not None:
            progress("lower", 1, 2)
        artifact = handmade.artifact()
        return CompiledModel(artifact, [("import", 0.5), ("lower", 1.5)])

    driver = types.ModuleType("vdla.driver")
    driver.__dict__.update(CompileOptions=CompileOptions, compile_model=compile_model)
    monkeypatch.setitem(sys.modules, "vdla.driver", driver)
    return seen


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x08\x09")
    return path


def test_api_passes_everything_on(calls: list[Call], onnx_file: Path) -> None:
    told: list[tuple[str, int, int]] = []
    artifact = vdla.compile(
        onnx_file, target="vdla, cpu", config="tiny", virtual_threads=False, progress=lambda *what: told.append(what)
    )
    assert calls == [Call(onnx_file, Config.load("tiny"), ("vdla", "cpu"), False)]
    assert told == [("lower", 1, 2)]
    compiled: Any = artifact.info["compile"]
    assert compiled["passes"] == [["import", 0.5], ["lower", 1.5]] and compiled["wall_s"] > 0


def test_api_takes_built_in_and_loaded_models(calls: list[Call]) -> None:
    vdla.compile("mlp", config=Config.load("tiny"))
    loaded = calls[0].source
    assert loaded.graph.node
    vdla.compile(loaded, config="tiny")
    assert calls[1].source is loaded


def input_shape(model: onnx.ModelProto) -> list[int | str]:
    return [d.dim_value or d.dim_param for d in model.graph.input[0].type.tensor_type.shape.dim]


def test_api_builds_built_in_models_of_a_batch(calls: list[Call]) -> None:
    vdla.compile("mlp", config="tiny")
    vdla.compile("mlp", config="tiny", batch=5)
    assert [input_shape(call.source) for call in calls] == [[1, 1, 28, 28], [5, 1, 28, 28]]


def test_batch_option(calls: list[Call], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx.save(models.mlp(batch="n"), tmp_path / "any.onnx")
    onnx.save(models.mlp(batch=3), tmp_path / "three.onnx")
    assert run_cli(["run", str(tmp_path / "any.onnx"), "--config", "tiny", "--batch", "4", "--json"]) == 0
    for arguments in (["any.onnx"], ["three.onnx"], ["three.onnx", "--batch", "3"]):
        name, *options = arguments
        output = ["-o", str(tmp_path / "out.vdla"), "--config", "tiny"]
        assert run_cli(["compile", str(tmp_path / name), *output, *options]) == 0
    assert [call.batch for call in calls] == [4, 1, 1, 3]
    capsys.readouterr()
    assert run_cli(["run", str(tmp_path / "three.onnx"), "--config", "tiny", "--batch", "4"]) == 2
    assert "input 'x' has a fixed batch of 3, not 4; leave --batch out" in capsys.readouterr().err
    assert run_cli(["run", "digits", "--config", "tiny", "--batch", "4"]) == 2
    assert "has a fixed batch of 1, not 4" in capsys.readouterr().err
    with pytest.raises(UsageError, match="batch of -1 is not possible"):
        vdla.compile("mlp", config="tiny", batch=-1)
    assert len(calls) == 4


def test_api_passes_calibration_inputs_on(calls: list[Call], onnx_file: Path) -> None:
    samples = [{"x": np.zeros((1, 4), np.float32)}]
    vdla.compile(onnx_file, config="tiny", calibration=samples)
    assert calls[0].samples is samples
    vdla.compile("digits", config="tiny")
    assert len(calls[1].samples) == 128, "the built-in network's own"
    vdla.compile("mlp", config="tiny")
    assert calls[2].samples is None, "made up by the compiler"


def test_compile_command_writes_the_artifact(
    calls: list[Call], onnx_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model.vdla"
    arguments = ["compile", str(onnx_file), "-o", str(out), "--config", "tiny", "--set", "vdla.clock_mhz=50"]
    assert run_cli([*arguments, "--target", "vdla"]) == 0
    assert calls[0].config.clock_mhz == 50 and calls[0].targets == ("vdla",) and calls[0].virtual_threads
    assert "lower 1.50 s, import 0.50 s" in capsys.readouterr().out
    x = handmade.example_input()
    assert np.array_equal(Artifact.load(out).run(x)["y"], handmade.expected(x))
    assert run_cli([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["path"] == str(out)


def test_run_command_compiles_first(calls: list[Call], onnx_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["run", str(onnx_file), "--config", "tiny", "--no-virtual-threads", "--json"]) == 0
    assert not calls[0].virtual_threads
    document = json.loads(capsys.readouterr().out)
    assert [item["name"] for item in document["compile"]["passes"]] == ["import", "lower"]
