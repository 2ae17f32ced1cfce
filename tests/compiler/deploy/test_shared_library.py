"""Deployed networks from Python: results, threads, and every way in which a file or a call can be wrong."""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from compiler.backend.aot import ABI_VERSION, LinkError, header
from compiler.errors import CodegenError, TargetError
from runtime import artifact, shared_library
from runtime.errors import ArtifactError, InputError
from runtime.shared_library import SharedLibrary, load
from vdla import models
from vdla.cli import run_cli
from vdla.deploy import Deployed, deploy
from vdla.errors import UsageError

X = np.random.default_rng(3).standard_normal((1, 1, 28, 28)).astype(np.float32)


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    return deploy(models.mlp(), tmp_path_factory.mktemp("deployed") / "mlp.so")


@pytest.fixture
def library(deployed: Deployed) -> SharedLibrary:
    return load(deployed.path)


def test_what_a_library_says_of_itself(library: SharedLibrary, deployed: Deployed) -> None:
    assert [(spec.name, spec.shape, spec.dtype) for spec in library.inputs] == [("x", (1, 1, 28, 28), "float32")]
    assert [(spec.name, spec.shape) for spec in library.outputs] == [("y", (1, 10))]
    assert (library.platform, library.workspace_bytes) == ("cpu", deployed.workspace_bytes)
    assert library.constant_bytes == deployed.constant_bytes
    assert shared_library.ABI_VERSION == ABI_VERSION and header.DTYPES == artifact.DTYPES


def test_run_with_any_number_of_threads(library: SharedLibrary) -> None:
    results = []
    for threads in (1, 3):
        library.use_threads(threads)
        results.append(library.run({"x": X})["y"])
    np.testing.assert_array_equal(*results)
    np.testing.assert_array_equal(library.run(np.asfortranarray(X))["y"], results[0])
    with pytest.raises(InputError, match="0 threads"):
        library.use_threads(0)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"x": X[0]}, r"expected float32\[1,1,28,28\], got float32\[1,28,28\]"),
        ({"x": X.astype(np.float64)}, "got float64"),
        ({"z": X}, "no input named 'z'"),
        ({}, "'x' is missing"),
    ],
)
def test_wrong_inputs(library: SharedLibrary, inputs: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(InputError, match=message):
        library.run(inputs)


def test_a_closed_library(deployed: Deployed) -> None:
    with load(deployed.path) as library:
        pass
    with pytest.raises(ArtifactError, match="is closed"):
        library.run(X)


def damaged(content: bytes, how: str) -> bytes:
    if how == "bit":
        return content[:5000] + bytes([content[5000] ^ 1]) + content[5001:]
    if how == "cut":
        return content[: len(content) // 2]
    if how == "machine":
        return content[:18] + struct.pack("<H", 40) + content[20:]
    return b"no library at all" * 10


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("bit", "is damaged: its SHA-256"),
        ("cut", "is cut off"),
        ("machine", "is for arm, this computer is"),
        ("text", "is not a shared library"),
    ],
)
def test_damaged_files(deployed: Deployed, tmp_path: Path, how: str, message: str) -> None:
    path = tmp_path / "damaged.so"
    path.write_bytes(damaged(deployed.path.read_bytes(), how))
    with pytest.raises(ArtifactError, match=message):
        load(path)


@pytest.mark.parametrize("kept", [0.1, 0.5])
def test_a_file_cut_off_is_not_loaded_unverified(deployed: Deployed, tmp_path: Path, kept: float) -> None:
    content = deployed.path.read_bytes()
    path = tmp_path / "short.so"
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ArtifactError, match="is cut off: it has"):
        load(path, verify=False)


def test_files_that_are_something_else(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="cannot read .*No such file"):
        load(tmp_path / "missing.so")
    other = tmp_path / "other.so"
    subprocess.run(["gcc", "-shared", "-x", "c", "/dev/null", "-o", str(other)], check=True)
    with pytest.raises(ArtifactError, match="linked elsewhere"):
        load(other)
    with pytest.raises(ArtifactError, match="not a deployed network with functions vdla_"):
        load(other, verify=False)


def test_an_object_linked_elsewhere(tmp_path: Path, library: SharedLibrary) -> None:
    made = deploy(models.mlp(), tmp_path / "mlp.o", prefix="my_net")
    linked = tmp_path / "linked.so"
    subprocess.run(["gcc", "-shared", str(made.path), "-lm", "-o", str(linked)], check=True)
    other = load(linked, prefix="my_net", verify=False)
    np.testing.assert_array_equal(other.run(X)["y"], library.run(X)["y"])


def test_missing_linker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(
        LinkError, match=r"needs aarch64-linux-gnu-gcc, .*gcc-aarch64-linux-gnu.*ask for an object, x\.o"
    ):
        deploy(models.mlp(), tmp_path / "x.so", platform="arm64")
    assert list(tmp_path.iterdir()) == []
    deploy(models.mlp(), tmp_path / "x.o", platform="arm64")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.h", "x.o"]


def test_wrong_arguments(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"shared library \(.so\) or an object \(.o\)"):
        deploy(models.mlp(), tmp_path / "x.dll")
    with pytest.raises(TargetError, match="no platform 'mips'.*cpu, arm64, armv7"):
        deploy(models.mlp(), tmp_path / "x.so", platform="mips")
    with pytest.raises(TargetError, match="no processor 'cortex-z1' of arm64 .*cortex-a53, "):
        deploy(models.mlp(), tmp_path / "x.so", platform="arm64:cortex-z1")
    with pytest.raises(UsageError, match="is not a folder"):
        deploy(models.mlp(), tmp_path / "nowhere" / "x.so")
    (tmp_path / "folder.so").mkdir()
    with pytest.raises(UsageError, match=r"cannot write .*folder.so: it is a folder"):
        deploy(models.mlp(), tmp_path / "folder.so")
    (tmp_path / "folder.so").rmdir()
    with pytest.raises(UsageError, match=r"cannot write /proc/x.so: "):
        deploy(models.mlp(), "/proc/x.so")
    with pytest.raises(CodegenError, match="'1st' is not a C identifier"):
        deploy(models.mlp(), tmp_path / "x.so", prefix="1st")
    assert list(tmp_path.iterdir()) == []


def test_no_memory_for_an_instance(tmp_path: Path) -> None:
    side = 4096  # the value between two products is 64 MiB
    scale = helper.make_tensor("scale", TensorProto.FLOAT, [1, side], np.ones(side, np.float32))
    nodes = [
        helper.make_node("MatMul", ["x", "y"], ["product"]),
        helper.make_node("MatMul", ["scale", "product"], ["out"]),
    ]
    shapes = {"x": [side, 1], "y": [1, side], "out": [1, side]}
    infos = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()}
    graph = helper.make_graph(nodes, "hungry", [infos["x"], infos["y"]], [infos["out"]], [scale])
    hungry = deploy(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "hungry.so")
    code = f"""
import re, resource
import runtime.shared_library
from runtime.errors import ArtifactError
used = int(re.search(r"VmData:\\s*(\\d+)", open("/proc/self/status").read())[1]) << 10
resource.setrlimit(resource.RLIMIT_DATA, (used + (32 << 20), used + (32 << 20)))
try:
    runtime.shared_library.load({str(hungry.path)!r})
except ArtifactError as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "the workspace cannot be allocated (code 2)" in said


def test_mistakes_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for target, message in (("arm64:cortex-z1", "no processor 'cortex-z1' of arm64"), ("armv9", "armv9")):
        assert run_cli(["compile", "mlp", "--target", target, "-o", str(tmp_path / "x.so")]) == 2
        assert message in capsys.readouterr().err
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert run_cli(["compile", "mlp", "--target", "armv7", "-o", str(tmp_path / "x.so")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and "gcc-arm-linux-gnueabihf" in said and said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["compile", "mlp", "-o", str(tmp_path / "mlp.so")]) == 0
    assert "wrote" in capsys.readouterr().out and load(tmp_path / "mlp.so").run(X)["y"].shape == (1, 10)
    assert run_cli(["compile", "mlp", "-o", str(tmp_path / "m.so"), "--set", "vdla.batch=1"]) == 2
    assert "--set does not go with this output" in capsys.readouterr().err
    assert run_cli(["compile", "mlp", "-o", str(tmp_path / "m.vdla"), "--prefix", "x"]) == 2
    assert "--prefix does not go with this output" in capsys.readouterr().err
