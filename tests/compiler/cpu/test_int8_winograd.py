"""Winograd's filtering of int8 on each instruction for products of int16, equal to numpy's direct sum to the bit."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compiler.backend.cpu import CpuTarget, compile_kernels, int8_winograd, winograd
from compiler.backend.cpu.int8_winograd import F2, F4, fits, transform_of
from compiler.backend.cpu.processor import Processor
from compiler.graph.ir import Graph, Node
from tests.compiler.cpu.harness import execute
from tests.compiler.cpu.test_convolution import relaid
from tests.compiler.cpu.test_int8 import compare, on
from tests.compiler.cpu.test_int8 import convolution as rounded

INSTRUCTIONS = ("avx512bw", "avx2", "sse2")
HASWELL = Processor.of(None, "haswell")
TRANSFORMS = pytest.mark.parametrize("transform", [F2, F4], ids=["F2", "F4"])


@contextmanager
def always(transform: winograd.Transform) -> Iterator[None]:
    """Every convolution that the transforms are for takes this one, if its channels fill blocks."""

    def chosen(node: Node, processor: Processor) -> winograd.Transform | None:
        w = node.inputs[1]
        return transform if winograd.applies(w.shape[2:], node.attrs) and w.shape[1] % 4 == 0 else None

    with patch.object(int8_winograd, "transform_of", chosen):
        yield


def layer(
    x: Sequence[int], w: np.ndarray, pads: Sequence[int] = (1, 1, 1, 1), pad_value: int = 0, **more: Any
) -> Graph:
    """A convolution whose sums are the output."""
    graph = Graph("sums")
    attrs = {"strides": (1, 1), "pads": tuple(pads), "pad_value": pad_value, **more}
    graph.mark_output(graph.op("conv2d", [graph.input("x", x, "int8"), graph.const(w, "w")], attrs), "y")
    return graph


def direct(x: np.ndarray, w: np.ndarray, pads: Sequence[int], pad_value: int) -> np.ndarray:
    """The sums by their definition."""
    top, left, bottom, right = pads
    beside = ((0, 0), (0, 0), (top, bottom), (left, right))
    whole = np.pad(x.astype(np.int64), beside, constant_values=pad_value)
    windows = np.lib.stride_tricks.sliding_window_view(whole, (3, 3), axis=(2, 3))
    return np.einsum("nchwij,ocij->nohw", windows, w.astype(np.int64), optimize=True)


def check(
    x: np.ndarray, w: np.ndarray, instruction: str, pads: Sequence[int] = (1, 1, 1, 1), pad_value: int = 0
) -> None:
    target, runner = on(instruction)
    laid, groups = relaid(layer(x.shape, w, pads, pad_value), target)
    (got,) = execute([target.compile(group) for group in groups], laid, {"x": x}, runner)
    np.testing.assert_array_equal(got, direct(x, w, pads, pad_value))


def node_of(x: Sequence[int], w: np.ndarray, **attrs: Any) -> Node:
    (node,) = layer(x, w, **attrs).nodes
    return node


@st.composite
def layers(draw: st.DrawFn) -> dict[str, Any]:
    pads = tuple(draw(st.integers(0, 2)) for _ in range(4))
    size = [draw(st.integers(max(1, 3 - before - after), 15)) for before, after in zip(pads[:2], pads[2:], strict=True)]
    return {
        "x": (draw(st.integers(1, 2)), draw(st.sampled_from([4, 16, 20, 32, 48, 64])), *size),
        "outputs": draw(st.sampled_from([16, 32, 80])),
        "pads": pads,
        "pad_value": draw(st.integers(-128, 127)),
        "values": draw(st.sampled_from([(-128, -128), (127, 127), (-128, 127)])),
    }


@TRANSFORMS
@pytest.mark.parametrize("instruction", INSTRUCTIONS)
@settings(max_examples=5, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(case=layers(), seed=st.integers(0, 99))
def test_sums_are_those_of_the_definition(
    transform: winograd.Transform, instruction: str, case: dict[str, Any], seed: int
) -> None:
    rng, (low, high) = np.random.default_rng(seed), case["values"]
    x = rng.integers(low, high, case["x"], endpoint=True).astype(np.int8)
    w = rng.integers(-128, 128, (case["outputs"], x.shape[1], 3, 3)).astype(np.int8)
    with always(transform):
        check(x, w, instruction, case["pads"], case["pad_value"])


@pytest.mark.parametrize(("transform", "channels"), [(F2, 3632), (F4, 224)], ids=["F2", "F4"])
def test_sums_as_large_as_fit(transform: winograd.Transform, channels: int) -> None:
    """The most channels of a whole number of blocks, with weights and inputs at their limits."""
    x, w = np.full((1, channels, 4, 5), -128, np.int8), np.full((16, channels, 3, 3), -128, np.int8)
    w[1], w[2], x[0, :, 1, 2] = 127, np.resize([127, -128], w[2].shape), 127
    assert fits(transform, w)
    more = np.full((16, channels + 16, 3, 3), -128, np.int8)
    assert not fits(transform, more)
    with always(transform):
        check(x, w, "avx2", pad_value=-128)


@TRANSFORMS
def test_int16_holds_what_the_matrices_make(transform: winograd.Transform) -> None:
    for matrix in (transform.input, transform.weight):
        assert all(value == int(value) for row in matrix for value in row)
        assert 128 * max(sum(map(abs, row)) for row in matrix) ** 2 < 1 << 15


@pytest.mark.parametrize("residual", [False, True])
def test_rounding_follows(residual: bool) -> None:
    attrs = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1), "groups": 1, "pad_value": -9}
    for transform in (F2, F4):
        with always(transform):
            compare(*rounded(np.random.default_rng(4), (1, 32, 14, 9), 64, (3, 3), attrs, residual), "avx2")


def weights(outputs: int, channels: int, largest: int = 64) -> np.ndarray:
    return np.random.default_rng(0).integers(-largest, largest, (outputs, channels, 3, 3)).astype(np.int8)


def test_the_cheapest_exact_transform_is_chosen() -> None:
    image, small, large = (1, 64, 56, 56), weights(64, 64), weights(256, 256, 127)
    assert transform_of(node_of(image, small), HASWELL) is F4
    # Weights that make sums too long for F(4x4), then for F(2x2).
    assert transform_of(node_of((1, 256, 28, 28), large), HASWELL) is F4
    large[3] = -128
    assert transform_of(node_of((1, 256, 28, 28), large), HASWELL) is F2
    assert transform_of(node_of((1, 3648, 12, 12), np.full((16, 3648, 3, 3), -128, np.int8)), HASWELL) is None
    # Few pixels do not pay for 36 / 9 times as many weights, each twice as long.
    assert transform_of(node_of((1, 512, 2, 2), weights(512, 512)), HASWELL) is None


def test_what_is_left_to_the_direct_sum() -> None:
    image, w = (1, 64, 56, 56), weights(64, 64)
    for other in (node_of(image, w, strides=(2, 2)), node_of(image, w, dilations=(2, 2)), node_of(image, w[..., :2])):
        assert transform_of(other, HASWELL) is None
    assert transform_of(node_of((1, 20, 56, 56), weights(64, 20)), HASWELL) is None
    # 64 products of bytes an instruction are more than a fourth of those of int16 can make up for; 32 are not.
    for cpu, expected in (
        ("icelake-server", None),
        ("sapphirerapids", None),
        ("alderlake", F4),
        ("skylake-avx512", F4),
    ):
        assert transform_of(node_of(image, w), Processor.of(None, cpu)) is expected


def test_avx2_multiplies_pairs_of_int16() -> None:
    """VPMADDWD of YMM registers, of which the intrinsic's name and the machine code's bytes tell."""
    target = CpuTarget(processor=HASWELL)
    laid, groups = relaid(layer((1, 64, 28, 28), weights(64, 64)), target)
    kernels = [target.compile(group) for group in groups]
    (kernel,) = [kernel for kernel in kernels if kernel.lowered.facts.llvm_calls]
    assert kernel.lowered.facts.llvm_calls == ("llvm.x86.avx2.pmadd.wd",)
    (table,) = kernel.tables
    assert (table.shape, table.dtype) == ((36, 4, 1, 32, 16, 2), "int16")
    code = compile_kernels([kernel], cpu="haswell")
    two, three = (
        rb"\xc5[\x05\x0d\x15\x1d\x25\x2d\x35\x3d\x45\x4d\x55\x5d\x65\x6d\x75\x7d]\xf5",
        rb"\xc4.[\x05-\x7d]\xf5",
    )
    assert len(re.findall(two, code)) + len(re.findall(three, code, re.DOTALL)) >= 8
