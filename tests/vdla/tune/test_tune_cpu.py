"""``vdla tune --target cpu``: groups timed as the runtime runs them, the confirmed schedules used, the same numbers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import vdla
from compiler.backend.cpu import CpuTarget
from compiler.tune.database import Database, Record
from compiler.tune.errors import DatabaseError
from compiler.tune.features import program_features
from compiler.tune.timing import KernelSeconds
from runtime.executor import Executor
from vdla.cli import run_cli
from vdla.errors import UsageError
from vdla.models.layers import CONVOLUTIONS, DEPTHWISE, layer_model
from vdla.resolve import random_inputs
from vdla.tune.cpu import LoadedStep, groups_of, kernel_job, loops_of
from vdla.tune.kernels import CHOSEN, TARGET, key_of, machine_key


def test_the_papers_layers() -> None:
    for name in (*CONVOLUTIONS, *DEPTHWISE):
        model = layer_model(name)
        shape = [d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim]
        size, _, *rest = (*CONVOLUTIONS[name],) if name in CONVOLUTIONS else (*DEPTHWISE[name],)
        stride = rest[-1] if rest else DEPTHWISE[name][2]
        assert shape[2:] == [-(-size // stride)] * 2


def test_a_kernel_is_timed() -> None:
    group = groups_of(layer_model("D9"))[0]
    job = kernel_job(group, 0)
    cost = KernelSeconds(job, LoadedStep)(job).cost
    assert 0 < cost < 1


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "t.jsonl"
    command = ["tune", "mobile_tiny", "--target", "cpu", "--db", str(path), "--trials", "3", "--json"]
    assert run_cli(command) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["unit"] == "seconds" and document["operators"]
    for operator in document["operators"]:
        assert operator["best_seconds"] <= operator["default_seconds"] and not operator["failed"]
    assert document["network"]["best_seconds"] <= document["network"]["default_seconds"]
    database = Database(path)
    assert len(database.query(target=CHOSEN)) == len(document["operators"]) <= len(database.query(target=TARGET))
    default, tuned = (vdla.compile("mobile_tiny", target="cpu", tiles=tiles) for tiles in (None, path))
    tuning: Any = tuned.info["tuning"]
    assert default.info["tuning"] == {} and not tuning["untuned"]
    assert len(tuning["tuned"]) == len(document["operators"])
    inputs = random_inputs(default.inputs)
    outputs = []
    for artifact in (default, tuned):
        with Executor(artifact) as executor:
            outputs.append(executor.run(inputs).outputs)
    for name, value in outputs[0].items():
        np.testing.assert_allclose(outputs[1][name], value, rtol=1e-4, atol=1e-5)


def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="nothing to tune"):
        groups_of(unary("Relu", [4, 5]))
    assert run_cli(["tune", "D1", "--target", "cpu", "--set", "vdla.batch=2", "--db", str(tmp_path / "t")]) == 2
    assert "tunes for a processor" in capsys.readouterr().err


def test_an_operator_without_a_template(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Softmax over odd sizes: schedules drawn from the computation are recorded, and used when chosen."""
    model, path = tmp_path / "softmax.onnx", tmp_path / "t.jsonl"
    onnx.save(unary("Softmax", [3, 7, 45]), model)
    assert run_cli(["tune", str(model), "--target", "cpu", "--db", str(path), "--trials", "4", "--json"]) == 0
    (operator,) = json.loads(capsys.readouterr().out)["operators"]
    assert operator["best_seconds"] <= operator["default_seconds"] and not operator["failed"]
    database = Database(path)
    assert {record.knobs["schedule"] for record in database.query(target=TARGET)} == {"general rules", "drawn"}

    # Whichever was faster here and now, a drawn one is taken from now on.
    drawn = next(record for record in database.query(target=TARGET) if record.knobs["schedule"] == "drawn")
    database.append([replace(drawn, target=CHOSEN, time=drawn.time + 3600)])
    artifact = vdla.compile(model, target="cpu", tiles=path)
    tuning: Any = artifact.info["tuning"]
    assert len(tuning["tuned"]) == 1 and not tuning["untuned"]
    default, tuned = (artifact.cpu_code for artifact in (vdla.compile(model, target="cpu"), artifact))
    assert default != tuned
    inputs = random_inputs(artifact.inputs)
    with Executor(artifact) as executor:
        (got,) = executor.run(inputs).outputs.values()
    powers = np.exp(inputs["x"].astype(np.float64))
    np.testing.assert_allclose(got, powers / powers.sum(-1, keepdims=True), rtol=1e-5)
    assert run_cli(["run", str(model), "--target", "cpu", "--db", str(path)]) == 0
    assert "tuned: 1 of 1 operators" in "".join(capsys.readouterr())


@pytest.mark.parametrize("layer", ["C12", "D9"])
def test_features_tell_schedules_apart(layer: str) -> None:
    """Also those of Winograd, the code of which has hundreds of accesses: features are of loops, not of that."""
    tuned = next(g for g in groups_of(layer_model(layer)) if any(node.op == "conv2d" for node in g.group.nodes))
    points = [int(p) for p in np.random.default_rng(0).choice(tuned.space.valid_indices(), 24, replace=False)]
    loops = [loops_of(tuned, point) for point in points]
    assert max(len(buffer.shape) for func in loops for buffer in func.params) > 1
    rows = {program_features(func).tobytes() for func in loops}
    assert len(rows) > 0.7 * len({repr(func) for func in loops})


def recorded(path: Path, model: Any, changes: dict[str, object]) -> Database:
    """A database with a confirmed record of every second group: its default, with other values of some knobs."""
    database = Database(path)
    for tuned in groups_of(model)[::2]:
        name, _, machine, version = key_of(tuned.group, machine_key())
        knobs = {**tuned.space.values(0), **changes}
        database.append([Record(name, CHOSEN, machine, version, knobs, 1.0, "seconds")])
    return database


def test_a_group_s_expressions_are_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With schedules of some groups from a database, and no space declared to find them in."""
    database = recorded(tmp_path / "t.jsonl", "mobile_tiny", {})
    count, build, groups = 0, CpuTarget._expressions, 0
    compile_group = CpuTarget.compile

    def counted(self: CpuTarget, *args: Any) -> Any:
        nonlocal count
        count += 1
        return build(self, *args)

    def compiled(self: CpuTarget, *args: Any, **options: Any) -> Any:
        nonlocal groups
        groups += 1
        return compile_group(self, *args, **options)

    monkeypatch.setattr(CpuTarget, "_expressions", counted)
    monkeypatch.setattr(CpuTarget, "compile", compiled)
    monkeypatch.setattr(CpuTarget, "space", None)
    tuning: Any = vdla.compile("mobile_tiny", target="cpu", tiles=database.path).info["tuning"]
    assert len(tuning["tuned"]) == len(database) > 2 and len(tuning["untuned"]) >= len(database) - 1
    assert count == groups > len(database)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tile": (99, 1)}, r"knob 'tile' has no value \(99, 1\)"),
        ({"parts": 4, "order": "ohw", "tile": (1, 7)}, "it breaks the rule 'parts divide the second loop"),
    ],
)
def test_a_record_that_is_not_legal_is_an_error(changes: dict[str, object], said: str, tmp_path: Path) -> None:
    model = layer_model("D9")
    database = recorded(tmp_path / "t.jsonl", model, changes)
    with pytest.raises(DatabaseError, match=rf"t.jsonl: the record of conv2d.* is not legal: {said}"):
        vdla.compile(model, target="cpu", tiles=database.path)


def unary(op: str, shape: list[int]) -> onnx.ModelProto:
    """A model of one operator."""
    x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in ("x", "y"))
    graph = onnx.helper.make_graph([onnx.helper.make_node(op, ["x"], ["y"])], op, [x], [y])
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
