"""The static memory plan: buffers that live at the same time never share a byte."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.errors import CompileError
from compiler.frontend.onnx_import import from_onnx
from compiler.graph.fuse import fuse
from compiler.graph.memory_plan import Buffer, lifetimes, plan
from compiler.graph.pipeline import to_integer
from vdla.models import resnet18

LIVES = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 20), st.integers(0, 6)), max_size=25)


def buffers(lives: list[tuple[int, int, int]]) -> list[Buffer]:
    return [Buffer(str(i), size, first, first + length) for i, (size, first, length) in enumerate(lives)]


@given(LIVES, st.sampled_from([1, 4, 64]))
def test_live_buffers_never_overlap(lives: list[tuple[int, int, int]], alignment: int) -> None:
    todo = buffers(lives)
    result = plan(todo, alignment=alignment)
    for a, b in combinations(todo, 2):
        together = any(a.first_use <= step <= a.last_use for step in range(b.first_use, b.last_use + 1))
        start_a, start_b = result.offsets[a.name], result.offsets[b.name]
        assert not together or not set(range(start_a, start_a + a.size)) & set(range(start_b, start_b + b.size))
    assert all(offset % alignment == 0 for offset in result.offsets.values())
    assert all(result.offsets[b.name] + b.size <= result.peak for b in todo)


@given(LIVES)
def test_the_peak_lies_between_what_is_live_at_once_and_the_sum(lives: list[tuple[int, int, int]]) -> None:
    todo = buffers(lives)
    result = plan(todo, alignment=1)
    at_once = [sum(b.size for b in todo if b.first_use <= step <= b.last_use) for step in range(30)]
    assert max(at_once) <= result.peak <= result.total == sum(b.size for b in todo)


def test_a_chain_needs_two_buffers() -> None:
    result = plan([Buffer(str(i), 100, i, i + 1) for i in range(10)], alignment=4)
    assert (result.peak, result.total) == (200, 1000)


def test_the_smallest_gap_is_taken() -> None:
    blocks = [
        Buffer("a", 100, 0, 9),
        Buffer("wide", 90, 0, 1),
        Buffer("c", 80, 0, 9),
        Buffer("tight", 70, 0, 1),
        Buffer("e", 60, 0, 9),
        Buffer("late", 50, 5, 9),
    ]
    result = plan(blocks, alignment=1)
    assert result.offsets["late"] == result.offsets["tight"]
    assert result.peak == 400


@pytest.mark.parametrize(
    "bad",
    [
        [Buffer("a", 1, 0, 0), Buffer("a", 1, 0, 0)],
        [Buffer("a", -1, 0, 0)],
        [Buffer("a", 1, 3, 2)],
    ],
)
def test_nonsense_is_refused(bad: list[Buffer]) -> None:
    with pytest.raises(CompileError):
        plan(bad)
    with pytest.raises(CompileError):
        plan([], alignment=0)


def test_resnet18_shares_its_activations() -> None:
    graph, _ = to_integer(from_onnx(resnet18()))
    groups = fuse(graph)
    todo = lifetimes(graph, groups)
    result = plan(todo)
    assert result.total > 2 * result.peak
    # x stays (602112); conv1's output (802816) and its pooled copy (200704) meet.
    assert result.peak == 1_605_632
    released = plan(lifetimes(graph, groups, pin_inputs=False))
    assert released.peak < result.peak


def test_pinned_outputs_share_their_place_with_nothing() -> None:
    graph = from_onnx(resnet18())
    groups = fuse(graph)
    free, pinned = (plan(lifetimes(graph, groups, pin_outputs=pin)) for pin in (False, True))
    sizes = {value.name: value.nbytes for group in groups for value in group.outputs}
    (output,) = graph.outputs
    begin, end = pinned.offsets[output.name], pinned.offsets[output.name] + output.nbytes
    others = [(pinned.offsets[name], size) for name, size in sizes.items() if name != output.name]
    assert all(offset >= end or offset + size <= begin for offset, size in others)
    assert free.peak <= pinned.peak <= free.peak + output.nbytes + 64
