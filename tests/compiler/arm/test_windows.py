"""Depthwise convolution on emulated ARM processors: every edge of the image, numbers that are none, and structures of
channels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from onnx import TensorProto, helper, numpy_helper

from benchmarks.guest import Guest
from compiler import te
from compiler.backend.llvm import llvm_ir
from compiler.lower import lower
from vdla.deploy import deploy

CHANNELS = 8


@pytest.mark.parametrize("platform", ["arm64", "armv7"])
@pytest.mark.parametrize(
    ("height", "width", "stride", "pads"),
    [(12, 28, 2, (1, 1, 1, 1)), (9, 14, 2, (0, 0, 1, 1)), (7, 7, 2, (1, 1, 1, 1)), (6, 16, 1, (1, 1, 1, 1))],
)
def test_edges(
    height: int, width: int, stride: int, pads: tuple[int, int, int, int], platform: str, tmp_path: Path
) -> None:
    rng = np.random.default_rng(height)
    x = rng.standard_normal((1, CHANNELS, height, width)).astype(np.float32)
    x[0, 3, height // 2, width - 2] = np.nan
    w = rng.standard_normal((CHANNELS, 1, 3, 3)).astype(np.float32)
    top, left, bottom, right = pads
    windows = sliding_window_view(np.pad(x[0], ((0, 0), (top, bottom), (left, right))), (3, 3), axis=(1, 2))
    sums = np.einsum("chwij,cij->chw", windows[:, ::stride, ::stride].astype(np.float64), w[:, 0])
    expected = np.maximum(sums, 0.0)[None]
    conv = helper.make_node("Conv", ["x", "w"], ["c"], group=CHANNELS, strides=[stride, stride], pads=list(pads))
    graph = helper.make_graph(
        [conv, helper.make_node("Relu", ["c"], ["y"])],
        "edges",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, expected.shape)],
        [numpy_helper.from_array(w, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    guest = Guest.of(deploy(model, tmp_path / "model.o", platform=platform))
    (got,) = guest.run([x], [(expected.shape, "float32")])
    assert 0 < np.isnan(expected).sum() < expected.size / 8
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("pixels", "stores"), [(8, 1), (6, 0)])
def test_vectors_are_stored_as_structures(pixels: int, stores: int) -> None:
    x = te.placeholder((4, pixels), "float32", "x")
    y = te.compute((pixels, 4), lambda pixel, channel: x[channel, pixel] * 2.0, "y")
    s = te.create_schedule(y)
    pixel, channel = y.op.axis  # type: ignore[attr-defined]
    outer, lane = s[y].split(pixel, factor=4)
    s[y].reorder(outer, channel, lane)
    s[y].unroll(channel)
    s[y].vectorize(lane)
    text = llvm_ir([lower(s, [x, y])], target_triple="aarch64-unknown-linux-gnu", cpu="cortex-a53")
    assert text.count("store <16 x float>") == stores
