"""A QDQ ResNet-18 made by ONNX Runtime's quantiser on the VDLA simulator, against ONNX Runtime tensor by tensor.

Each layer is compared on the inputs that ONNX Runtime gives it (see tests/graph/qdq.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import QuantType

from compiler.backend.cpu import CpuTarget
from compiler.frontend.onnx_import import from_onnx
from compiler.graph.layout import storage_shape, unpack
from compiler.graph.partition import fuse_on_targets, partition
from compiler.graph.pass_manager import PassManager
from compiler.graph.pipeline import Calibration, integer_passes
from hw.config import Config
from runtime.artifact import TensorSpec
from runtime.executor import Executor
from tests.graph.helpers import normal_inputs, quantized_by_ort, run_ort
from tests.graph.qdq import Comparison, expected_values, ort_tensors, parts, recomputed
from tests.vdla.groups import run_group
from vdla.driver import CompileOptions, compile_model
from vdla.models import resnet18
from vdla.target.target import VdlaTarget

BOARD = "pynq-z1"


def layer_by_layer(
    model: onnx.ModelProto, inputs: dict[str, np.ndarray], tensors: dict[str, np.ndarray]
) -> Iterator[Comparison]:
    """Each layer as a program of its own on the cycle simulator, fed with ONNX Runtime's tensors."""
    target = VdlaTarget(Config.load(BOARD))
    passes = [*integer_passes(Calibration(), quantized=True), *target.graph_passes()]
    graph = PassManager(passes).run(from_onnx(model))
    plugins = [target, CpuTarget()]
    partition(graph, plugins)
    values, known = expected_values(graph, inputs, tensors)
    for group in fuse_on_targets(graph, plugins):
        if group.target != target.name:
            continue
        # A fused addition never shows the convolution's own tensor: compare the two layers apart, then the whole.
        layers = parts(group, known)
        assert layers and layers[-1].output is group.output, f"{group} has no tensor of ONNX Runtime's to compare with"
        for part in layers:
            yield Comparison.of(part.name, run_group(target, part, values).cycle, values[part.output.name])
        if len(layers) > 1:
            run = run_group(target, group, recomputed(group, values))
            np.testing.assert_array_equal(run.cycle, run.expected)


def whole_network(
    model: onnx.ModelProto, inputs: dict[str, np.ndarray], tensors: dict[str, np.ndarray]
) -> tuple[list[Comparison], np.ndarray]:
    """Every quantised tensor after one run of the whole network, and the logits."""
    compiled = compile_model(model, Config.load(BOARD), options=CompileOptions(keep_tensors=True))
    executor = Executor(compiled.artifact, sim="cycle")
    run = executor.run(inputs)
    moved = {"quantize", "dequantize", "pad", "transpose", "reshape", "layout_transform"}
    assert {op for layer in run.profile.layers if layer.target == "cpu" for op in layer.op.split("+")} <= moved
    out = []
    for tensor in cast(list[dict[str, Any]], compiled.artifact.info["tensors"]):
        if tensor["dtype"] != "int8" or tensor["origin"] not in tensors:
            continue
        shape, layout = tuple(tensor["shape"]), tensor["layout"]
        stored = executor.read(TensorSpec(tensor["name"], storage_shape(shape, layout), "int8", tensor["offset"]))
        expected = tensors[tensor["origin"]]
        got = unpack(stored, shape, layout).reshape(expected.shape).astype(np.int32) + tensor["zero_offset"]
        out.append(Comparison.of(tensor["origin"], got, expected))
    return out, run.outputs["y"]


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


def check(image: int, activations: QuantType) -> None:
    source = resnet18(image=image)
    model = quantized_by_ort(source, activations)
    inputs = normal_inputs(model)
    tensors = ort_tensors(model, inputs)
    layers = list(layer_by_layer(model, inputs, tensors))
    print("each layer on ONNX Runtime's inputs:", *layers, sep="\n  ")
    assert len(layers) == 31  # 20 convolutions, 8 additions, two pools, the dense layer
    for layer in layers:
        assert layer.worst <= 1, layer
        assert layer.equal >= 0.99, layer
    drift, logits = whole_network(model, inputs, tensors)
    print("whole network:", *drift, sep="\n  ")
    assert len(drift) == 22  # what the 23 groups leave in memory, without the logits
    similar = cosine(logits, run_ort(source, inputs)["y"])
    exact = cosine(logits, run_ort(model, inputs)["y"])
    print(f"cosine of the logits to the float model {similar:.5f}, to ONNX Runtime's integers {exact:.5f}")
    assert similar >= 0.99
    assert exact >= 0.999


def test_small_image() -> None:
    check(64, QuantType.QUInt8)


@pytest.mark.slow
@pytest.mark.parametrize("activations", [QuantType.QInt8, QuantType.QUInt8])
def test_full_image(activations: QuantType) -> None:
    check(224, activations)
