"""Float ONNX models: what the imported graph computes is what ONNX Runtime computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compiler.frontend.onnx_import import from_onnx
from compiler.graph.interpreter import evaluate
from compiler.graph.pass_manager import PassManager
from compiler.graph.pipeline import float_passes
from compiler.graph.verify import verify
from tests.graph.helpers import normal_inputs, run_ort, single
from vdla.models import mlp, mobile_tiny, resnet18, resnet_tiny


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def assert_same(model: onnx.ModelProto, tolerance: float = 1e-5) -> None:
    graph = from_onnx(model)
    verify(graph)
    inputs = normal_inputs(model)
    expected = run_ort(model, inputs)
    got = evaluate(graph, inputs)
    for name, array in expected.items():
        assert got[name].shape == array.shape and got[name].dtype == array.dtype
        assert np.abs(got[name] - array).max() <= tolerance * max(1.0, np.abs(array).max())


IMAGE = (2, 6, 9, 11)
SINGLES: dict[str, tuple[str, list[Any], list[Any], dict[str, Any]]] = {
    "conv": ("Conv", [IMAGE], [weights(4, 6, 3, 3), weights(4)], {"pads": [1, 0, 2, 1], "strides": [2, 1]}),
    "conv_dilated": ("Conv", [IMAGE], [weights(4, 6, 3, 2)], {"dilations": [2, 3]}),
    "conv_groups": ("Conv", [IMAGE], [weights(9, 2, 3, 3)], {"group": 3, "pads": [1, 1, 1, 1]}),
    "conv_depthwise": ("Conv", [IMAGE], [weights(6, 1, 3, 3), weights(6)], {"group": 6}),
    "conv_same_upper": ("Conv", [IMAGE], [weights(4, 6, 3, 4)], {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "conv_same_lower": ("Conv", [IMAGE], [weights(4, 6, 4, 3)], {"auto_pad": "SAME_LOWER", "strides": [2, 3]}),
    "max_pool": ("MaxPool", [IMAGE], [], {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1]}),
    "max_pool_ceil": ("MaxPool", [IMAGE], [], {"kernel_shape": [2, 3], "strides": [2, 3], "ceil_mode": 1}),
    "avg_pool": ("AveragePool", [IMAGE], [], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "avg_pool_count": (
        "AveragePool",
        [IMAGE],
        [],
        {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1},
    ),
    "global_avg": ("GlobalAveragePool", [IMAGE], [], {}),
    "global_max": ("GlobalMaxPool", [IMAGE], [], {}),
    "gemm": ("Gemm", [(3, 8)], [weights(5, 8), weights(5)], {"transB": 1}),
    "gemm_plain": ("Gemm", [(3, 8)], [weights(8, 5), weights(1, 5)], {"alpha": 0.5, "beta": 2.0}),
    "gemm_trans_a": ("Gemm", [(8, 3)], [weights(8, 5)], {"transA": 1}),
    "gemm_matrix_c": ("Gemm", [(3, 8)], [weights(8, 5), weights(3, 5)], {}),
    "matmul_weight": ("MatMul", [(3, 8)], [weights(8, 5)], {}),
    "matmul_batched": ("MatMul", [(2, 3, 8), (2, 8, 4)], [], {}),
    "batch_norm": (
        "BatchNormalization",
        [IMAGE],
        [weights(6), weights(6, seed=1), weights(6, seed=2), np.abs(weights(6, seed=3)) + 0.5],
        {"epsilon": 1e-3},
    ),
    "relu": ("Relu", [IMAGE], [], {}),
    "clip": ("Clip", [IMAGE], [np.float32(-0.5), np.float32(1.5)], {}),
    "clip_low": ("Clip", [IMAGE], [np.float32(0.0)], {}),
    "sigmoid": ("Sigmoid", [IMAGE], [], {}),
    "tanh": ("Tanh", [IMAGE], [], {}),
    "add_broadcast": ("Add", [IMAGE, (6, 1, 1)], [], {}),
    "sub": ("Sub", [IMAGE, IMAGE], [], {}),
    "mul": ("Mul", [IMAGE], [np.float32(1.5)], {}),
    "div": ("Div", [IMAGE], [np.abs(weights(11)) + 1], {}),
    "flatten": ("Flatten", [IMAGE], [], {"axis": 2}),
    "flatten_all": ("Flatten", [IMAGE], [], {"axis": 0}),
    "reshape": ("Reshape", [IMAGE], [ints(0, -1, 3)], {}),
    "squeeze": ("Squeeze", [(2, 1, 3, 1)], [ints(-1)], {}),
    "unsqueeze": ("Unsqueeze", [(2, 3)], [ints(0, 3)], {}),
    "transpose": ("Transpose", [IMAGE], [], {"perm": [0, 2, 3, 1]}),
    "transpose_reverse": ("Transpose", [(2, 3, 4)], [], {}),
    "concat": ("Concat", [IMAGE, (2, 3, 9, 11)], [], {"axis": -3}),
    "pad": ("Pad", [IMAGE], [ints(0, 0, 1, 2, 0, 1, 0, 3), np.float32(0.25)], {}),
    "softmax": ("Softmax", [IMAGE], [], {"axis": 1}),
    "identity": ("Identity", [IMAGE], [], {}),
    "dropout": ("Dropout", [IMAGE], [], {}),
    "reduce_mean_image": ("ReduceMean", [IMAGE], [], {"axes": [2, 3], "keepdims": 0}),
    "reduce_mean": ("ReduceMean", [IMAGE], [], {"axes": [-1]}),
    "reduce_sum": ("ReduceSum", [IMAGE], [ints(1, 3)], {"keepdims": 0}),
    "reduce_max": ("ReduceMax", [IMAGE], [], {}),
}


@pytest.mark.parametrize("name", SINGLES)
def test_single_operator(name: str) -> None:
    op, shapes, constants, attrs = SINGLES[name]
    assert_same(single(op, shapes, constants, **attrs))


def test_softmax_before_opset_13_flattens_the_trailing_axes() -> None:
    assert_same(single("Softmax", [(2, 3, 4)], opset=11, axis=1))


def test_clip_with_attributes_before_opset_11() -> None:
    assert_same(single("Clip", [IMAGE], opset=9, min=0.0, max=6.0))


@pytest.mark.parametrize(
    "model",
    [resnet18(image=64), resnet_tiny(batch=2), mobile_tiny(), mlp(batch=3)],
    ids=lambda model: model.graph.name,
)
def test_built_in_models_agree_with_onnx_runtime(model: onnx.ModelProto) -> None:
    assert_same(model, tolerance=1e-5)


@pytest.mark.parametrize("model", [resnet18(image=64), mobile_tiny()], ids=lambda model: model.graph.name)
def test_float_passes_keep_the_result_and_fold_every_batch_norm(model: onnx.ModelProto) -> None:
    graph = PassManager(float_passes()).run(from_onnx(model))
    assert not any(node.op in ("batch_norm", "identity") for node in graph.nodes)
    inputs = normal_inputs(model)
    expected = run_ort(model, inputs)["y"]
    assert np.abs(evaluate(graph, inputs)["y"] - expected).max() <= 1e-5 * np.abs(expected).max()


def test_resnet18_has_torchvisions_size() -> None:
    model = resnet18()
    trained = sum(
        np.prod(tensor.dims, dtype=np.int64) for tensor in model.graph.initializer if "running" not in tensor.name
    )
    assert trained == 11_689_512


def test_models_are_seeded() -> None:
    assert resnet_tiny(seed=3).SerializeToString() == resnet_tiny(seed=3).SerializeToString()
    assert resnet_tiny(seed=3).SerializeToString() != resnet_tiny(seed=4).SerializeToString()


def test_shape_arithmetic_is_computed_at_import() -> None:
    """PyTorch exports x.view(x.size(0), -1) as Shape, Gather, Unsqueeze, Concat, Reshape."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"], axis=0),
        helper.make_node("Unsqueeze", ["n", "axes"], ["n1"]),
        helper.make_node("Concat", ["n1", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["y"]),
    ]
    constants = {"zero": np.int64(0), "axes": ints(0), "rest": ints(-1)}
    graph = helper.make_graph(
        nodes,
        "view",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 12])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    imported = from_onnx(model)
    assert [node.op for node in imported.nodes] == ["reshape"]
    assert_same(model)


def test_values_keep_the_onnx_tensor_names() -> None:
    model = resnet_tiny()
    graph = from_onnx(model)
    tensors = {output for node in model.graph.node for output in node.output}
    assert {node.output.origin for node in graph.nodes} == tensors


def test_symbolic_batch_takes_batch_or_shapes() -> None:
    model = mlp(batch="N")
    assert from_onnx(model, batch=4).inputs[0].shape == (4, 1, 28, 28)
    assert from_onnx(model, shapes={"x": (2, 1, 28, 28)}).inputs[0].shape == (2, 1, 28, 28)


def test_reads_a_file_and_bytes(tmp_path) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(mlp(), path)
    assert from_onnx(path).name == "net"
    assert from_onnx(path.read_bytes()).name == "mlp"
