"""Transposed convolutions by phases against ONNX Runtime: any window, stride and padding, any number of channels."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compiler.backend.cpu import CpuTarget
from compiler.backend.cpu.processor import Processor
from compiler.frontend.onnx_import import from_onnx
from compiler.graph.pass_manager import PassManager
from compiler.graph.pipeline import float_passes
from tests.compiler.cpu.harness import execute, native
from tests.compiler.cpu.test_convolution import AVX2, AVX512, CPU, relaid
from tests.graph.helpers import normal_inputs, run_ort
from vdla.models.builder import ModelBuilder

Case = tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """The shapes of input and weight, and the attributes of a ConvTranspose."""
    groups = draw(st.sampled_from((1, 1, 1, 1, 2)))
    channels, outputs = draw(st.sampled_from((3, 8, 16, 20, 32))), draw(st.sampled_from((1, 3, 5, 8, 16, 32, 48)))
    channels, outputs = (groups * -(-n // groups) for n in (channels, outputs))
    size = draw(st.sampled_from(((1, 1), (4, 4), (1, 7), (5, 3), (8, 9))))
    kernel = tuple(draw(st.integers(1, 5)) for _ in size)
    strides = tuple(draw(st.integers(1, 3)) for _ in size)
    dilations = draw(st.sampled_from(((1, 1), (1, 1), (1, 1), (1, 2))))
    extra = tuple(draw(st.integers(0, s - 1)) for s in strides)
    spans = [s * (n - 1) + (k - 1) * d + 1 for n, k, s, d in zip(size, kernel, strides, dilations, strict=True)]
    pads = [draw(st.integers(0, min(2, (span - 1) // 2))) for _ in range(2) for span in spans]
    attrs = {"group": groups, "strides": strides, "pads": pads, "dilations": dilations, "output_padding": extra}
    shape = (draw(st.integers(1, 2)), channels, *size)
    return shape, (channels, outputs // groups, *kernel), attrs


def check(case: Case, processor: Processor) -> list[str]:
    """ConvTranspose with a bias, batch norm and a rectifier; returns the layouts of the groups' outputs."""
    shape, weight, attrs = case
    b = ModelBuilder("transposed", 0)
    outputs = weight[1] * attrs["group"]
    w, bias = b.weight("w", b.normal(weight, 1.0)), b.weight("b", b.normal((outputs,), 1.0))
    y = b.node("ConvTranspose", [b.input("x"), w, bias], "conv", 1.0, **attrs)
    b.node("Relu", [b.batch_norm(y, "bn", outputs)], "y", 1.0)
    model = b.model({"x": shape}, {"y": ("n", outputs, "h", "w")})
    feeds = normal_inputs(model)
    graph = PassManager(float_passes()).run(from_onnx(model))
    assert [node.op for node in graph.nodes] == ["conv_transpose", "relu"]
    target = CpuTarget(processor=processor)
    laid, groups = relaid(graph, target)
    (got,) = execute([target.compile(group) for group in groups], laid, feeds, partial(native, cpu=CPU[processor]))
    want = run_ort(model, feeds)["y"]
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=2e-5 * float(np.abs(want).max(initial=1.0)))
    return [group.output.layout for group in groups]


@settings(max_examples=40, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cases(), st.sampled_from((AVX2, AVX512)))
def test_random(case: Case, processor: Processor) -> None:
    check(case, processor)


@pytest.mark.parametrize("processor", [AVX2, AVX512], ids=["avx2", "avx512"])
def test_blocks_of_channels(processor: Processor) -> None:
    layout = f"NCHW{processor.lanes}c"
    attrs = {"group": 1, "strides": (2, 2), "pads": (1, 1, 1, 1)}
    assert check(((1, 32, 4, 4), (32, 64, 4, 4), attrs), processor) == [layout, layout, "NCHW"]
    # Few channels are computed with their phases beside them, and come out plain.
    assert check(((1, 32, 4, 4), (32, 3, 4, 4), attrs), processor) == [layout, "NCHW"]
