"""A group that was lowered before is not lowered again, unless something that its function follows from has changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compiler.backend.cpu import CpuTarget, compile_kernels
from compiler.backend.cpu import target as target_module
from compiler.backend.llvm.cache import VARIABLE
from tests.compiler.cpu.test_convolution import AVX2, AVX512, convolution
from tests.compiler.cpu.test_spaces import One, spaces
from vdla import models
from vdla.deploy import deploy

CASE = ((1, 32, 8, 8), 64, (3, 3), {"strides": (1, 1), "pads": (1, 1, 1, 1)})


@pytest.fixture
def lowerings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The functions lowered since a cache of its own was made for the test."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    made: list[str] = []

    def lower(schedule: Any, args: Any, symbol: str, **options: Any) -> Any:
        made.append(symbol)
        return original(schedule, args, symbol, **options)

    original = target_module.lower
    monkeypatch.setattr(target_module, "lower", lower)
    return made


def test_the_second_compilation_lowers_nothing(lowerings: list[str]) -> None:
    _, groups, _, space = spaces(convolution(np.random.default_rng(0), *CASE)[0], AVX512)
    first = [CpuTarget(processor=AVX512).compile(group) for group in groups]
    image = compile_kernels(first)
    assert len(lowerings) == len(groups)
    second = [CpuTarget(processor=AVX512).compile(group) for group in groups]
    assert compile_kernels(second) == image
    assert len(lowerings) == len(groups)
    for a, b in zip(first, second, strict=True):
        assert a.symbol == b.symbol
        assert [(v.name, v.shape, v.dtype) for v in a.args] == [(v.name, v.shape, v.dtype) for v in b.args]
        assert len(a.workspaces) == len(b.workspaces)
        assert str(a.func) == str(b.func)  # lowered now, since somebody reads it
    assert len(lowerings) == 2 * len(groups)
    assert len(space) > 1


def test_the_second_library_lowers_nothing(lowerings: list[str], tmp_path: Path) -> None:
    images = []
    for name in ("first.so", "second.so"):
        deploy(models.mlp(), tmp_path / name)
        images.append((tmp_path / name).read_bytes())
    assert images[0] == images[1]
    assert len(lowerings) == len(set(lowerings)) > 0


def test_other_decisions_and_processors_are_lowered(lowerings: list[str]) -> None:
    graph, _ = convolution(np.random.default_rng(0), *CASE)
    _, _, group, space = spaces(graph, AVX512)
    points = space.valid_indices()
    compiled = [CpuTarget(processor=AVX512).compile(group)]
    for index in (points[1], points[-1], points[1]):
        compiled.append(CpuTarget(processor=AVX512, tuned=One(group, space.entity(int(index)))).compile(group))
    assert len(lowerings) == 3
    assert str(compiled[1].func) == str(compiled[3].func) != str(compiled[0].func)
    _, _, group, _ = spaces(graph, AVX2)
    CpuTarget(processor=AVX2).compile(group)
    assert lowerings.count(compiled[0].symbol) == len(lowerings) == 5  # and the one whose function was read


def test_a_damaged_entry_is_made_again(lowerings: list[str], tmp_path: Path) -> None:
    _, groups, group, _ = spaces(convolution(np.random.default_rng(0), *CASE)[0], AVX512)
    want = str(CpuTarget(processor=AVX512).compile(group).func)
    (entry,) = (tmp_path / "cache").iterdir()
    entry.write_bytes(entry.read_bytes()[:-3])
    assert str(CpuTarget(processor=AVX512).compile(group).func) == want
    assert len(lowerings) == 2
