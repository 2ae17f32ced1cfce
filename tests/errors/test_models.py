"""Mistakes in a model: one line on stderr that says what, where and what would be right, and exit code 2."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.errors.conftest import Refused
from tests.graph.helpers import single
from vdla.cli import run_cli
from vdla.models import mlp, resnet_tiny

Save = Callable[[onnx.ModelProto], str]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Writes a model to disk; returns the path."""

    def write(model: onnx.ModelProto) -> str:
        path = tmp_path / "model.onnx"
        onnx.save(model, path)
        return str(path)

    return write


def spoil(model: onnx.ModelProto, value: float) -> str:
    """Put ``value`` into the first weight of rank 4; returns the weight's name."""
    tensor = next(t for t in model.graph.initializer if len(t.dims) == 4)
    array = numpy_helper.to_array(tensor).copy()
    array.reshape(-1)[7] = value
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return tensor.name


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"import torch\n", b"\x00" * 64])
def test_not_an_onnx_file(refused: Refused, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    for command in (["run", str(path)], ["compile", str(path), "-o", str(tmp_path / "out.vdla")]):
        message = refused(*command, "--config", "tiny")
        assert f"'{path}' is not an ONNX model" in message, message
    assert not (tmp_path / "out.vdla").exists()


def test_half_a_download(refused: Refused, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    data = resnet_tiny().SerializeToString()
    path.write_bytes(data[: len(data) // 2])
    assert "is not an ONNX model" in refused("run", str(path), "--config", "tiny")
    assert "is not an ONNX model" in refused("run", str(path), "--config", "tiny", "--batch", "2")


def test_a_folder_for_a_model(refused: Refused, tmp_path: Path) -> None:
    assert "no file and no built-in model" in refused("run", str(tmp_path), "--config", "tiny")


def test_unsupported_operators_are_all_listed_with_the_reason_of_each(refused: Refused, save: Save) -> None:
    nodes = [
        helper.make_node("NonZero", ["x"], ["a"], name="first"),
        helper.make_node("Unique", ["x"], ["c"], name="second"),
        helper.make_node("Relu", ["c"], ["d"], name="fine"),
        helper.make_node("MyOp", ["d"], ["y"], name="third", domain="com.acme"),
    ]
    graph = helper.make_graph(
        nodes,
        "mixed",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.acme", 1)]
    message = refused("run", save(helper.make_model(graph, opset_imports=opsets, ir_version=8)), "--config", "tiny")
    for part in ("NonZero 'first'", "Unique 'second'", "MyOp 'third'", "com.acme"):
        assert part in message, message
    assert "fine" not in message


def test_an_attribute_that_is_not_supported(refused: Refused, save: Save) -> None:
    model = single("MaxPool", [(1, 3, 8, 8)], kernel_shape=[2, 2], pads=[-1, 0, 0, 0])
    message = refused("run", save(model), "--config", "tiny")
    assert "MaxPool 'node'" in message and "negative pads (-1, 0, 0, 0) are not implemented" in message


def test_dynamic_shape(refused: Refused, save: Save) -> None:
    message = refused("run", save(single("Relu", [("N", 3, "height", 8)])), "--config", "tiny")
    assert "input 'x0'" in message and "'height' at axis 2" in message, message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers(refused: Refused, save: Save, value: float) -> None:
    model = resnet_tiny()
    name = spoil(model, value)
    message = refused("run", save(model), "--config", "tiny")
    assert f"weight '{name}' holds 1 non-finite values" in message, message


def test_input_of_the_wrong_shape_or_dtype(refused: Refused, save: Save, tmp_path: Path) -> None:
    path = save(mlp(batch="n"))
    for array, got in (
        (np.zeros((1, 28, 28), np.float32), "float32[1,28,28]"),
        (np.zeros((2, 1, 28, 28), np.float32), "float32[2,1,28,28]"),
        (np.zeros((1, 1, 28, 28)), "float64[1,1,28,28]"),
        (np.zeros((1, 1, 28, 28), np.uint8), "uint8[1,1,28,28]"),
    ):
        np.save(tmp_path / "x.npy", array)
        message = refused("run", path, "--config", "tiny", "--input", str(tmp_path / "x.npy"))
        assert message == f"input 'x': expected float32[1,1,28,28], got {got}"


def test_an_artifact_that_cannot_be_written(refused: Refused, save: Save, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    message = refused("compile", save(mlp()), "-o", str(tmp_path / "file" / "model.vdla"), "--config", "tiny")
    assert "cannot write" in message, message


def test_artifact_for_another_config(
    refused: Refused, save: Save, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "model.vdla")
    assert run_cli(["compile", save(mlp()), "-o", out, "--config", "tiny"]) == 0
    capsys.readouterr()
    message = refused("run", out, "--set", "vdla.wgt_buffer=2048")
    assert "compiled for config 'tiny'" in message and "wgt_buffer 1024 -> 2048" in message, message
    assert "is compiled already" in refused("run", out, "--batch", "2")


def test_unknown_target(refused: Refused, save: Save) -> None:
    message = refused("run", save(mlp()), "--config", "tiny", "--target", "vdla,npu")
    assert message.startswith("no target 'npu'; there are vdla, cpu")


def test_a_target_that_cannot_run_everything(refused: Refused, save: Save) -> None:
    message = refused("run", save(mlp()), "--config", "tiny", "--target", "vdla")
    assert "no target takes" in message and "quantize" in message, message


@pytest.mark.parametrize("target", ["", ",", "vdla,,cpu"])
def test_an_empty_target(refused: Refused, save: Save, target: str) -> None:
    assert "target" in refused("run", save(mlp()), "--config", "tiny", "--target", target)
