"""Models that cannot be imported: one typed error each, in one line that says what, where and what would be right."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compiler.errors import ModelError, UnsupportedModelError
from compiler.frontend.onnx_import import from_onnx
from tests.graph.helpers import single
from vdla.models import mlp, mobile_tiny, resnet_tiny


def error_of(source, **options) -> str:
    with pytest.raises(ModelError) as caught:
        from_onnx(source, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_missing_file(tmp_path) -> None:
    assert "No such file" in error_of(tmp_path / "absent.onnx")


@pytest.mark.parametrize("content", [b"this is not a model at all", b"\x00\xff\x12", b"{}", b""])
def test_not_an_onnx_file(tmp_path, content: bytes) -> None:
    path = tmp_path / "wrong.onnx"
    path.write_bytes(content)
    assert "is not an ONNX model" in error_of(path)
    assert "is not an ONNX model" in error_of(content)


def test_truncated_file(tmp_path) -> None:
    path = tmp_path / "cut.onnx"
    path.write_bytes(mlp().SerializeToString()[:5000])
    assert "is not an ONNX model" in error_of(path)


def test_dynamic_shape_names_the_dimension_and_the_remedy() -> None:
    message = error_of(single("Relu", [("N", 3, "height", 8)]))
    assert "'N' at axis 0" in message and "'height' at axis 2" in message
    assert "shapes={'x0': (..., 3, ..., 8)}" in message


def test_batch_alone_does_not_fix_another_axis() -> None:
    message = error_of(single("Relu", [("N", 3, "height", 8)]), batch=1)
    assert "'height' at axis 2" in message and "'N'" not in message


def test_given_shape_must_fit() -> None:
    assert "fixed extent 3 at axis 1" in error_of(resnet_tiny(), shapes={"x": (1, 4, 32, 32)})
    assert "has 4 dimensions" in error_of(resnet_tiny(), shapes={"x": (1, 3)})
    assert "no input 'image'" in error_of(resnet_tiny(), shapes={"image": (1, 3, 32, 32)})
    assert "positive extents" in error_of(mlp(batch="N"), batch=0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_weight_is_named(bad: float) -> None:
    weight = np.zeros((4, 3, 1, 1), dtype=np.float32)
    weight[1, 2] = bad
    assert "weight 'w0' holds 1 non-finite values" in error_of(single("Conv", [(1, 3, 4, 4)], [weight]))


def test_dangling_input_is_named() -> None:
    model = resnet_tiny()
    model.graph.node[3].input[0] = "nowhere"
    message = error_of(model)
    assert "'nowhere'" in message and f"'{model.graph.node[3].name}'" in message and "no node" in message


def test_unsorted_nodes() -> None:
    model = resnet_tiny()
    first, second = model.graph.node[0], model.graph.node[1]
    copy = onnx.NodeProto()
    copy.CopyFrom(first)
    first.CopyFrom(second)
    second.CopyFrom(copy)
    assert "only produced later" in error_of(model)


def test_output_without_a_producer() -> None:
    model = mlp()
    model.graph.output[0].name = "elsewhere"
    assert "graph output 'elsewhere' is produced by no node" in error_of(model)


def test_tensor_produced_twice() -> None:
    model = mlp()
    model.graph.node[1].output[0] = model.graph.node[0].output[0]
    assert "produced twice" in error_of(model)


def test_old_opset() -> None:
    assert "opset" in error_of(single("Relu", [(1, 2)], opset=6))


def test_half_precision_input() -> None:
    model = single("Relu", [(2,)])
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    assert "input 'x0' is FLOAT16" in error_of(model)


def test_weights_of_another_precision() -> None:
    assert "float64" in error_of(single("Add", [(2,)], [np.zeros(2)]))
    assert "float16" in error_of(single("Add", [(2,)], [np.zeros(2, np.float16)]))


def test_all_unsupported_operators_are_listed_with_reasons() -> None:
    nodes = [
        helper.make_node("Det", ["x"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"], name="fine"),
        helper.make_node("NonZero", ["b"], ["c"], name="second"),
        helper.make_node("Pad", ["x", "pads"], ["d"], name="third", mode="mirror"),
        helper.make_node("MyOp", ["d"], ["y"], name="fourth", domain="com.acme"),
    ]
    graph = helper.make_graph(
        nodes,
        "mixed",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 2])],
        [numpy_helper.from_array(np.array([0, 1, 0, 1]), "pads")],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.acme", 1)]
    with pytest.raises(UnsupportedModelError) as caught:
        from_onnx(helper.make_model(graph, opset_imports=opsets, ir_version=8))
    assert [(item.op, item.node) for item in caught.value.items] == [
        ("Det", "first"),
        ("NonZero", "second"),
        ("Pad", "third"),
        ("MyOp", "fourth"),
    ]
    message = str(caught.value)
    assert "4 unsupported operators" in message and "mirror" in message and "com.acme" in message


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (single("Conv", [(1, 2, 5)], [np.zeros((3, 2, 3, 3), np.float32)]), "does not fit the input"),
        (single("Reshape", [(2, 3)], [np.array([4, 2])]), "elements"),
        (single("Concat", [(2, 3), (2, 4)], axis=0), "differ outside axis"),
        (single("MaxPool", [(1, 1, 8, 8)], kernel_shape=[2, 2], pads=[-1, 0, 0, 0]), "negative pads"),
        (single("Conv", [(1, 2, 2, 2)], [np.zeros((3, 2, 3, 3), np.float32)]), "exceeds the padded extent"),
        (single("Clip", [(2,)], [np.zeros(2, np.float32)]), "min must be one number"),
        (single("Expand", [(2,), (1,)]), "the shape must be a constant"),
    ],
)
def test_operators_that_do_not_fit_say_why(model: onnx.ModelProto, reason: str) -> None:
    with pytest.raises(UnsupportedModelError, match=reason) as caught:
        from_onnx(model)
    assert len(caught.value.items) == 1


def test_a_second_output_that_is_used_is_reported() -> None:
    moments = [np.ones(2, np.float32)] * 4
    model = single("BatchNormalization", [(1, 2, 2, 2)], moments)
    model.graph.node[0].output.append("mean")
    model.graph.output.append(helper.make_tensor_value_info("mean", TensorProto.FLOAT, [2]))
    assert "BatchNormalization 'node': its output 'mean' is not implemented" in error_of(model)


def test_attributes_of_the_wrong_type_are_reported() -> None:
    assert "attribute 'perm' must be a list of integers" in error_of(single("Transpose", [(2, 2)], perm=1.5))
    assert "attribute 'pads' must have 4 entries" in error_of(
        single("MaxPool", [(1, 1, 4, 4)], kernel_shape=[2, 2], pads=[1])
    )


@pytest.mark.parametrize("seed", range(3))
def test_damaged_files_give_typed_one_line_errors(seed: int) -> None:
    rng = np.random.default_rng(seed)
    original = mobile_tiny().SerializeToString()
    refused = 0
    for _ in range(150):
        content = bytearray(original)
        for position in rng.integers(0, 3500, 3):  # where the nodes are; the weights follow
            content[position] = rng.integers(0, 256)
        try:
            from_onnx(bytes(content))
        except ModelError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 50
