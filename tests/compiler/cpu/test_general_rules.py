"""The general rules of schedules, with all that they decide: rows, flat and turned stages, vectors, tasks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from compiler.backend.cpu.default_schedule import default_schedule
from compiler.graph.ir import Graph, Value
from compiler.ops.compute import compute_of
from compiler.ops.registry import TensorType
from compiler.te.tensor import placeholder
from runtime.thread_pool import process_pool
from tests.compiler.cpu.harness import check

#: enough elements for tasks
LARGE = (257, 256)


@pytest.fixture(autouse=True)
def two_threads():
    process_pool().use(2)
    yield
    process_pool().use(1)


def check_chain(shape: tuple[int, ...], *nodes: tuple[str, dict[str, Any]], around: float | None = None) -> None:
    """Check operators on one input, each on the result of the one before, fused as the compiler does it.

    around: what elements are close to; else they are standard normal.
    """
    graph = Graph("chain")
    x = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    if around is not None:
        x = np.float32(around) + x / 64
    value: Value = graph.input("x", shape, "float32")
    for op, attrs in nodes:
        value = graph.op(op, [value], attrs)
    graph.mark_output(value)
    check(graph, {"x": x}, interpret=x.size < 10_000)


@pytest.mark.parametrize("shape", [(3, 40), (5, 16), (2, 3, 33), (1, 64), (4, 1), (70, 1000), LARGE])
def test_softmax_of_rows(shape: tuple[int, ...]) -> None:
    check_chain(shape, ("softmax", {"axis": len(shape) - 1}))


@pytest.mark.parametrize("columns", [64, 40, 7])
def test_softmax_of_rows_with_what_is_no_number(columns: int) -> None:
    """A NaN, an infinity, nothing but minus infinities: such a row has no softmax, its neighbours keep theirs."""
    graph = Graph("nan")
    graph.mark_output(graph.op("softmax", [graph.input("x", (6, columns), "float32")], {"axis": 1}))
    x = np.random.default_rng(3).standard_normal((6, columns), dtype=np.float32)
    x[0, 0], x[1, columns - 1], x[2, 3], x[3, :], x[4, 2] = np.nan, np.nan, np.inf, -np.inf, -np.inf
    with np.errstate(invalid="ignore"):
        check(graph, {"x": x})


def test_softmax_of_another_axis() -> None:
    check_chain((2, 5, 48), ("softmax", {"axis": 1}))
    check_chain((2, 64, 640), ("softmax", {"axis": 1}))


@pytest.mark.parametrize("op", ["reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "reduce_mean"])
@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((6, 48), (1,)), ((48,), (0,)), ((4, 5, 32), (1, 2)), ((4, 5, 32), (0, 2)), ((3, 7, 6, 7), (2, 3)),
        ((6, 48), (0, 1)), ((6, 48), (0,)), ((300, 320), (1,)), ((300, 320), (0,)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("keepdims", [True, False])
def test_reductions(op: str, shape: tuple[int, ...], axes: tuple[int, ...], keepdims: bool) -> None:
    check_chain(shape, (op, {"axes": axes, "keepdims": keepdims}), around=1.0 if op == "reduce_prod" else None)


@pytest.mark.parametrize("shape", [(32, 64), (5, 48), (640, 256)])
def test_a_function_of_a_row_s_sum(shape: tuple[int, ...]) -> None:
    for keepdims in (True, False):
        check_chain(shape, ("reduce_mean", {"axes": (1,), "keepdims": keepdims}), ("exp", {}))


def test_a_maximum_keeps_a_nan_wherever_it_is() -> None:
    x = np.random.default_rng(3).standard_normal((64, 48), dtype=np.float32)
    x[np.arange(48), np.arange(48)] = np.nan
    for op in ("reduce_max", "reduce_min"):
        graph = Graph(op)
        graph.mark_output(graph.op(op, [graph.input("x", x.shape, "float32")], {"axes": (1,), "keepdims": False}))
        check(graph, {"x": x})


@pytest.mark.parametrize("shape", [(1, 17, 33, 40), (2, 24, 16, 32), (1, 65, 40, 64)])
@pytest.mark.parametrize("perm", [(0, 2, 3, 1), (0, 3, 1, 2), (3, 2, 1, 0), (0, 1, 3, 2)])
def test_transposition(shape: tuple[int, ...], perm: tuple[int, ...]) -> None:
    check_chain(shape, ("transpose", {"perm": perm}), ("exp", {}))


@pytest.mark.parametrize("shape", [(7,), (65539,), (3, 65539), LARGE, (2, 3, 32, 33), ()])
@pytest.mark.parametrize("op", ["relu", "exp", "erf"])
def test_element_wise(op: str, shape: tuple[int, ...]) -> None:
    check_chain(shape, (op, {}), ("neg", {}), (op, {}))


@pytest.mark.parametrize("shape", [(2, 6, 5, 7), (1, 64, 33, 40)])
def test_broadcast_beside_a_whole_tensor(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(5)
    x, bias = rng.standard_normal(shape, dtype=np.float32), rng.standard_normal((shape[1], 1, 1), dtype=np.float32)
    graph = Graph("broadcast")
    value = graph.input("x", shape, "float32")
    summed = graph.op("add", [value, graph.const(bias, "bias")], {})
    graph.mark_output(graph.op("mul", [graph.op("tanh", [summed], {}), value], {}))
    check(graph, {"x": x}, interpret=x.size < 10_000)


def test_concatenation_and_running_sums() -> None:
    rng = np.random.default_rng(6)
    for axis, shape in ((1, (2, 40, 1000)), (0, (3, 5)), (2, (2, 3, 7))):
        arrays = [rng.standard_normal(shape, dtype=np.float32) for _ in range(2)]
        graph = Graph("concat")
        values = [graph.input(f"x{i}", shape, "float32") for i in range(2)]
        joined = graph.op("concat", values, {"axis": axis})
        graph.mark_output(graph.op("sigmoid", [joined], {}))
        check(graph, {f"x{i}": array for i, array in enumerate(arrays)}, interpret=arrays[0].size < 10_000)


def loops_of(op: str, shape: tuple[int, ...], output: tuple[int, ...], **attrs: Any) -> str:
    x = placeholder(shape, "float32", "x")
    return default_schedule([compute_of(op)([x], attrs, TensorType(output, "float32"))]).nest()


def test_what_the_rules_decide() -> None:
    small, large = (loops_of("exp", shape, shape) for shape in ((3, 64), (1024, 1000)))
    assert "parallel" not in small and "vectorized" in small
    assert "parallel(64)" in large and "vectorized(32)" in large
    rows = loops_of("softmax", (1024, 1000), (1024, 1000), axis=1)
    assert rows.count("parallel") == 1 and "allocate(float32[1, 1000])" in rows
    assert "parallel" in loops_of("transpose", (256, 512), (512, 256), perm=(1, 0))
