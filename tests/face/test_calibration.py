"""Calibration samples from a file: what the compiler gets, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import vdla
from runtime.artifact import Artifact
from runtime.errors import InputError
from vdla import simulate
from vdla.calibration import load_calibration
from vdla.cli import run_cli
from vdla.errors import UsageError


@pytest.fixture
def two_inputs(tmp_path: Path) -> str:
    """An ONNX file with inputs a [1,3] and b [2,3], output y [2,3]."""
    graph = helper.make_graph(
        [helper.make_node("Add", ["a", "b"], ["y"])],
        "sum",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("a", [1, 3]), ("b", [2, 3]))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3])],
    )
    path = tmp_path / "sum.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return str(path)


def saved(folder: Path, **arrays: np.ndarray) -> Path:
    path = folder / "samples.npz"
    np.savez(path, **arrays)  # pyright: ignore[reportArgumentType]
    return path


def test_samples_come_in_units_of_the_inputs_own_batch(two_inputs: str, tmp_path: Path) -> None:
    a, b = np.arange(9, dtype=np.float32).reshape(3, 3), np.arange(18, dtype=np.float32).reshape(6, 3)
    samples = load_calibration(saved(tmp_path, a=a, b=b), two_inputs)
    assert len(samples) == 3
    for index, sample in enumerate(samples):
        assert np.array_equal(sample["a"], a[index : index + 1])
        assert np.array_equal(sample["b"], b[2 * index : 2 * index + 2])


def test_batch_of_a_built_in_network(tmp_path: Path) -> None:
    path = saved(tmp_path, x=np.zeros((6, 1, 28, 28), np.float32))
    assert [s["x"].shape for s in load_calibration(path, "mlp")] == [(1, 1, 28, 28)] * 6
    assert [s["x"].shape for s in load_calibration(path, "mlp", batch=3)] == [(3, 1, 28, 28)] * 2


A, B = np.zeros((2, 3), np.float32), np.zeros((4, 3), np.float32)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": A}, r"samples for input 'b' are missing: expected float32\[2n,3\]"),
        ({"a": A, "b": B, "c": A}, "no input named 'c'; the model's inputs are 'a' float32"),
        ({"a": A, "b": B[:3]}, r"'b': expected float32\[2n,3\] .*, got float32\[3,3\]"),
        ({"a": A, "b": B.reshape(4, 3, 1)}, r"got float32\[4,3,1\]"),
        ({"a": A.astype(np.float64), "b": B}, r"'a': expected float32\[n,3\] .*, got float64\[2,3\]"),
        ({"a": A[:0], "b": B[:0]}, r"got float32\[0,3\]"),
        ({"a": np.float32(1), "b": B}, r"got float32\[\]"),
        ({"a": A[:1], "b": B}, "as many samples for each input are needed, there are 1 for 'a', 2 for 'b'"),
    ],
)
def test_wrong_samples(arrays: dict[str, np.ndarray], message: str, two_inputs: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        load_calibration(saved(tmp_path, **arrays), two_inputs)


def test_quantised_model_needs_no_samples(tmp_path: Path) -> None:
    scale, zero = (
        helper.make_tensor("s", TensorProto.FLOAT, [], [0.1]),
        helper.make_tensor("z", TensorProto.INT8, [], [0]),
    )
    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
        ],
        "qdq",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        [scale, zero],
    )
    path = tmp_path / "qdq.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    with pytest.raises(UsageError, match="is quantised already"):
        load_calibration(saved(tmp_path, x=np.zeros((1, 4), np.float32)), str(path))


def test_int8_on_the_cpu(tmp_path: Path) -> None:
    """A float network made int8 gives on a CPU what it gives on the accelerator; but for the softmax, a kernel with the
    conversion to floats here, to the bit."""

    def alike(a: np.ndarray, b: np.ndarray) -> bool:
        return np.allclose(a, b, rtol=1e-6, atol=0)

    path = tmp_path / "m.vdla"
    assert run_cli(["compile", "mlp", "--target", "cpu", "--int8", "-o", str(path)]) == 0
    x = np.random.default_rng(3).standard_normal((1, 1, 28, 28), dtype=np.float32)
    got = Artifact.load(path).run(x)["y"]
    assert alike(got, vdla.compile("mlp", config="tiny").run(x)["y"])
    assert not alike(got, vdla.compile("mlp", target="cpu").run(x)["y"])
    calibrated = vdla.compile("mlp", target="cpu", integer=True, calibration=[{"x": x}]).run(x)["y"]
    assert not alike(calibrated, got)
    assert alike(calibrated, vdla.compile("mlp", config="tiny", calibration=[{"x": x}]).run(x)["y"])


def test_commands_make_networks_int8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["run"], ["profile", "--runs", "1"]):
        for more in ([], ["--int8"]):
            assert run_cli([*command, "mlp", "--target", "cpu", "--json", *more]) == 0
            document = json.loads(capsys.readouterr().out)
            operators = [item["op"] for item in document["layers" if command[0] == "run" else "groups"]]
            assert any("requantize" in op for op in operators) == bool(more)


def test_samples_without_a_use_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(tmp_path, x=np.zeros((2, 1, 28, 28), np.float32))
    calibration = ["--calibration", str(path)]
    for output in ("m.vdla", "m.o"):
        arguments = ["compile", "mlp", "--target", "cpu", "-o", str(tmp_path / output), *calibration]
        assert run_cli(arguments) == 2
        assert "a float network stays float on cpu; make it int8 with --int8" in capsys.readouterr().err
    assert run_cli(["profile", "mlp", *calibration]) == 2
    assert "make it int8 with --int8" in capsys.readouterr().err


def test_commands_calibrate_on_the_samples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Samples of tiny numbers give a finer scale, so the compiled network is another one."""
    small = saved(tmp_path, x=np.full((2, 1, 28, 28), 0.01, np.float32))
    x = np.full((1, 1, 28, 28), 0.01, np.float32)
    results = []
    for more in ([], ["--calibration", str(small)]):
        path = tmp_path / "m.vdla"
        assert run_cli(["compile", "mlp", "--config", "tiny", "-o", str(path), *more]) == 0
        results.append(simulate(Artifact.load(path), x, sim="functional").outputs["y"])
    assert not np.array_equal(*results)
    assert run_cli(["run", "mlp", "--config", "tiny", "--calibration", str(small)]) == 0
    arguments = ["explore", "mlp", "--config", "tiny", "--set", "vdla.bus_bits=32"]
    assert run_cli([*arguments, "--calibration", str(small)]) == 0
    capsys.readouterr()
    assert run_cli(["run", str(path), "--calibration", str(small)]) == 2
    assert "compiled already" in capsys.readouterr().err
    for command in ("run", "profile"):
        assert run_cli([command, str(path), "--int8"]) == 2
        assert "compiled already" in capsys.readouterr().err
    assert run_cli([*arguments, "--calibration", str(tmp_path / "absent.npz")]) == 2
    assert "cannot read" in capsys.readouterr().err
