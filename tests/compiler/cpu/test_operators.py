"""Every graph operator as a tensor expression: interpreter and machine code agree with the numpy reference."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compiler.graph.ir import Graph
from compiler.graph.layout import storage_shape
from compiler.ops import op_names
from compiler.ops.compute import compute_names
from compiler.ops.quantization import add_multipliers, pack_params
from tests.compiler.cpu.harness import check

SHAPE = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)
SEED = st.integers(0, 2**32 - 1)


def examples(count: int = 12) -> Callable[[Any], Any]:
    return settings(max_examples=count, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def draw_array(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Normal floats with some exact halves, or integers over the whole range of a small type."""
    if dtype == "float32":
        values = rng.normal(size=shape).astype(np.float32)
        return np.where(rng.random(shape) < 0.2, np.round(values * 4) / 2, values).astype(np.float32)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, size=shape, dtype=dtype, endpoint=True)


def check_op(
    op: str, arrays: list[np.ndarray], attrs: dict[str, Any], *, constants: tuple[int, ...] = (), interpret: bool = True
) -> None:
    """Check one operator on `arrays`; those numbered in `constants` are constants of the graph."""
    graph = Graph(op)
    feeds: dict[str, np.ndarray] = {}
    values = []
    for index, array in enumerate(arrays):
        if index in constants:
            values.append(graph.const(array, f"c{index}"))
        else:
            values.append(graph.input(f"x{index}", array.shape, array.dtype.name))
            feeds[f"x{index}"] = array
    graph.mark_output(graph.op(op, values, attrs))
    check(graph, feeds, interpret=interpret)


def test_every_operator_of_the_compiler_has_a_tensor_expression() -> None:
    from_plug_ins = {"image_conv2d"}
    assert set(op_names()) - from_plug_ins <= set(compute_names())


@pytest.mark.parametrize("op", ["relu", "sigmoid", "tanh", "exp", "neg", "abs", "sqrt", "identity"])
def test_unary(op: str) -> None:
    x = np.random.default_rng(1).normal(size=(3, 1, 17)).astype(np.float32) * 4
    check_op(op, [np.abs(x) if op == "sqrt" else x], {})


def test_sigmoid_of_large_inputs_does_not_overflow() -> None:
    check_op("sigmoid", [np.array([-200, -90, -1, 0, 1, 90, 200], np.float32)], {})


@pytest.mark.parametrize("op", ["relu", "clip"])
def test_nan_stays_nan(op: str) -> None:
    x = np.array([np.nan, -1, 2, np.inf, -np.inf], np.float32)
    check_op(op, [x], {"low": -0.5, "high": 1.5} if op == "clip" else {})


def broadcastable(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape that broadcasts to (at most) `shape`."""
    kept = shape[rng.integers(0, len(shape)) :]
    return tuple(1 if rng.random() < 0.4 else size for size in kept)


@pytest.mark.parametrize("op", ["add", "sub", "mul", "div"])
@examples(8)
@given(shape=SHAPE, seed=SEED)
def test_binary_with_broadcasting(op: str, shape: tuple[int, ...], seed: int) -> None:
    rng = np.random.default_rng(seed)
    a = rng.normal(size=shape).astype(np.float32)
    b = (rng.normal(size=broadcastable(rng, shape)) + 3).astype(np.float32)
    check_op(op, [a, b], {})
    if op != "div":
        check_op(op, [b, a], {})


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_clip(dtype: str) -> None:
    x = draw_array(np.random.default_rng(2), (2, 65), dtype)
    check_op("clip", [x], {"low": -1, "high": 2})


def test_batch_norm() -> None:
    rng = np.random.default_rng(3)
    scale, bias, mean = (rng.normal(size=5).astype(np.float32) for _ in range(3))
    x = rng.normal(size=(2, 5, 3, 4)).astype(np.float32)
    arrays = [x, scale, bias, mean, rng.uniform(0.5, 2, 5).astype(np.float32)]
    check_op("batch_norm", arrays, {"epsilon": 1e-3}, constants=(1, 2, 3, 4))


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]:
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    per_group = draw(st.integers(1, 3))
    kernel = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    dilations = (draw(st.integers(1, 2)), draw(st.integers(1, 2)))
    pads = tuple(draw(st.integers(0, 2)) for _ in range(4))
    size = [
        max(1, (k - 1) * d + 1 - lo - hi) + draw(st.integers(0, 6))
        for k, d, lo, hi in zip(kernel, dilations, pads[:2], pads[2:], strict=True)
    ]
    attrs = {
        "strides": (draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        "pads": pads,
        "dilations": dilations,
        "groups": groups,
    }
    x = (draw(st.integers(1, 2)), groups * per_group, *size)
    return x, (groups * draw(st.integers(1, 5)), per_group, *kernel), attrs


@examples(25)
@given(case=convolutions(), pad_value=st.integers(-128, 127), seed=SEED)
def test_integer_convolution(case: Any, pad_value: int, seed: int) -> None:
    x, w, attrs = case
    rng = np.random.default_rng(seed)
    arrays = [draw_array(rng, x, "int8"), draw_array(rng, w, "int8")]
    check_op("conv2d", arrays, {**attrs, "pad_value": pad_value}, constants=(1,))


@examples(15)
@given(case=convolutions(), bias=st.booleans(), seed=SEED)
def test_float_convolution(case: Any, bias: bool, seed: int) -> None:
    x, w, attrs = case
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=s).astype(np.float32) for s in (x, w, (w[0],))]
    check_op("conv2d", arrays if bias else arrays[:2], attrs)


@pytest.mark.parametrize("dtype", ["int8", "float32"])
@pytest.mark.parametrize("stride", [1, 2])
def test_convolution_with_wide_rows(dtype: str, stride: int) -> None:
    rng = np.random.default_rng(4)
    arrays = [draw_array(rng, (1, 8, 20, 61), dtype), draw_array(rng, (12, 8, 3, 3), dtype)]
    check_op("conv2d", arrays, {"strides": (stride, stride), "pads": (1, 1, 1, 1)}, interpret=False)


@pytest.mark.parametrize("columns", [5, 7, 8, 13, 16, 17, 30])
@pytest.mark.parametrize(("stride", "dilation", "groups"), [(1, 1, 1), (2, 1, 2), (3, 2, 1), (2, 3, 6)])
def test_rows_that_are_no_whole_vectors(columns: int, stride: int, dilation: int, groups: int) -> None:
    """Every remainder of a row, with the input's columns gathered by stride phase."""
    rng = np.random.default_rng(columns)
    width = (columns - 1) * stride + 2 * dilation + 1 - 3
    arrays = [draw_array(rng, (1, 6, 2 * dilation, width), "int8"), draw_array(rng, (6, 6 // groups, 3, 3), "int8")]
    attrs = {"strides": (1, stride), "dilations": (dilation, dilation), "pads": (1, 2, 0, 1), "groups": groups}
    check_op("conv2d", arrays, {**attrs, "pad_value": -5})


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 40, 7), (3, 33, 16), (2, 5, 1)])
@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_dense(shape: tuple[int, int, int], dtype: str) -> None:
    n, k, o = shape
    rng = np.random.default_rng(5)
    arrays = [draw_array(rng, (n, k), dtype), draw_array(rng, (o, k), dtype)]
    check_op("dense", arrays, {}, constants=(1,))
    if dtype == "float32":
        check_op("dense", [*arrays, draw_array(rng, (o,), dtype)], {}, constants=(1, 2))


@pytest.mark.parametrize(
    ("a", "b"), [((4, 5), (5, 6)), ((2, 3, 4, 5), (5, 17)), ((3, 1, 4, 5), (2, 5, 1)), ((1, 7), (2, 7, 3))]
)
def test_matmul(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    rng = np.random.default_rng(6)
    check_op("matmul", [draw_array(rng, a, "float32"), draw_array(rng, b, "float32")], {})


@st.composite
def windows(draw: st.DrawFn) -> tuple[tuple[int, ...], dict[str, Any]]:
    kernel = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    pads = tuple(draw(st.integers(0, k - 1)) for k in (*kernel, *kernel))
    size = [max(1, k - lo - hi) + draw(st.integers(0, 7)) for k, lo, hi in zip(kernel, pads, pads[2:], strict=False)]
    strides = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 4)), *size)
    return shape, {"kernel": kernel, "strides": strides, "pads": pads}


@pytest.mark.parametrize(
    ("op", "dtype"),
    [("max_pool2d", "int8"), ("max_pool2d", "float32"), ("avg_pool2d", "float32"), ("avg_pool2d_sum", "int8")],
)
@examples(12)
@given(case=windows(), seed=SEED, include=st.booleans(), pad_value=st.integers(-128, 127))
def test_pooling(op: str, dtype: str, case: Any, seed: int, include: bool, pad_value: int) -> None:
    shape, attrs = case
    extra = {"avg_pool2d": {"count_include_pad": include}, "avg_pool2d_sum": {"pad_value": pad_value}}.get(op, {})
    check_op(op, [draw_array(np.random.default_rng(seed), shape, dtype)], {**attrs, **extra})


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_quantize_rounds_half_to_even_and_saturates(dtype: str) -> None:
    halves = np.arange(-300, 300, dtype=np.float32) / 2
    check_op("quantize", [halves], {"scale": 1.0, "zero_point": 2, "dtype": dtype})
    check_op("quantize", [halves * np.float32(0.1)], {"scale": 0.1, "zero_point": -1, "dtype": dtype})


def test_quantize_and_dequantize_per_channel() -> None:
    rng = np.random.default_rng(7)
    scale = rng.uniform(0.01, 0.1, 6).tolist()
    zero_point = rng.integers(-20, 20, 6).tolist()
    attrs = {"scale": scale, "zero_point": zero_point, "axis": 1}
    check_op("quantize", [draw_array(rng, (2, 6, 5), "float32")], attrs)
    check_op("dequantize", [draw_array(rng, (2, 6, 5), "int8")], attrs)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32"])
def test_dequantize(dtype: str) -> None:
    x = draw_array(np.random.default_rng(8), (4, 33), dtype)
    check_op("dequantize", [x], {"scale": 0.0173, "zero_point": -7})


@examples(20)
@given(
    shape=st.lists(st.integers(1, 6), min_size=2, max_size=4),
    seed=SEED,
    zero_point=st.integers(-512, 511),
    limits=st.tuples(st.integers(-128, 127), st.integers(-128, 127)),
)
def test_requantize(shape: list[int], seed: int, zero_point: int, limits: tuple[int, int]) -> None:
    rng = np.random.default_rng(seed)
    channels = shape[1]
    mult = rng.integers(-(1 << 17), 1 << 17, channels)
    params = pack_params(rng.integers(-(2**31), 2**31, channels), mult, rng.integers(0, 48, channels))
    acc = draw_array(rng, tuple(shape), "int32") >> rng.integers(0, 24, tuple(shape)).astype(np.int32)
    attrs = {"zero_point": zero_point, "low": min(limits), "high": max(limits)}
    check_op("requantize", [acc, params], attrs, constants=(1,))


def test_requantize_rounds_ties_to_even() -> None:
    acc = np.arange(-64, 64, dtype=np.int32).reshape(1, 2, 64)
    params = pack_params(np.zeros(2, np.int32), np.array([1, 3]), np.array([1, 2]))
    check_op("requantize", [acc, params], {"zero_point": 0})


@examples(15)
@given(shape=SHAPE, seed=SEED, ratio=st.floats(0.001, 1.0), out=st.floats(0.2, 5.0), zero_point=st.integers(-128, 127))
def test_qadd(shape: tuple[int, ...], seed: int, ratio: float, out: float, zero_point: int) -> None:
    rng = np.random.default_rng(seed)
    za, zb = (int(z) for z in rng.integers(-128, 128, 2))
    attrs = {**add_multipliers(1.0, ratio, out), "za": za, "zb": zb, "zero_point": zero_point, "low": -100, "high": 120}
    check_op("qadd", [draw_array(rng, shape, "int8"), draw_array(rng, broadcastable(rng, shape), "int8")], attrs)


@pytest.mark.parametrize("op", ["reduce_sum", "reduce_mean", "reduce_max"])
@examples(10)
@given(shape=SHAPE, seed=SEED, keepdims=st.booleans())
def test_reductions(op: str, shape: tuple[int, ...], seed: int, keepdims: bool) -> None:
    rng = np.random.default_rng(seed)
    axes = tuple(int(a) for a in rng.permutation(len(shape))[: rng.integers(0, len(shape) + 1)])
    check_op(op, [draw_array(rng, shape, "float32")], {"axes": axes, "keepdims": keepdims})


@examples(10)
@given(shape=SHAPE, seed=SEED)
def test_softmax(shape: tuple[int, ...], seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape).astype(np.float32) * 30
    check_op("softmax", [x], {"axis": int(rng.integers(0, len(shape)))})


def factorisations(total: int, rng: np.random.Generator) -> tuple[int, ...]:
    """A random shape of `total` elements, extents of 1 among them."""
    shape: list[int] = []
    while total > 1:
        divisors = [d for d in range(2, total + 1) if total % d == 0]
        size = int(rng.choice(divisors))
        shape.append(size)
        total //= size
        if rng.random() < 0.3:
            shape.append(1)
    return tuple(shape)


@pytest.mark.parametrize("dtype", ["int8", "float32"])
@examples(25)
@given(shape=SHAPE, seed=SEED)
def test_reshape(dtype: str, shape: tuple[int, ...], seed: int) -> None:
    rng = np.random.default_rng(seed)
    target = factorisations(math.prod(shape), rng)
    check_op("reshape", [draw_array(rng, shape, dtype)], {"shape": target})


@examples(15)
@given(shape=SHAPE, seed=SEED)
def test_transpose_and_pad(shape: tuple[int, ...], seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = draw_array(rng, shape, "int8")
    check_op("transpose", [x], {"perm": tuple(int(a) for a in rng.permutation(len(shape)))})
    before, after = (tuple(int(p) for p in rng.integers(0, 3, len(shape))) for _ in range(2))
    check_op("pad", [x], {"before": before, "after": after, "value": int(rng.integers(-128, 128))})


@examples(15)
@given(shape=SHAPE, seed=SEED, count=st.integers(1, 4))
def test_concat(shape: tuple[int, ...], seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    axis = int(rng.integers(0, len(shape)))
    shapes = [(*shape[:axis], int(rng.integers(1, 5)), *shape[axis + 1 :]) for _ in range(count)]
    check_op("concat", [draw_array(rng, s, "float32") for s in shapes], {"axis": axis})


LAYOUTS = ["NCHW", "NCHW1n16c", "NCHW4c", "NCHW2n4c", "NCHW4c2n", "NCHW8c2c", "NCHW2h3w", "NCHW1n4c2h"]


@pytest.mark.parametrize("target", LAYOUTS)
@examples(10)
@given(shape=SHAPE, source=st.sampled_from(LAYOUTS), seed=SEED)
def test_layout_transform(target: str, shape: tuple[int, ...], source: str, seed: int) -> None:
    """From and to blocked layouts; the tails of the result hold zeros."""
    graph = Graph("layouts")
    x = graph.input("x", shape, "int8")
    x.layout = source
    y = graph.op("layout_transform", [x], {"source": source, "target": target}, layout=target)
    graph.mark_output(y)
    assert y.storage_shape == storage_shape(shape, target)
    check(graph, {"x": draw_array(np.random.default_rng(seed), shape, "int8")})
