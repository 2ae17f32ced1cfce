"""Convolutions with channels in blocks, on every kind of schedule and processor, against numpy."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compiler.backend.cpu import CpuTarget, winograd
from compiler.backend.cpu.convolution import tiles
from compiler.backend.cpu.platforms import PLATFORMS
from compiler.backend.cpu.processor import Processor
from compiler.backend.llvm.cache import VARIABLE as CACHE
from compiler.graph.fuse import FusedGroup
from compiler.graph.interpreter import evaluate
from compiler.graph.ir import Graph
from compiler.graph.partition import fuse_on_targets, partition
from compiler.graph.passes.layout import insert_layout_transforms
from runtime.thread_pool import process_pool
from tests.compiler.cpu.harness import execute, native

AVX2, AVX512 = Processor.of(None, "haswell"), Processor.of(None, "skylake-avx512")
A53, A9 = (Processor.of(kind.triple, kind.cpu) for kind in (PLATFORMS["arm64"], PLATFORMS["armv7"]))
# Schedules for ARM are right here as well.
CPU = {AVX2: "haswell", AVX512: "host", A9: "haswell"}


def relaid(graph: Graph, target: CpuTarget) -> tuple[Graph, list[FusedGroup]]:
    """The graph in the target's layouts, and its groups."""
    partition(graph, [target])
    laid = insert_layout_transforms(graph, {target.name: target})
    return laid, fuse_on_targets(laid, [target])


def compare(graph: Graph, feeds: Mapping[str, np.ndarray], processor: Processor) -> list[str]:
    """Run the graph as the target lays it out, and compare; returns the layouts of the groups' outputs."""
    target = CpuTarget(processor=processor)
    laid, groups = relaid(graph, target)
    outputs = execute([target.compile(group) for group in groups], laid, feeds, partial(native, cpu=CPU[processor]))
    expected = evaluate(graph, feeds)
    for name, value, got in zip(laid.output_names, laid.outputs, outputs, strict=True):
        want = expected[name]
        assert got.shape == value.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=2e-5 * float(np.abs(want).max()))
    return [group.output.layout for group in groups]


def convolution(
    rng: np.random.Generator, x: tuple[int, int, int, int], outputs: int, kernel: tuple[int, int], attrs: dict[str, Any]
) -> tuple[Graph, dict[str, np.ndarray]]:
    """conv2d + bias + residual + relu, of an input that a 1 x 1 convolution has brought into blocks."""
    graph = Graph("conv")
    value = graph.input("x", x, "float32")

    def const(name: str, *shape: int):
        return graph.const(rng.normal(size=shape).astype(np.float32), name)

    if x[1] % 4 == 0:
        value = graph.op("conv2d", [value, const("w0", x[1], x[1], 1, 1)], {"strides": (1, 1)})
    groups = attrs.get("groups", 1)
    inputs = [value, const("w", outputs, x[1] // groups, *kernel), const("b", outputs)]
    y = graph.op("conv2d", inputs, attrs)
    y = graph.op("relu", [graph.op("add", [y, graph.input("r", y.shape, "float32")])])
    graph.mark_output(y)
    feeds = {v.name: rng.normal(size=v.shape).astype(np.float32) for v in graph.inputs}
    return graph, feeds


@st.composite
def cases(draw: st.DrawFn) -> tuple[tuple[int, int, int, int], int, tuple[int, int], dict[str, Any]]:
    depthwise = draw(st.booleans())
    channels = draw(st.sampled_from((16, 32, 8) if depthwise else (3, 8, 16, 32, 48)))
    outputs = channels if depthwise else draw(st.sampled_from((8, 16, 32, 64)))
    kernel = draw(st.sampled_from(((1, 1), (3, 3), (3, 3), (5, 2), (7, 7))))
    strides = draw(st.sampled_from(((1, 1), (1, 1), (2, 2), (2, 1))))
    dilations = draw(st.sampled_from(((1, 1), (1, 1), (1, 2))))
    pads = tuple(draw(st.integers(0, 2)) for _ in range(4))
    least = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    height, width = (draw(st.integers(low, 19)) for low in least)
    attrs = {"strides": strides, "dilations": dilations, "pads": pads, "groups": channels if depthwise else 1}
    return (draw(st.integers(1, 2)), channels, height, width), outputs, kernel, attrs


@settings(max_examples=36, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cases(), st.sampled_from((AVX2, AVX512, A9)))
def test_random_convolutions(case: Any, processor: Processor) -> None:
    graph, feeds = convolution(np.random.default_rng(0), *case)
    compare(graph, feeds, processor)


@pytest.mark.parametrize("transform", [winograd.F2, winograd.F4, None], ids=["F2", "F4", "direct"])
@pytest.mark.parametrize("size", [(4, 8), (7, 14), (9, 5)])
@pytest.mark.parametrize("pads", [(1, 1, 1, 1), (0, 0, 0, 0), (2, 0, 1, 2)])
def test_transforms(
    monkeypatch: pytest.MonkeyPatch,
    transform: winograd.Transform | None,
    size: tuple[int, int],
    pads: tuple[int, int, int, int],
) -> None:
    monkeypatch.setenv(CACHE, "")  # what is known of kernels follows from the source, not from what is put in its place
    monkeypatch.setattr(winograd, "algorithms", lambda x, shape, processor: [transform])
    attrs = {"strides": (1, 1), "pads": pads}
    graph, feeds = convolution(np.random.default_rng(1), (2, 16, *size), 32, (3, 3), attrs)
    for processor in (AVX512, A9):
        compare(graph, feeds, processor)


def test_the_transforms_are_exact_on_integers() -> None:
    rng = np.random.default_rng(2)
    for transform in (winograd.F2, winograd.F4):
        d, g = rng.integers(-9, 9, (transform.alpha,) * 2), rng.integers(-9, 9, (3, 3))
        b, gm, a = map(np.array, (transform.input, transform.weight, transform.output))
        got = a @ ((gm @ g @ gm.T) * (b @ d @ b.T)) @ a.T
        windows = np.lib.stride_tricks.sliding_window_view(d, (3, 3))
        np.testing.assert_allclose(got, np.einsum("ijkl,kl->ij", windows, g), atol=1e-9)


def test_weights_are_transformed_in_blocks() -> None:
    w = np.random.default_rng(7).standard_normal((32, 24, 3, 3)).astype(np.float32)
    for transform in (winograd.F2, winograd.F4):
        g = np.array(transform.weight)
        blocks = transform.weights(w, 8, 16)
        assert blocks.shape == (transform.alpha**2, 2, 3, 8, 16) and blocks.dtype == np.float32
        for o, c in ((0, 0), (17, 9), (31, 23)):
            got = blocks[:, o // 16, c // 8, c % 8, o % 16].reshape(transform.alpha, transform.alpha)
            np.testing.assert_allclose(got, g @ w[o, c].astype(np.float64) @ g.T, rtol=1e-6, atol=1e-7)


def test_blocks_run_through_what_follows_a_convolution() -> None:
    rng = np.random.default_rng(3)
    graph = Graph("chain")
    x = graph.input("x", (1, 3, 12, 12), "float32")
    y = graph.op(
        "conv2d", [x, graph.const(rng.normal(size=(32, 3, 3, 3)).astype(np.float32), "w")], {"strides": (1, 1)}
    )
    y = graph.op("max_pool2d", [y], {"kernel": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1)})
    y = graph.op("mul", [y, graph.const(rng.normal(size=(1, 32, 1, 1)).astype(np.float32), "s")])
    y = graph.op("avg_pool2d", [graph.op("sigmoid", [y])], {"kernel": y.shape[2:], "strides": (1, 1)})
    graph.mark_output(y)
    layouts = compare(graph, {"x": rng.normal(size=x.shape).astype(np.float32)}, AVX512)
    assert layouts == ["NCHW16c"] * (len(layouts) - 1) + ["NCHW"]


@pytest.mark.parametrize("outputs", [5, 18, 64, 100, 1000])
@pytest.mark.parametrize("processor", [AVX2, AVX512, A9], ids=["avx2", "avx512", "neon"])
def test_dense(outputs: int, processor: Processor) -> None:
    rng = np.random.default_rng(4)
    graph = Graph("dense")
    x = graph.input("x", (3, 33), "float32")
    w = graph.const(rng.normal(size=(outputs, 33)).astype(np.float32), "w")
    b = graph.const(rng.normal(size=outputs).astype(np.float32), "b")
    graph.mark_output(graph.op("relu", [graph.op("dense", [x, w, b])]))
    compare(graph, {"x": rng.normal(size=(3, 33)).astype(np.float32)}, processor)


def test_tiles_fit_the_registers_and_divide_the_output() -> None:
    for processor in (AVX2, AVX512, A53, A9):
        for tile in tiles(8, 14, 14, processor):
            assert tile.registers(processor.by_lane) <= processor.registers
            assert 8 % tile.vectors == 14 % tile.rows == 14 % tile.columns == 0


def test_threads_change_nothing() -> None:
    graph, feeds = convolution(np.random.default_rng(5), (1, 32, 14, 14), 64, (3, 3), {"strides": (1, 1)})
    target = CpuTarget()
    laid, groups = relaid(graph, target)
    kernels = [target.compile(group) for group in groups]
    results = []
    for threads in (1, 2, 5):
        process_pool().use(threads)
        results += [execute(kernels, laid, feeds, native)[0] for _ in range(3)]
    process_pool().use(1)
    assert all(np.array_equal(results[0], result) for result in results)


def test_groups_of_one_signature_share_a_kernel() -> None:
    rng = np.random.default_rng(6)
    graph = Graph("twice")
    y = graph.input("x", (1, 16, 8, 8), "float32")
    for index in range(4):
        w = graph.const(rng.normal(size=(16, 16, 3, 3)).astype(np.float32), f"w{index}")
        y = graph.op("relu", [graph.op("conv2d", [y, w], {"strides": (1, 1), "pads": (1, 1, 1, 1)})])
    graph.mark_output(y)
    target = CpuTarget()
    _, groups = relaid(graph, target)
    symbols = [target.compile(group).symbol for group in groups if group.anchor.op == "conv2d"]
    assert len(symbols) == 4 and len(set(symbols[1:3])) == 1
    compare(graph, {"x": rng.normal(size=(1, 16, 8, 8)).astype(np.float32)}, AVX512)
