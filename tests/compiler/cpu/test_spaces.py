"""Every schedule that tuning may try of a group computes the same, on every processor; the default is the first."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from compiler.backend.cpu import CpuTarget
from compiler.backend.cpu.processor import Processor
from compiler.graph.fuse import FusedGroup
from compiler.graph.interpreter import evaluate
from compiler.graph.ir import Graph
from compiler.tune.space import ConfigSpace, Knobs
from tests.compiler.cpu.harness import execute, native
from tests.compiler.cpu.test_convolution import AVX2, AVX512, CPU, convolution, relaid


class One:
    """Knows one point of one group's space, and nothing of other groups."""

    def __init__(self, group: FusedGroup, point: Knobs) -> None:
        self._group, self._point = group, point

    def knobs(self, target: CpuTarget, group: FusedGroup) -> Knobs | None:
        return self._point if group is self._group else None


def spaces(graph: Graph, processor: Processor) -> tuple[Graph, list[FusedGroup], FusedGroup, ConfigSpace]:
    """The graph laid out, its groups, the last of them that has a space, and that."""
    target = CpuTarget(processor=processor)
    laid, groups = relaid(graph, target)
    found = [(group, space) for group in groups if (space := target.space(group)) is not None]
    return laid, groups, *found[-1]


CASES: dict[str, tuple[tuple[int, int, int, int], int, tuple[int, int], dict[str, Any]]] = {
    "3 x 3": ((1, 32, 8, 8), 64, (3, 3), {"strides": (1, 1), "pads": (1, 1, 1, 1)}),
    "3 x 3, stride 2": ((1, 64, 8, 8), 32, (3, 3), {"strides": (2, 2), "pads": (1, 0, 1, 2)}),
    "1 x 1": ((2, 64, 4, 8), 32, (1, 1), {"strides": (1, 1), "pads": (0, 0, 0, 0)}),
    "image": ((1, 3, 12, 12), 32, (5, 5), {"strides": (2, 2), "pads": (2, 2, 2, 2)}),
    "no good tile": ((1, 32, 5, 5), 32, (3, 3), {"strides": (1, 1), "pads": (1, 1, 1, 1)}),
    "depthwise": ((1, 32, 6, 6), 32, (3, 3), {"strides": (1, 1), "pads": (1, 1, 1, 1), "groups": 32}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    "processor", [pytest.param(AVX2, id="avx2", marks=pytest.mark.slow), pytest.param(AVX512, id="avx512")]
)
def test_every_schedule_computes_the_same(case: str, processor: Processor) -> None:
    graph, feeds = convolution(np.random.default_rng(0), *CASES[case])
    laid, groups, group, space = spaces(graph, processor)
    (want,) = evaluate(graph, feeds).values()
    # Each value of each knob but the tile at least once.
    points = space.valid_indices()
    chosen, seen = [int(points[0])], set()
    for point in np.random.default_rng(1).permutation(points).tolist():
        values = {(name, value) for name, value in space.values(point).items() if name != "tile"}
        if not values <= seen:
            chosen.append(point)
            seen |= values
    others = CpuTarget(processor=processor)
    kernels = {each: others.compile(each) for each in groups}
    for point in chosen:
        kernels[group] = CpuTarget(processor=processor, tuned=One(group, space.entity(point))).compile(group)
        (got,) = execute(list(kernels.values()), laid, feeds, partial(native, cpu=CPU[processor]))
        np.testing.assert_allclose(
            got, want, rtol=1e-4, atol=2e-5 * float(np.abs(want).max()), err_msg=str(space.values(point))
        )


@pytest.mark.parametrize("case", CASES)
def test_the_first_point_is_the_default(case: str) -> None:
    graph, _ = convolution(np.random.default_rng(0), *CASES[case])
    _, groups, group, space = spaces(graph, AVX512)
    assert space.valid_indices()[0] == 0 and len(space) + sum(space.removed().values()) == space.size
    default = CpuTarget(processor=AVX512).compile(group)
    first = CpuTarget(processor=AVX512, tuned=One(group, space.entity(0))).compile(group)
    assert repr(first.func) == repr(default.func)


def test_the_algorithm_is_a_decision() -> None:
    graph, _ = convolution(np.random.default_rng(0), *CASES["3 x 3"])
    *_, space = spaces(graph, AVX512)
    assert {v["algorithm"] for v in map(space.values, space.valid_indices())} == {"direct", "F(2x2)", "F(4x4)"}
    for case in ("1 x 1", "3 x 3, stride 2"):
        *_, space = spaces(convolution(np.random.default_rng(0), *CASES[case])[0], AVX512)
        assert "algorithm" not in {knob.name for knob in space.knobs}
