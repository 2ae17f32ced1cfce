"""Fused groups on VDLA: every operator family, over configurations, against the numpy references."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.graph.ir import Graph
from compiler.ops.quantization import pack_params
from hw.config import Config
from tests.vdla.groups import GroupRun, run_groups

CONFIGS = {
    "tiny": {},
    "wide": {"block_in": 4, "block_out": 8},
    "deep": {"block_in": 8, "block_out": 4},
    "batch": {"batch": 2},
}


def machine(name: str) -> Config:
    return Config.load("tiny").with_(**CONFIGS[name])


def params(rng: np.random.Generator, channels: int, shift: int = 24) -> np.ndarray:
    return pack_params(
        rng.integers(-500, 500, channels), rng.integers(1 << 16, 1 << 17, channels), np.full(channels, shift)
    )


def conv_graph(
    rng: np.random.Generator,
    n: int,
    ic: int,
    h: int,
    w: int,
    oc: int,
    k: tuple[int, int],
    s: int,
    p: int,
    add: str = "",
) -> Graph:
    g = Graph("conv")
    x = g.input("x", (n, ic, h, w), "int8")
    weights = g.const(rng.integers(-128, 128, (oc, ic, *k)).astype(np.int8), "w")
    acc = g.op("conv2d", [x, weights], {"strides": (s, s), "pads": (p, p, p, p), "pad_value": 7})
    q = g.op("requantize", [acc, g.const(params(rng, oc), "p")], {"zero_point": 3, "low": -100, "high": 120})
    if add:
        other = g.input("other", q.shape, "int8")
        a, b = (q, other) if add == "first" else (other, q)
        q = g.op(
            "qadd", [a, b],
            {"za": 3, "zb": -5, "k": 16, "m2": 40000, "mult": 100000, "shift": 33, "zero_point": -2, "low": -128, "high": 127},
        )  # fmt: skip
    g.mark_output(q)
    return g


def check(runs: list[GroupRun]) -> None:
    for run in runs:
        np.testing.assert_array_equal(run.functional, run.expected)
        np.testing.assert_array_equal(run.cycle, run.expected)
        assert run.cycles > 0


@pytest.mark.parametrize("threads", [True, False])
@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize(
    "shape",
    [
        (1, 8, 6, 6, 8, (3, 3), 1, 1),
        (2, 5, 7, 5, 9, (3, 2), 2, 1),
        (1, 16, 4, 4, 20, (1, 1), 1, 0),
        (3, 4, 9, 8, 4, (5, 5), 2, 2),
    ],
)
def test_convolution(config: str, shape: tuple, threads: bool) -> None:
    rng = np.random.default_rng(1)
    check(run_groups(machine(config), conv_graph(rng, *shape), virtual_threads=threads))


@pytest.mark.parametrize("add", ["first", "second"])
@pytest.mark.parametrize("config", CONFIGS)
def test_convolution_with_residual(config: str, add: str) -> None:
    rng = np.random.default_rng(2)
    check(run_groups(machine(config), conv_graph(rng, 1, 8, 6, 6, 12, (3, 3), 1, 1, add)))
