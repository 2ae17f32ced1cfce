"""ONNX's own operator tests through the CPU target: every model that is taken computes what ONNX expects."""

from __future__ import annotations

import random
from typing import Any

import pytest

from benchmarks.onnx_coverage import PAGE, coverage, node_tests, page

PARTS = 4


@pytest.fixture(scope="module")
def tests() -> list[Any]:
    return node_tests()


@pytest.mark.parametrize("part", range(PARTS))
def test_a_seeded_part(tests: list[Any], part: int) -> None:
    chosen = random.Random(part).sample(tests, 60)
    outcomes = coverage(chosen)
    assert [f"{o.test}: {o.reason}" for o in outcomes if o.status == "failed"] == []
    assert sum(o.status == "passed" for o in outcomes) > 20


@pytest.mark.slow
def test_all_and_the_page(tests: list[Any]) -> None:
    outcomes = coverage(tests)
    assert [f"{o.test}: {o.reason}" for o in outcomes if o.status == "failed"] == []
    assert page(outcomes) == PAGE.read_text()
