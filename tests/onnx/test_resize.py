"""Resizing by interpolation, of few elements and of many, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import vdla
from runtime.executor import Executor


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("coordinates", ["half_pixel", "align_corners"])
@pytest.mark.parametrize(
    ("shape", "size"), [((1, 2, 24, 20), (48, 33)), ((1, 2, 24, 40), (13, 17)), ((2, 3, 9, 7), (18, 21))]
)
def test_interpolation(mode: str, coordinates: str, shape: tuple[int, ...], size: tuple[int, ...]) -> None:
    sizes = numpy_helper.from_array(np.array((*shape[:2], *size), np.int64), "sizes")
    node = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"])
    attributes = {"mode": mode, "coordinate_transformation_mode": coordinates}
    node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, (*shape[:2], *size))
    graph = helper.make_graph([node], "resize", [x], [y], [sizes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model)
    image = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"x": image})
    (output,) = Executor(vdla.compile(model, target="cpu")).run(image).outputs.values()
    np.testing.assert_allclose(output, np.asarray(expected), rtol=1e-5, atol=1e-5)
