"""Fused groups on the CPU: chains and diamonds of operators compute what the operators compute one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compiler.graph.fuse import fuse
from compiler.graph.ir import Graph, Value, remove_dead
from compiler.ir import Allocate, For, walk_stmt
from compiler.ops.quantization import add_multipliers, pack_params
from tests.compiler.cpu.harness import check, compile_graph


def floats(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


def int8s(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(-128, 128, size=shape).astype(np.int8)


def residual_block(rng: np.random.Generator, channels: int, size: int) -> tuple[Graph, dict[str, np.ndarray]]:
    """conv - requantize - qadd with the block's input - max pool, all int8."""
    graph = Graph("residual")
    x = graph.input("x", (2, channels, size, size), "int8")
    w = graph.const(int8s(rng, channels, channels, 3, 3), "w")
    params = pack_params(
        rng.integers(-5000, 5000, channels), rng.integers(1 << 16, 1 << 17, channels), rng.integers(23, 26, channels)
    )
    acc = graph.op("conv2d", [x, w], {"strides": (1, 1), "pads": (1, 1, 1, 1), "pad_value": 5}, name="conv")
    y = graph.op("requantize", [acc, graph.const(params, "params")], {"zero_point": -3})
    attrs = {**add_multipliers(1.0, 0.7, 1.3), "za": 1, "zb": -4, "zero_point": 2, "low": 0}
    total = graph.op("qadd", [y, x], attrs)
    graph.mark_output(graph.op("max_pool2d", [total], {"kernel": (2, 2), "strides": (2, 2)}))
    return graph, {"x": int8s(rng, 2, channels, size, size)}


@pytest.mark.parametrize(("channels", "size"), [(1, 4), (8, 9), (6, 33)])
@pytest.mark.parametrize("fusion", [True, False])
def test_integer_residual_block(channels: int, size: int, fusion: bool) -> None:
    graph, feeds = residual_block(np.random.default_rng(channels), channels, size)
    check(graph, feeds, fusion=fusion, interpret=size < 10)


def test_a_fused_convolution_stores_only_a_tile_of_its_accumulators() -> None:
    graph, _ = residual_block(np.random.default_rng(0), 8, 16)
    kernel = compile_graph(graph)[0]
    stored = [s.buffer for s in walk_stmt(kernel.func.body) if isinstance(s, Allocate) and s.buffer.dtype == "int32"]
    assert [buffer.elements for buffer in stored] == [4 * 16 * 16]


def test_silu_after_a_convolution() -> None:
    rng = np.random.default_rng(1)
    graph = Graph("silu")
    x = graph.input("x", (1, 4, 9, 10), "float32")
    w, b = graph.const(floats(rng, 6, 4, 3, 3), "w"), graph.const(floats(rng, 6), "b")
    y = graph.op("conv2d", [x, w, b], {"strides": (2, 1), "pads": (1, 0, 1, 2)}, name="conv")
    scaled = graph.op("mul", [y, graph.op("sigmoid", [y])])
    graph.mark_output(graph.op("add", [scaled, graph.const(floats(rng, 6, 1, 1), "c")]))
    assert len(fuse(graph)) == 1
    check(graph, {"x": floats(rng, 1, 4, 9, 10)})


def test_layer_normalisation_and_softmax() -> None:
    rng = np.random.default_rng(2)
    graph = Graph("norm")
    x = graph.input("x", (3, 40), "float32")
    centred = graph.op("sub", [x, graph.op("reduce_mean", [x], {"axes": (1,)})])
    variance = graph.op("reduce_mean", [graph.op("mul", [centred, centred])], {"axes": (1,)})
    deviation = graph.op("sqrt", [graph.op("add", [variance, graph.const(np.array([1e-3], np.float32), "epsilon")])])
    normal = graph.op("div", [centred, deviation])
    product = graph.op("dense", [normal, graph.const(floats(rng, 24, 40), "w")])
    graph.mark_output(graph.op("softmax", [graph.op("relu", [product])], {"axis": 1}))
    check(graph, {"x": floats(rng, 3, 40)})


ROWS = [((6, 48), 1), ((3, 8, 40), 1), ((17, 64), 1), ((40, 256), 1), ((18, 4, 16), 2), ((600, 128), 1)]


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(rows=st.sampled_from(ROWS), steps=st.lists(st.integers(0, 6), min_size=3, max_size=10), seed=st.integers(0, 999))
def test_random_rows(rows: tuple[tuple[int, ...], int], steps: list[int], seed: int) -> None:
    """Random graphs of element-wise operators, broadcasts and reductions over the last axes: one kernel, right."""
    (shape, last), rng = rows, np.random.default_rng(seed)
    axes = tuple(range(len(shape) - last, len(shape)))
    graph = Graph("rows")
    whole: list[Value] = [graph.input("x", shape, "float32")]
    for index, step in enumerate(steps):
        x, other = whole[-1], whole[rng.integers(0, len(whole))]
        if step == 0:
            y = graph.op("add", [x, other])
        elif step == 1:
            y = graph.op(str(rng.choice(["tanh", "relu", "sigmoid"])), [x])
        elif step == 2:
            y = graph.op("mul", [x, graph.const(floats(rng, *shape[1:]), f"c{index}")])
        elif step == 3 and last == 1:
            y = graph.op("softmax", [x], {"axis": len(shape) - 1})
        else:
            reduced = graph.op(str(rng.choice(["reduce_mean", "reduce_max"])), [other], {"axes": axes})
            y = graph.op(str(rng.choice(["add", "sub"])), [x, graph.op("sigmoid", [reduced]) if step == 5 else reduced])
        whole.append(y)
    graph.mark_output(whole[-1])
    remove_dead(graph)
    assert len(compile_graph(graph)) == 1
    check(graph, {"x": floats(rng, *shape)}, interpret=whole[0].nbytes < 8000)


def test_few_long_rows_and_other_axes_stay_apart() -> None:
    """Two rows leave no work for more threads, short ones hold no vector, and columns are no rows."""
    for shape, axis, count in (((2, 1 << 16), 1, 2), ((64, 12), 1, 2), ((64, 64), 0, 2), ((64, 64), 1, 1)):
        graph = Graph("apart")
        x = graph.input("x", shape, "float32")
        graph.mark_output(graph.op("sub", [x, graph.op("reduce_mean", [x], {"axes": (axis,)})]))
        assert len(compile_graph(graph)) == count, (shape, axis)
        check(graph, {"x": floats(np.random.default_rng(0), *shape)}, interpret=False)


def image_input() -> tuple[Graph, dict[str, np.ndarray]]:
    """What precedes an accelerator's first layer: quantise, pad, to rows of pixels, to a blocked layout."""
    graph = Graph("image")
    x = graph.input("x", (1, 3, 224, 224), "float32")
    q = graph.op("quantize", [x], {"scale": 0.019, "zero_point": -7})
    padded = graph.op("pad", [q], {"before": (0, 0, 3, 3), "after": (0, 0, 3, 3), "value": -7})
    pixels = graph.op("transpose", [padded], {"perm": (0, 2, 3, 1)})
    graph.mark_output(graph.op("reshape", [pixels], {"shape": (1, 230, 690)}))
    return graph, {"x": floats(np.random.default_rng(3), 1, 3, 224, 224)}


def test_the_image_of_a_network_becomes_one_kernel() -> None:
    graph, feeds = image_input()
    check(graph, feeds, interpret=False)
    (kernel,) = compile_graph(graph)
    assert not any(isinstance(s, Allocate) for s in walk_stmt(kernel.func.body))


def test_blocked_layouts_fuse_with_their_neighbours() -> None:
    graph = Graph("ends")
    x = graph.input("x", (1, 10, 1, 1), "int8")
    x.layout = "NCHW1n16c"
    plain = graph.op("layout_transform", [x], {"source": "NCHW1n16c", "target": "NCHW"})
    y = graph.op("dequantize", [graph.op("reshape", [plain], {"shape": (1, 10)})], {"scale": 0.5, "zero_point": 3})
    graph.mark_output(y)
    z = graph.input("z", (1, 3, 5, 4), "float32")
    q = graph.op("quantize", [z], {"scale": 0.1, "zero_point": 9})
    target = "NCHW1n4c"
    graph.mark_output(graph.op("layout_transform", [q], {"source": "NCHW", "target": target}, layout=target))
    kernels = compile_graph(graph)
    assert len(kernels) == 2
    assert not any(isinstance(s, Allocate) for k in kernels for s in walk_stmt(k.func.body))
    rng = np.random.default_rng(4)
    check(graph, {"x": int8s(rng, 1, 10, 1, 1), "z": floats(rng, 1, 3, 5, 4)})


def test_an_exponential_is_not_computed_twice() -> None:
    graph = Graph("twice")
    x = graph.input("x", (4, 50), "float32")
    e = graph.op("exp", [x])
    turned = graph.op("transpose", [e], {"perm": (1, 0)})
    graph.mark_output(graph.op("matmul", [e, turned]))
    total = graph.op("add", [graph.op("neg", [e]), graph.op("reshape", [turned], {"shape": (4, 50)})])
    graph.mark_output(total)
    check(graph, {"x": floats(np.random.default_rng(5), 4, 50)})


def test_deep_chains_of_shared_values_stay_small() -> None:
    """Each step reads the one before twice; naive inlining would double the work at each of them."""
    graph = Graph("deep")
    value = graph.input("x", (4, 6), "float32")
    for _ in range(20):
        turned = graph.op("reshape", [graph.op("transpose", [value], {"perm": (1, 0)})], {"shape": (4, 6)})
        value = graph.op("mul", [graph.op("add", [value, turned]), graph.const(np.array([0.5], np.float32), "half")])
    graph.mark_output(value)
    kernels = compile_graph(graph)
    assert len(kernels) == 1
    loops = sum(isinstance(s, For) for s in walk_stmt(kernels[0].func.body))
    assert loops <= 2 * 20
    check(graph, {"x": floats(np.random.default_rng(6), 4, 6)})


STEPS = ["unary", "binary", "broadcast", "clip", "transpose", "reshape", "pad", "concat", "pool", "conv", "mean"]


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(st.sampled_from(STEPS), min_size=2, max_size=9), seed=st.integers(0, 2**32 - 1))
def test_random_float_graphs(steps: list[str], seed: int) -> None:
    """Random graphs on 4-D tensors, values reused at random; fused, in the interpreter and in machine code."""
    rng = np.random.default_rng(seed)
    graph = Graph("random")
    shape = tuple(int(s) for s in rng.integers(1, 6, 4))
    pool: list[Value] = [graph.input("x", shape, "float32")]
    for index, step in enumerate(steps):
        pool.append(grow(graph, pool, step, rng, index))
    graph.mark_output(pool[-1])
    if pool[-1].producer is not None:
        check(graph, {"x": floats(rng, *shape)})


def grow(graph: Graph, pool: list[Value], step: str, rng: np.random.Generator, index: int) -> Value:
    """Append one random operator that reads the newest value and perhaps older ones."""
    x = pool[-1]
    if step == "unary":
        return graph.op(str(rng.choice(["relu", "sigmoid", "tanh", "neg", "abs"])), [x])
    if step == "binary":
        partners = [value for value in pool if value.shape == x.shape]
        return graph.op(str(rng.choice(["add", "sub", "mul"])), [x, partners[rng.integers(0, len(partners))]])
    if step == "broadcast":
        shape = tuple(1 if rng.random() < 0.5 else size for size in x.shape)
        return graph.op("add", [x, graph.const(floats(rng, *shape), f"c{index}")])
    if step == "clip":
        return graph.op("clip", [x], {"low": -0.5, "high": 0.75})
    if step == "transpose":
        return graph.op("transpose", [x], {"perm": tuple(int(a) for a in rng.permutation(4))})
    if step == "reshape":
        n, c, h, w = x.shape
        return graph.op(
            "reshape", [x], {"shape": [(c, n, w, h), (n * c, h, w, 1), (1, n, c * h, w)][rng.integers(0, 3)]}
        )
    if step == "pad":
        before, after = (tuple(int(p) for p in rng.integers(0, 2, 4)) for _ in range(2))
        return graph.op("pad", [x], {"before": before, "after": after, "value": 0.5})
    if step == "concat":
        others = [v for v in pool if v.shape[:1] + v.shape[2:] == x.shape[:1] + x.shape[2:]]
        return graph.op("concat", [x, others[rng.integers(0, len(others))]], {"axis": 1})
    if step == "pool":
        kernel = tuple(int(min(2, size)) for size in x.shape[2:])
        return graph.op(str(rng.choice(["max_pool2d", "avg_pool2d"])), [x], {"kernel": kernel, "strides": (1, 1)})
    if step == "conv":
        w = graph.const(floats(rng, int(rng.integers(1, 5)), x.shape[1], 1, 1) / x.shape[1], f"w{index}")
        return graph.op("conv2d", [x, w], {"strides": (1, 1)})
    return graph.op("reduce_mean", [x], {"axes": (int(rng.integers(0, 4)),)})
