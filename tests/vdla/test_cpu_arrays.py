"""Networks that are wholly on the CPU read inputs where the caller has them, and write outputs into new arrays."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import vdla
from runtime.executor import Executor

SHAPE = (3, 40)


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    """y = (a + b) * b, and a itself."""
    nodes = [
        helper.make_node("Add", ["a", "b"], ["s"]),
        helper.make_node("Mul", ["s", "b"], ["y"]),
        helper.make_node("Identity", ["a"], ["same"]),
    ]
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in ("a", "b", "y", "same")]
    graph = helper.make_graph(nodes, "two_inputs", infos[:2], infos[2:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture(scope="module")
def executor(model: onnx.ModelProto) -> Executor:
    return Executor(vdla.compile(model, target="cpu"))


def misaligned(array: np.ndarray) -> np.ndarray:
    """The same elements, each a byte behind where its type would lie."""
    raw = np.zeros(array.nbytes + 1, np.uint8)
    raw[1:] = array.view(np.uint8).reshape(-1)
    return raw[1:].view(array.dtype).reshape(array.shape)


@pytest.mark.parametrize("form", [np.array, np.asfortranarray, lambda a: np.flip(np.flip(a).copy()), misaligned])
def test_outputs_do_not_depend_on_how_an_input_lies(model: onnx.ModelProto, executor: Executor, form) -> None:
    rng = np.random.default_rng(1)
    arrays = {name: rng.standard_normal(SHAPE, dtype=np.float32) for name in ("a", "b")}
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = dict(zip(("y", "same"), session.run(None, arrays), strict=True))
    given = {name: form(array) for name, array in arrays.items()}
    outputs = executor.run(given).outputs
    for name, value in expected.items():
        np.testing.assert_array_equal(outputs[name], value)
    for name, array in arrays.items():
        np.testing.assert_array_equal(given[name], array)


def test_an_output_that_is_an_input_is_a_copy(executor: Executor) -> None:
    a, b = (np.ones(SHAPE, np.float32) for _ in range(2))
    same = executor.run({"a": a, "b": b}).outputs["same"]
    a[:] = 7
    executor.run({"a": a, "b": b})
    np.testing.assert_array_equal(same, np.ones(SHAPE, np.float32))


def test_outputs_of_earlier_runs_stay(model: onnx.ModelProto, executor: Executor) -> None:
    ones = np.ones(SHAPE, np.float32)
    first = executor.run({"a": ones, "b": ones}).outputs["y"]
    executor.run({"a": 3 * ones, "b": ones})
    np.testing.assert_array_equal(first, 2 * ones)


def test_outputs_that_are_constants_read_again_or_given_twice() -> None:
    """c is a constant that a kernel reads, s is made by one kernel and read by another, t is s."""
    constant = numpy_helper.from_array(np.full(SHAPE, 5, np.float32), "k")
    nodes = [
        helper.make_node("Identity", ["k"], ["c"]),
        helper.make_node("Softmax", ["a"], ["s"]),
        helper.make_node("Identity", ["s"], ["t"]),
        helper.make_node("Softmax", ["s"], ["r"]),
        helper.make_node("Add", ["r", "k"], ["y"]),
    ]
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in ("a", "c", "s", "t", "y")]
    graph = helper.make_graph(nodes, "outputs", infos[:1], infos[1:], [constant])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    executor = Executor(vdla.compile(model, target="cpu"))
    kept = []
    for seed in range(3):
        a = np.random.default_rng(seed).standard_normal(SHAPE, dtype=np.float32)
        kept.append((session.run(None, {"a": a}), executor.run(a).outputs))
    for expected, outputs in kept:
        for name, value in zip(("c", "s", "t", "y"), expected, strict=True):
            np.testing.assert_allclose(outputs[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


def test_a_profile_is_that_of_its_own_run(executor: Executor) -> None:
    arrays = {name: np.ones(SHAPE, np.float32) for name in ("a", "b")}
    first = executor.run(arrays)
    executor.run(arrays)
    assert all(layer.target == "cpu" and layer.wall_s > 0 for layer in first.profile.layers)
    assert (
        first.profile is first.profile and sum(layer.wall_s for layer in first.profile.layers) <= first.profile.wall_s
    )
