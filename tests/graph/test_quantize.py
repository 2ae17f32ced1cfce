"""Calibration and the arithmetic of the integer operators."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.errors import QuantizationError
from compiler.frontend.onnx_import import from_onnx
from compiler.graph.interpreter import evaluate
from compiler.graph.passes.calibrate import calibrate, synthetic_inputs
from compiler.graph.passes.insert_qdq import Scheme
from compiler.graph.pipeline import Calibration, to_integer
from compiler.ops import get_op
from compiler.ops.quantization import add_multipliers, pack_params, quantize_multiplier, unpack_params
from tests.graph.helpers import normal_inputs
from vdla.models import mlp, mobile_tiny, resnet18, resnet_tiny

INT32 = st.integers(-(1 << 31), (1 << 31) - 1)


@given(st.floats(2.0**-31, 2.0**16.99))
def test_multiplier_is_normal_and_close(real: float) -> None:
    mult, shift = quantize_multiplier(real)
    assert 1 << 16 <= mult < 1 << 17 and 0 <= shift <= 47
    assert abs(mult * 2.0**-shift / real - 1) <= 2.0**-17


@given(st.floats(2.0**-80, 2.0**-31))
def test_a_tiny_multiplier_is_right_for_every_int32(real: float) -> None:
    mult, shift = quantize_multiplier(real)
    assert 0 <= mult <= 1 << 16 and shift <= 47
    assert abs(mult * 2.0**-shift - real) * 2.0**31 <= 2.0**-17


@pytest.mark.parametrize("bad", [0.0, -1.0, float("inf"), float("nan"), 2.0**17])
def test_multiplier_refuses_what_it_cannot_express(bad: float) -> None:
    with pytest.raises(QuantizationError):
        quantize_multiplier(bad)


@given(st.lists(st.tuples(INT32, st.integers(-(1 << 17), (1 << 17) - 1), st.integers(0, 47)), min_size=1, max_size=8))
def test_parameters_survive_packing(entries: list[tuple[int, int, int]]) -> None:
    bias, mult, shift = (np.array(column, dtype=np.int64) for column in zip(*entries, strict=True))
    for got, expected in zip(unpack_params(pack_params(bias, mult, shift)), (bias, mult, shift), strict=True):
        np.testing.assert_array_equal(got, expected)


def rne_shift(x: int, s: int) -> int:
    """Round half to even of x / 2^s in whole numbers."""
    quotient, rest = x >> s, x & ((1 << s) - 1)
    half = 1 << s >> 1
    return quotient + (1 if s and (rest > half or (rest == half and quotient & 1)) else 0)


def wrap32(x: int) -> int:
    return (x + (1 << 31)) % (1 << 32) - (1 << 31)


@given(INT32, INT32, st.integers(-(1 << 17), (1 << 17) - 1), st.integers(0, 47), st.integers(-128, 127))
def test_requantize_is_exact(acc: int, bias: int, mult: int, shift: int, zero_point: int) -> None:
    params = pack_params(np.array([bias]), np.array([mult]), np.array([shift]))
    attrs = {"zero_point": zero_point, "low": -100, "high": 120}
    (got,) = get_op("requantize").reference([np.array([[acc]], dtype=np.int32), params], attrs).reshape(-1)
    assert got == min(max(rne_shift(wrap32(acc + bias) * mult, shift) + zero_point, -100), 120)


@given(
    st.integers(-128, 127),
    st.integers(-128, 127),
    st.integers(-128, 127),
    st.integers(-128, 127),
    st.floats(1e-3, 1.0),
    st.floats(0.01, 100.0),
)
def test_qadd_is_exact_and_close_to_the_real_sum(a: int, b: int, za: int, zb: int, ratio: float, out: float) -> None:
    multipliers = add_multipliers(1.0, ratio, out)
    attrs = {"za": za, "zb": zb, "zero_point": 3, "low": -128, "high": 127, **multipliers}
    operands = [np.array([value], dtype=np.int8) for value in (a, b)]
    (got,) = get_op("qadd").reference(operands, attrs)
    t = ((a - za) << multipliers["k"]) + (b - zb) * multipliers["m2"]
    assert -(1 << 31) <= t < 1 << 31
    assert got == min(max(rne_shift(t * multipliers["mult"], multipliers["shift"]) + 3, -128), 127)
    real = ((a - za) + ratio * (b - zb)) / out + 3
    if -128 <= real <= 127:
        assert abs(got - real) <= 0.51


@given(st.integers(1, 4), st.integers(1, 700), st.integers(0, 1 << 32))
def test_integer_products_are_exact(rows: int, depth: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, w = rng.integers(-128, 128, (rows, depth)).astype(np.int8), rng.integers(-128, 128, (3, depth)).astype(np.int8)
    expected = x.astype(np.int64) @ w.astype(np.int64).T
    np.testing.assert_array_equal(get_op("dense").reference([x, w], {}), expected)


def signal_to_noise(model: onnx.ModelProto, calibration: Calibration) -> float:
    """Decibels between the float model's output and the integer graph's, on inputs not calibrated on."""
    graph = from_onnx(model)
    integer, _ = to_integer(graph, calibration)
    inputs = normal_inputs(model, seed=99)
    exact, got = (evaluate(g, inputs)[g.output_names[0]].astype(np.float64) for g in (graph, integer))
    return 10 * np.log10(np.square(exact).mean() / np.square(exact - got).mean())


@pytest.mark.parametrize("activations", ["asymmetric", "symmetric"])
@pytest.mark.parametrize("method", ["minmax", "percentile", "mse"])
def test_a_calibrated_residual_network_is_accurate(method: str, activations: str) -> None:
    calibration = Calibration(count=4, method=method, scheme=Scheme(activations))
    assert signal_to_noise(resnet_tiny(), calibration) >= 25


@pytest.mark.parametrize("model", [mobile_tiny(), mlp()], ids=lambda model: model.graph.name)
def test_other_calibrated_networks_are_accurate(model: onnx.ModelProto) -> None:
    assert signal_to_noise(model, Calibration(count=4)) >= 20


def test_per_channel_weights_are_more_accurate_than_per_tensor() -> None:
    model = resnet_tiny()
    fine = signal_to_noise(model, Calibration(count=4))
    assert fine > signal_to_noise(model, Calibration(count=4, scheme=Scheme(per_channel=False)))


def test_resnet18_is_integer_from_input_to_output() -> None:
    graph, timings = to_integer(from_onnx(resnet18()))
    assert [name for name, _ in timings].count("quantize") == 1
    names = [node.op for node in graph.nodes]
    assert (names[0], names[-1]) == ("quantize", "dequantize")
    assert all(value.dtype in ("int8", "int32") for node in graph.nodes[1:-1] for value in node.outputs)
    counts = {op: names.count(op) for op in ("conv2d", "requantize", "qadd", "max_pool2d", "avg_pool2d_sum", "dense")}
    assert counts == {
        "conv2d": 20,
        "requantize": 22,
        "qadd": 8,
        "max_pool2d": 1,
        "avg_pool2d_sum": 1,
        "dense": 1,
    }


def test_integer_values_keep_their_float_tensor_and_scale() -> None:
    model = resnet_tiny()
    graph = from_onnx(model)
    integer, _ = to_integer(graph, Calibration(count=2))
    tensors = {output for node in model.graph.node for output in node.output} | {"x"}
    inputs = normal_inputs(model)
    exact, got = evaluate(graph, inputs, keep=True) | inputs, evaluate(integer, inputs, keep=True)
    for value in integer.values():
        if value.dtype == "int8" and value.producer is not None:
            assert value.quant is not None and value.origin in tensors
            real = (got[value.name].astype(np.float64) - value.quant.zero_point) * value.quant.scale
            assert np.abs(real - exact[value.origin]).mean() <= 0.05 * np.abs(exact[value.origin]).max()


def test_a_dead_channel_and_a_huge_bias_are_quantised() -> None:
    model = mlp()
    for tensor in model.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor).copy()
        if tensor.name == "fc1.weight":
            array[3], array[5] = 0, 1e-12
        if tensor.name == "fc1.bias":
            array[3], array[4] = 1e4, 3e3
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    integer, _ = to_integer(from_onnx(model))
    assert sum(node.op == "requantize" for node in integer.nodes) == 2


def test_calibration_needs_samples_and_finite_values() -> None:
    graph = from_onnx(resnet_tiny())
    with pytest.raises(QuantizationError, match="at least one"):
        calibrate(graph, [])
    with pytest.raises(QuantizationError, match="no calibration method 'best'"):
        calibrate(graph, [], method="best")
    sample = synthetic_inputs(graph)[0]
    sample["x"][0, 0, 0, 0] = np.inf
    with pytest.raises(QuantizationError, match="'x' takes non-finite"):
        calibrate(graph, [sample])


def test_ranges_cover_all_samples() -> None:
    graph = from_onnx(resnet_tiny())
    samples = synthetic_inputs(graph, 3, seed=5)
    ranges = calibrate(graph, samples)
    seen = np.stack([sample["x"] for sample in samples])
    assert (ranges["x"].low, ranges["x"].high) == (seen.min(), seen.max())
    narrow = calibrate(graph, samples, method="percentile", percentile=99.0)
    assert ranges["x"].low < narrow["x"].low < 0 < narrow["x"].high < ranges["x"].high
