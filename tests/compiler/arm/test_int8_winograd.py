"""Winograd's filtering of int8 on ARM, by NEON's products of int16, run under emulation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.guest import Guest
from compiler.backend.cpu import CpuTarget, winograd
from compiler.backend.cpu.int8_winograd import F2, F4, transform_of
from compiler.backend.cpu.platforms import platform_of
from compiler.backend.cpu.processor import Processor
from compiler.frontend.onnx_import import from_onnx
from compiler.graph.interpreter import evaluate
from compiler.graph.pipeline import to_integer
from tests.compiler.arm.test_networks import DOT_PRODUCT, extremes
from tests.compiler.cpu.test_convolution import relaid
from tests.compiler.cpu.test_int8_winograd import always, layer, node_of, weights
from vdla.deploy import deploy

PLATFORMS = ("arm64", "armv7")


def processor(platform: str) -> Processor:
    kind = platform_of(platform)
    return Processor.of(kind.llvm_triple, kind.cpu)


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("transform", [F2, F4], ids=["F2", "F4"])
def test_limits_to_the_bit(transform: winograd.Transform, platform: str, tmp_path: Path) -> None:
    model = extremes(-128)
    array = np.where(np.arange(192).reshape(1, 3, 8, 8) % 7, -128, 127).astype(np.float32)
    graph, _ = to_integer(from_onnx(model))
    expected = evaluate(graph, {"x": array})[graph.output_names[0]]
    with always(transform):
        deployed = deploy(model, tmp_path / "model.o", platform=platform)
    (got,) = Guest.of(deployed).run([array], [(expected.shape, expected.dtype.name)])
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_neon_multiplies_int16_by_lanes(platform: str) -> None:
    target = CpuTarget(processor=processor(platform))
    laid, groups = relaid(layer((1, 64, 28, 28), weights(64, 64)), target)
    called = {name for group in groups for name in target.compile(group).lowered.facts.llvm_calls}
    assert called == {{"arm64": "llvm.aarch64.neon.smull.v4i32", "armv7": "llvm.arm.neon.vmulls.v4i32"}[platform]}
    assert laid.outputs[0].shape == (1, 64, 28, 28)


def test_a_dot_product_of_int8_is_faster() -> None:
    node = node_of((1, 64, 56, 56), weights(64, 64))
    assert [transform_of(node, processor(name)) for name in (*PLATFORMS, DOT_PRODUCT)] == [F4, F4, None]
