"""The C interface of deployed networks: every error code, instances side by side, models side by side."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from benchmarks.guest import EMULATORS, Guest, GuestError
from compiler.backend.cpu.platforms import PLATFORMS
from vdla import models
from vdla.deploy import Deployed, deploy

ERRORS = Path(__file__).with_name("errors.c")


@pytest.fixture(scope="module", params=["cpu", "armv7"])
def mlp(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    return deploy(models.mlp(), tmp_path_factory.mktemp("mlp") / "mlp.so", platform=request.param)


def model_of(inputs: dict[str, list[int]], nodes: list[onnx.NodeProto], outputs: list[str], *init: onnx.TensorProto):
    """An ONNX model of float tensors; outputs' shapes are inferred."""
    graph = helper.make_graph(
        nodes,
        "wires",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        list(init),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model)


def build(deployed: Deployed, source: Path, *options: str) -> list[str]:
    """Compiles a C program against a network; the command that runs it."""
    program = source.stem + "." + deployed.platform
    path = deployed.path.with_name(program)
    subprocess.run(
        [PLATFORMS[deployed.platform].linker, "-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror",
         "-include", str(deployed.header), str(source), str(deployed.path), f"-Wl,-rpath,{deployed.path.parent}",
         *options, "-lm", "-lpthread", "-o", str(path)],
        check=True,
    )  # fmt: skip
    return [*EMULATORS[deployed.platform], str(path)]


def test_error_codes(mlp: Deployed) -> None:
    assert subprocess.run(build(mlp, ERRORS), check=False).returncode == 0


def test_no_memory_for_the_workspace(tmp_path: Path) -> None:
    side = 4096  # the value between the two is 64 MiB
    scale = helper.make_tensor("scale", TensorProto.FLOAT, [1, side], np.ones(side, np.float32))
    nodes = [
        helper.make_node("MatMul", ["x", "y"], ["product"]),
        helper.make_node("MatMul", ["scale", "product"], ["out"]),
    ]
    large = model_of({"x": [side, 1], "y": [1, side]}, nodes, ["out"], scale)
    hungry = deploy(large, tmp_path / "hungry.o", prefix="hungry")
    small = deploy(models.mlp(), tmp_path / "small.o")
    assert hungry.workspace_bytes > side * side * 4
    command = build(small, ERRORS, "-include", str(hungry.header), "-DNO_MEMORY=hungry_create", str(hungry.path))
    assert subprocess.run(command, check=False).returncode == 0


def test_models_side_by_side_need_prefixes(tmp_path: Path) -> None:
    one = deploy(models.mlp(), tmp_path / "one.o", prefix="one")
    two = deploy(models.mlp(), tmp_path / "two.o", prefix="two")
    source = tmp_path / "both.c"
    source.write_text(
        f'#include "{one.header.name}"\n#include "{two.header.name}"\n'
        "int main(void) { return one_model_info()->input_count + two_model_info()->input_count - 2; }\n"
    )
    program = tmp_path / "both"
    subprocess.run(
        ["gcc", "-Wall", "-Werror", str(source), str(one.path), str(two.path), "-lm", "-lpthread", "-o", str(program)],
        check=True,
    )
    assert subprocess.run([str(program)], check=False).returncode == 0


def test_outputs_that_no_kernel_writes(tmp_path: Path) -> None:
    # one value as two outputs, an input as an output, a constant as an output
    constant = helper.make_tensor("constant", TensorProto.FLOAT, [2], [3.0, -4.0])
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Identity", ["r"], ["again"]),
        helper.make_node("Identity", ["x"], ["same"]),
        helper.make_node("Identity", ["constant"], ["fixed"]),
    ]
    model = model_of({"x": [2, 3]}, nodes, ["r", "again", "same", "fixed"], constant)
    guest = Guest.of(deploy(model, tmp_path / "wires.so"))
    x = np.array([[1, -2, 3], [-4, 5, -6]], np.float32)
    shape = ((2, 3), "float32")
    r, again, same, fixed = guest.run([x], [shape, shape, shape, ((2,), "float32")])
    np.testing.assert_array_equal(r, np.maximum(x, 0))
    np.testing.assert_array_equal(again, r)
    np.testing.assert_array_equal(same, x)
    np.testing.assert_array_equal(fixed, [3, -4])


def test_a_program_says_what_is_wrong_with_its_files(mlp: Deployed) -> None:
    with pytest.raises(GuestError, match="does not hold the 3136 bytes"):
        Guest.of(mlp).run([np.zeros(7, np.float32)], [((10,), "float32")])


def test_nothing_but_the_c_library(mlp: Deployed) -> None:
    said = subprocess.run(["readelf", "-d", str(mlp.path)], capture_output=True, text=True, check=True).stdout
    needed = re.findall(r"NEEDED.*\[(.*?)\.so", said)
    assert set(needed) <= {"libc", "libm", "libpthread", "ld-linux", "ld-linux-armhf"}
    said = subprocess.run(
        ["nm", "-D", "--defined-only", str(mlp.path)], capture_output=True, text=True, check=True
    ).stdout
    assert {line.split()[-1] for line in said.splitlines()} == {
        f"vdla_{name}" for name in ("model_info", "error_text", "create", "destroy", "run", "set_threads")
    }
