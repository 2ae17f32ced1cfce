"""Integer networks on the CPU: convolutions on each instruction that this processor has, equal to the graph's meaning
to the bit."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnxruntime.quantization import QuantType

from compiler.backend.cpu import CpuTarget, amx, vnni
from compiler.backend.cpu.processor import Processor
from compiler.frontend.onnx_import import from_onnx
from compiler.graph.interpreter import evaluate
from compiler.graph.ir import Graph
from compiler.graph.pass_manager import PassManager
from compiler.graph.pipeline import Calibration, integer_passes, is_quantized
from compiler.ops.quantization import add_multipliers, pack_params
from hw.config import Config
from runtime.executor import Executor
from tests.compiler.cpu.harness import Runner, execute, native
from tests.compiler.cpu.test_convolution import relaid
from tests.graph.helpers import normal_inputs, quantized_by_ort
from vdla.driver import CompileOptions, compile_model
from vdla.models import mobile_tiny, mobilenet, resnet18, resnet_tiny

HOST, PLAIN = Processor.of(), Processor.of(None, "x86-64")
# What is asked for, and LLVM's name of the least processor that has it.
INSTRUCTIONS = {
    "amx": (HOST, "host"),
    "vnni": (amx.without_tiles(HOST), "host"),
    "avx512bw": (Processor.of(None, "skylake-avx512"), "skylake-avx512"),
    "avxvnni": (Processor.of(None, "alderlake"), "alderlake"),
    "avx2": (Processor.of(None, "haswell"), "haswell"),
    "sse2": (PLAIN, "x86-64"),
    "none": (replace(PLAIN, features=frozenset()), "x86-64"),
}


def convolution(
    rng: np.random.Generator,
    x: tuple[int, int, int, int],
    outputs: int,
    kernel: tuple[int, int],
    attrs: dict[str, Any],
    residual: bool,
) -> tuple[Graph, dict[str, np.ndarray]]:
    """conv2d + requantize, perhaps + qadd of a second convolution's result."""
    graph = Graph("int8")
    value = graph.input("x", x, "int8")
    feeds = {"x": rng.integers(-128, 128, x).astype(np.int8)}
    # A result that is about as large as its limits: the sums' size is the square root of their length times 74 * 74.
    taps = x[1] // attrs["groups"] * kernel[0] * kernel[1]
    shift = 16 + int(np.log2(np.sqrt(taps) * 74 * 74 / 60))

    def layer(name: str) -> Any:
        w = rng.integers(-128, 128, (outputs, x[1] // attrs["groups"], *kernel)).astype(np.int8)
        acc = graph.op("conv2d", [value, graph.const(w, f"{name}.w")], attrs, name=name)
        bias, mult = rng.integers(-20000, 20000, outputs), rng.integers(1 << 16, 1 << 17, outputs)
        params = pack_params(bias, mult, rng.integers(shift - 1, shift + 2, outputs))
        limits = {"zero_point": int(rng.integers(-20, 20)), "low": -120, "high": 125}
        return graph.op("requantize", [acc, graph.const(params, f"{name}.params")], limits)

    y = layer("first")
    if residual:
        multipliers = add_multipliers(0.03, 0.011, 0.04)
        attributes = {"za": -3, "zb": 7, "zero_point": 5, "low": -128, "high": 101, **multipliers}
        y = graph.op("qadd", [y, layer("second")], attributes)
    graph.mark_output(y, "y")
    return graph, feeds


def compare(graph: Graph, feeds: dict[str, np.ndarray], instruction: str) -> list[str]:
    """Run the graph as the target lays it out, and compare; returns the layouts of the groups' outputs."""
    target, runner = on(instruction)
    laid, groups = relaid(graph, target)
    (got,) = execute([target.compile(group) for group in groups], laid, feeds, runner)
    np.testing.assert_array_equal(got, evaluate(graph, feeds)["y"])
    return [group.output.layout for group in groups]


def on(instruction: str) -> tuple[CpuTarget, Runner]:
    """A target with no better instruction than one for int8; the test is skipped where this processor has not that."""
    processor, cpu = INSTRUCTIONS[instruction]
    there = {"amx": amx.available, "vnni": vnni.available}.get(instruction, lambda p: p.features <= HOST.features)
    if not there(processor):
        pytest.skip(f"this processor has no {instruction}")
    return CpuTarget(processor=processor), partial(native, cpu=cpu)


@st.composite
def layers(draw: st.DrawFn) -> dict[str, Any]:
    kernel = draw(st.sampled_from([(1, 1), (3, 3), (1, 3), (5, 2), (7, 7)]))
    dilation = draw(st.sampled_from([1, 1, 2]))
    least = [dilation * (k - 1) + 1 for k in kernel]
    depthwise = draw(st.booleans())
    channels = draw(st.sampled_from([16, 32, 64, 128] if depthwise else [3, 4, 20, 32, 48, 64, 128]))
    attrs = {
        "strides": draw(st.sampled_from([(1, 1), (2, 2), (1, 2)])),
        "pads": tuple(draw(st.integers(0, 3)) for _ in range(4)),
        "dilations": (dilation, dilation),
        "groups": channels if depthwise else 1,
        "pad_value": draw(st.integers(-128, 127)),
    }
    size = [draw(st.integers(low, low + 20)) for low in least]
    return {
        "x": (draw(st.sampled_from([1, 1, 2])), channels, *size),
        "outputs": channels if depthwise else draw(st.sampled_from([16, 32, 64, 80, 128])),
        "kernel": kernel,
        "attrs": attrs,
        "residual": draw(st.booleans()),
    }


@pytest.mark.parametrize("instruction", INSTRUCTIONS)
@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(layer=layers(), seed=st.integers(0, 99))
def test_convolutions(instruction: str, layer: dict[str, Any], seed: int) -> None:
    compare(*convolution(np.random.default_rng(seed), **layer), instruction)


@pytest.mark.parametrize("instruction", [name for name in INSTRUCTIONS if name != "none"])
def test_channels_lie_in_blocks(instruction: str) -> None:
    attrs = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1), "groups": 1, "pad_value": -128}
    graph, feeds = convolution(np.random.default_rng(0), (1, 3, 14, 14), 96, (3, 3), attrs, residual=True)
    assert compare(graph, feeds, instruction) == ["NCHW4c", "NCHW32c", "NCHW32c", "NCHW"]


@pytest.mark.parametrize("instruction", INSTRUCTIONS)
def test_sums_at_the_limits_of_int8(instruction: str) -> None:
    graph = Graph("extremes")
    value = graph.input("x", (1, 512, 8, 8), "int8")
    w = graph.const(np.full((64, 512, 3, 3), -128, np.int8), "w")
    acc = graph.op("conv2d", [value, w], {"strides": (1, 1), "pads": (1, 1, 1, 1), "pad_value": -128})
    mult, shift = np.full(64, 65537), np.full(64, 36)
    params = pack_params(np.full(64, 99), mult, shift)
    y = graph.op("requantize", [acc, graph.const(params, "params")], {"zero_point": 0, "low": -128, "high": 127})
    graph.mark_output(y, "y")
    x = np.where(np.arange(64).reshape(1, 1, 8, 8) % 3 == 0, -128, 127).astype(np.int8)
    compare(graph, {"x": np.broadcast_to(x, (1, 512, 8, 8)).copy()}, instruction)


@pytest.mark.parametrize("instruction", INSTRUCTIONS)
@pytest.mark.parametrize(
    ("batch", "inputs", "outputs"), [(1, 512, 1000), (3, 83, 40), (2, 1, 8), (1, 64, 16), (2, 30, 3)]
)
def test_dense(instruction: str, batch: int, inputs: int, outputs: int) -> None:
    rng = np.random.default_rng(inputs)
    graph = Graph("dense")
    value = graph.input("x", (batch, inputs), "int8")
    w = rng.integers(-128, 128, (outputs, inputs)).astype(np.int8)
    w[-1] = -128
    acc = graph.op("dense", [value, graph.const(w, "w")])
    bias, mult = rng.integers(-20000, 20000, outputs), rng.integers(1 << 16, 1 << 17, outputs)
    params = pack_params(bias, mult, np.full(outputs, 27))
    limits = {"zero_point": 3, "low": -128, "high": 127}
    graph.mark_output(graph.op("requantize", [acc, graph.const(params, "params")], limits), "y")
    x = rng.integers(-128, 128, (batch, inputs)).astype(np.int8)
    x[0] = -128
    compare(graph, {"x": x}, instruction)


def check_network(model: onnx.ModelProto, threads: int = 2) -> None:
    """The network on the CPU gives what the integer graph means, and runs as an integer network."""
    inputs = normal_inputs(model)
    graph = from_onnx(model)
    quantized = is_quantized(graph)
    expected = evaluate(PassManager(integer_passes(Calibration(), quantized=quantized)).run(graph), inputs)
    options = CompileOptions(integer=not quantized)
    executor = Executor(compile_model(model, Config.load("tiny"), ["cpu"], options).artifact)
    executor.use_threads(threads)
    run = executor.run(inputs)
    assert any("requantize" in layer.op for layer in run.profile.layers)
    for name, want in expected.items():
        np.testing.assert_array_equal(run.outputs[name], want)


@pytest.mark.parametrize("model", [resnet_tiny, mobile_tiny])
def test_calibrated_networks(model: Any) -> None:
    check_network(model())


def test_quantised_network_stays_integer() -> None:
    check_network(quantized_by_ort(resnet_tiny(), QuantType.QUInt8))


@pytest.mark.slow
@pytest.mark.parametrize("model", [resnet18, mobilenet])
def test_large_networks(model: Any) -> None:
    check_network(quantized_by_ort(model(), QuantType.QUInt8))
