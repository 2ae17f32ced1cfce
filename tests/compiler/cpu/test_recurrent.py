"""Recurrent layers with packed weights, and products of several rows, against ONNX Runtime."""

from __future__ import annotations

from functools import partial

import numpy as np
import onnx
import pytest

from compiler.backend.cpu import CpuTarget
from compiler.backend.cpu.processor import Processor
from compiler.frontend.onnx_import import from_onnx
from compiler.graph.pass_manager import PassManager
from compiler.graph.pipeline import float_passes
from tests.compiler.cpu.harness import execute, native
from tests.compiler.cpu.test_convolution import AVX2, AVX512, CPU, relaid
from tests.graph.helpers import normal_inputs, run_ort
from vdla.models.builder import ModelBuilder

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def check(model: onnx.ModelProto, processor: Processor) -> None:
    """The CPU's only output against ONNX Runtime's."""
    feeds = normal_inputs(model)
    graph = PassManager(float_passes()).run(from_onnx(model))
    target = CpuTarget(processor=processor)
    laid, groups = relaid(graph, target)
    (got,) = execute([target.compile(group) for group in groups], laid, feeds, partial(native, cpu=CPU[processor]))
    (want,) = run_ort(model, feeds).values()
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("processor", [AVX2, AVX512], ids=["avx2", "avx512"])
@pytest.mark.parametrize("op", _GATES)
@pytest.mark.parametrize(
    "steps, batch, width, direction",
    [(3, 1, 40, "forward"), (4, 3, 24, "bidirectional"), (2, 6, 5, "reverse"), (2, 1, 200, "forward")],
)
def test_layers(op: str, steps: int, batch: int, width: int, direction: str, processor: Processor) -> None:
    b = ModelBuilder("recurrent", 0)
    directions, rows = 2 if direction == "bidirectional" else 1, _GATES[op] * width
    w = b.weight("w", b.normal((directions, rows, 12), 0.3))
    r = b.weight("r", b.normal((directions, rows, width), width**-0.5))
    bias = b.weight("b", b.normal((directions, 2 * rows), 0.3))
    b.node(op, [b.input("x"), w, r, bias], "y", 1.0, hidden_size=width, direction=direction)
    check(b.model({"x": (steps, batch, 12)}, {"y": (steps, directions, batch, width)}), processor)


@pytest.mark.parametrize("processor", [AVX2, AVX512], ids=["avx2", "avx512"])
@pytest.mark.parametrize("rows", [1, 2, 7, 12, 20, 37])
@pytest.mark.parametrize("inputs, outputs", [(33, 100), (5, 17), (260, 2100)])
def test_rows_of_a_product(rows: int, inputs: int, outputs: int, processor: Processor) -> None:
    b = ModelBuilder("rows", 0)
    b.node("Relu", [b.gemm(b.input("x"), "dense", (inputs, outputs))], "y", 1.0)
    check(b.model({"x": (rows, inputs)}, {"y": (rows, outputs)}), processor)
