"""Quantised networks on the CPU, layer by layer on ONNX Runtime's own tensors, on each instruction that this processor
has: by ONNX Runtime's quantiser, and by the kit's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import QuantType

from compiler.backend.cpu import CpuTarget
from compiler.frontend.onnx_import import from_onnx
from compiler.graph.ir import Graph
from compiler.graph.pipeline import to_integer
from tests.compiler.cpu.harness import Runner, execute_apart
from tests.compiler.cpu.test_convolution import relaid
from tests.compiler.cpu.test_int8 import INSTRUCTIONS, on
from tests.graph.helpers import normal_inputs, quantized_by_ort
from tests.graph.qdq import Comparison, calibrated, expected_values, ort_tensors, parts, recomputed
from vdla.models import mobile_tiny, mobilenet, resnet18, resnet_tiny

QUANTISERS: Mapping[str, Callable[[onnx.ModelProto], tuple[onnx.ModelProto, Graph]]] = {
    "ort-int8": lambda model: _imported(quantized_by_ort(model, QuantType.QInt8)),
    "ort-uint8": lambda model: _imported(quantized_by_ort(model, QuantType.QUInt8)),
    "own": calibrated,
}


def _imported(model: onnx.ModelProto) -> tuple[onnx.ModelProto, Graph]:
    return model, to_integer(from_onnx(model))[0]


def layer_by_layer(
    graph: Graph, inputs: Mapping[str, np.ndarray], tensors: Mapping[str, np.ndarray], target: CpuTarget, runner: Runner
) -> Iterator[Comparison]:
    """Each layer by itself on ONNX Runtime's tensors; then the fused groups, which must give what the graph means."""
    laid, groups = relaid(graph, target)
    values, known = expected_values(laid, inputs, tensors)
    layers = [part for group in groups for part in parts(group, known)]
    for part, got in zip(layers, execute_apart(target, layers, values, runner), strict=True):
        yield Comparison.of(part.name, got, values[part.output.name])
    wholes = execute_apart(target, groups, values, runner)
    for group, got in zip(groups, wholes, strict=True):
        np.testing.assert_array_equal(got, recomputed(group, values)[group.output.name], str(group))


def check(source: onnx.ModelProto, quantiser: str, instruction: str, count: int) -> None:
    model, graph = QUANTISERS[quantiser](source)
    inputs = normal_inputs(model)
    layers = list(layer_by_layer(graph, inputs, ort_tensors(model, inputs), *on(instruction)))
    print(*layers, sep="\n")
    assert len({layer.name for layer in layers}) >= count
    for layer in layers:
        assert layer.worst <= 1, layer
        assert layer.equal >= 0.99, layer


@pytest.mark.parametrize("instruction", ["amx", "vnni", "avx2"])
@pytest.mark.parametrize("quantiser", ["ort-uint8", "own"])
@pytest.mark.parametrize("model", [resnet_tiny, mobile_tiny])
def test_small(model: Callable[[], onnx.ModelProto], quantiser: str, instruction: str) -> None:
    check(model(), quantiser, instruction, 8)


@pytest.mark.slow
@pytest.mark.parametrize("quantiser", QUANTISERS)
@pytest.mark.parametrize("model", [resnet18, mobilenet])
def test_large(model: Callable[[], onnx.ModelProto], quantiser: str) -> None:
    check(model(), quantiser, next(iter(INSTRUCTIONS)), 29)
