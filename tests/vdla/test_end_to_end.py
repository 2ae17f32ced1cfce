"""Whole networks on the simulated machine: the bits of the integer graph, and for ResNet-18 the cycles."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import pytest

from compiler.frontend.onnx_import import from_onnx
from compiler.graph.interpreter import evaluate
from compiler.graph.pipeline import to_integer
from hw.config import Config
from runtime.executor import Executor, RunResult, SimName
from tests.graph.helpers import normal_inputs
from vdla.driver import CompileOptions, compile_model
from vdla.models import MODELS

BORDER = {"quantize", "dequantize", "pad", "transpose", "reshape", "layout_transform"}
"""Operators at the border of a network: what the CPU may do there."""


@cache
def model(name: str, batch: int = 1) -> onnx.ModelProto:
    return MODELS[name](batch=batch)


@cache
def interpreted(name: str, batch: int = 1) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Seeded inputs, and the outputs of the integer graph in numpy."""
    inputs = normal_inputs(model(name, batch))
    graph, _ = to_integer(from_onnx(model(name, batch)))
    return inputs, evaluate(graph, inputs)


def run(
    name: str, cfg: Config, batch: int = 1, sim: SimName = "cycle", options: CompileOptions | None = None
) -> RunResult:
    compiled = compile_model(model(name, batch), cfg, options=options)
    return Executor(compiled.artifact, sim=sim).run(interpreted(name, batch)[0])


def same_bits(result: RunResult, name: str, batch: int = 1) -> bool:
    expected = interpreted(name, batch)[1]
    assert result.outputs.keys() == expected.keys()
    return all(np.array_equal(result.outputs[key], expected[key]) for key in expected)


def operators(result: RunResult, target: str) -> set[str]:
    return {op for layer in result.profile.layers if layer.target == target for op in layer.op.split("+")}


def check_cycles(result: RunResult, cfg: Config) -> int:
    """Each cycle of each layer is either a product or has one cause; returns the total."""
    products = 0
    for layer in result.profile.layers:
        if layer.target != "vdla":
            assert layer.cycles is None and layer.reason, layer
            continue
        assert layer.cycles is not None
        gemm = layer.cycles - sum(layer.stalls.values())
        # Padding to whole blocks makes more products than the model asks for, never fewer.
        assert gemm * cfg.macs_per_cycle >= layer.macs, layer
        products += gemm
    assert result.profile.cycles is not None
    assert 0 < products < result.profile.cycles
    return result.profile.cycles


# ---------------------------------------------------------------------------------------------- small networks

NETWORKS = ["resnet_tiny", "mobile_tiny"]
MACHINES = {
    "tiny": [],
    "8x4": ["block_in=8"],
    "4x8": ["block_out=8", "aux_buffer=2048"],
    "batch 2": ["batch=2"],
    "odd depths": ["inp_buffer=788", "wgt_buffer=1008", "acc_buffer=2096", "out_buffer=332", "aux_buffer=916"],
    "128-bit bus": ["bus_bits=128", "axi=axi4", "burst_beats=64"],
}


def machine(settings: list[str], base: str = "tiny") -> Config:
    return Config.load(base).override([s if "." in s else f"vdla.{s}" for s in settings])


@pytest.mark.parametrize("config", MACHINES)
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_have_the_bits_of_the_integer_graph(name: str, config: str) -> None:
    cfg = machine(MACHINES[config])
    timed = run(name, cfg)
    assert same_bits(timed, name)
    check_cycles(timed, cfg)


@pytest.mark.parametrize("name", NETWORKS)
def test_batch_of_three(name: str) -> None:
    for settings in ([], ["batch=2"], ["batch=4"]):
        assert same_bits(run(name, machine(settings), batch=3), name, batch=3)


@pytest.mark.parametrize("config", MACHINES)
def test_dense_network(config: str) -> None:
    result = run("mlp", machine(MACHINES[config]))
    assert operators(result, "cpu") - BORDER == {"softmax"}
    # The softmax is computed in floats, whose exponential rounds differently from numpy's.
    np.testing.assert_allclose(result.outputs["y"], interpreted("mlp")[1]["y"], rtol=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_run_on_vdla_alone(name: str) -> None:
    assert operators(run(name, machine([])), "cpu") <= BORDER


def test_a_layer_that_does_not_fit_says_which_buffer() -> None:
    """The CPU takes it, and the table tells what it would have needed."""
    result = run("resnet_tiny", machine(["batch=8"]))
    assert same_bits(result, "resnet_tiny")
    (left,) = [layer for layer in result.profile.layers if layer.target == "cpu" and "conv2d" in layer.op]
    assert left.reason == (
        "a 7x7 convolution of 3 into 16 channels needs at least 1568 bytes of the inp buffer (vdla.inp_buffer is 1024)"
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_options_change_no_bit(name: str) -> None:
    for options in (
        CompileOptions(fusion=False),
        CompileOptions(virtual_threads=False),
        CompileOptions(keep_tensors=True),
    ):
        assert same_bits(run(name, machine([]), options=options), name), options


def test_the_cpu_alone_computes_the_float_network() -> None:
    inputs = interpreted("resnet_tiny")[0]
    compiled = compile_model(model("resnet_tiny"), machine([]), targets=("cpu",))
    outputs = Executor(compiled.artifact).run(inputs).outputs
    expected = evaluate(from_onnx(model("resnet_tiny")), inputs)
    np.testing.assert_allclose(outputs["y"], expected["y"], rtol=1e-4, atol=1e-4)


def test_a_symbolic_first_axis_takes_any_batch() -> None:
    compiled = compile_model(MODELS["resnet_tiny"](batch="n"), machine([]), options=CompileOptions(batch=3))
    outputs = Executor(compiled.artifact).run(interpreted("resnet_tiny", 3)[0]).outputs
    np.testing.assert_array_equal(outputs["y"], interpreted("resnet_tiny", 3)[1]["y"])


def test_runs_repeat() -> None:
    """Simulation, compilation and simulators: the same bits and cycles each time, whatever ran before."""
    compiled = [compile_model(model("resnet_tiny"), machine([])).artifact for _ in range(2)]
    for a, b in zip(compiled[0].segments, compiled[1].segments, strict=True):
        np.testing.assert_array_equal(a.data, b.data)
    executor = Executor(compiled[0], sim="cycle")
    inputs = interpreted("resnet_tiny")[0]
    first = executor.run(inputs)
    other = executor.run({"x": -inputs["x"]})
    assert not np.array_equal(first.outputs["y"], other.outputs["y"])
    again = executor.run(inputs)
    golden = Executor(compiled[0], sim="functional").run(inputs)
    for result in (again, golden):
        np.testing.assert_array_equal(first.outputs["y"], result.outputs["y"])
    assert first.profile.cycles == other.profile.cycles == again.profile.cycles


SWEEP = {
    "block_in=8": None, "block_in=16": None, "block_out=8 aux_buffer=2048": None, "block_out=16 aux_buffer=4096": None,
    "batch=2": None, "batch=4": None, "batch=8 inp_buffer=2048": None,
    "uop_buffer=256": None, "uop_buffer=4096": None,
    "inp_buffer=512": None, "inp_buffer=2048": -1,
    "wgt_buffer=512": None, "wgt_buffer=4096": None,
    "acc_buffer=1024": None, "acc_buffer=8192": None,
    "out_buffer=256": None, "out_buffer=2048": None,
    "aux_buffer=512": None, "aux_buffer=2048": None,
    "load_queue=2 compute_queue=2 store_queue=2": None, "token_depth=1": None, "token_depth=63": None,
    "bus_bits=64": -1, "bus_bits=256": -1, "burst_beats=1": 1, "axi=axi4 burst_beats=256": None,
    "instruction_bits=512": None,
    "memory.read_latency=100": 1, "memory.write_latency=100": None, "memory.read_outstanding=1": 1,
    "memory.write_outstanding=1": None, "memory.stall_seed=1 memory.stall_rate=0.3": 1,
}  # fmt: skip
"""Changes of the small machine, and whether the network must become slower (1) or faster (-1) by them."""


@pytest.mark.parametrize("settings", SWEEP)
def test_parameters(settings: str) -> None:
    cfg = machine(settings.split())
    result = run("resnet_tiny", cfg)
    assert same_bits(result, "resnet_tiny")
    assert operators(result, "cpu") <= BORDER
    cycles, base = check_cycles(result, cfg), tiny_cycles()
    if SWEEP[settings] is not None:
        assert np.sign(cycles - base) == SWEEP[settings], (cycles, base)


@cache
def tiny_cycles() -> int:
    return run("resnet_tiny", machine([])).profile.cycles or 0


# -------------------------------------------------------------------------------------------------- ResNet-18


@pytest.fixture(scope="module")
def resnet18() -> RunResult:
    return run("resnet18", Config.load("pynq-z1"))


def test_resnet18_has_the_bits_of_the_integer_graph(resnet18: RunResult) -> None:
    assert same_bits(resnet18, "resnet18")


def test_resnet18_runs_on_vdla_from_first_convolution_to_dense(resnet18: RunResult) -> None:
    assert operators(resnet18, "cpu") <= BORDER
    targets = [layer.target for layer in resnet18.profile.layers]
    assert targets == ["cpu", *["vdla"] * 23, "cpu"]


def test_resnet18_cycles(resnet18: RunResult) -> None:
    cfg = Config.load("pynq-z1")
    assert check_cycles(resnet18, cfg) <= 7_730_000
    cycles = {layer.name: (layer.cycles or 0, layer.macs) for layer in resnet18.profile.layers}
    # The paper's C2, C6, C9 and C12: 3x3, stride 1, at 56, 28, 14 and 7 pixels.
    for stage in (1, 2, 3, 4):
        for name in (f"layer{stage}.1.conv1", f"layer{stage}.1.conv2"):
            took, macs = cycles[name]
            assert macs == 115_605_504
            assert macs / cfg.macs_per_cycle >= 0.9 * took, name


def test_resnet18_without_latency_hiding(resnet18: RunResult) -> None:
    plain = run("resnet18", Config.load("pynq-z1"), options=CompileOptions(virtual_threads=False))
    assert same_bits(plain, "resnet18")
    waits = [sum(layer.stalls.get("wait_load", 0) for layer in r.profile.layers) for r in (resnet18, plain)]
    assert (plain.profile.cycles or 0) > 1.1 * (resnet18.profile.cycles or 0)
    assert waits[1] > 3 * waits[0]


RESNET_SWEEP = {
    "block_in=8 block_out=8": 1, "block_in=16 block_out=32": -1, "block_in=32 block_out=16": -1,
    "block_in=32 block_out=32": -1,
    "inp_buffer=16384": 1, "wgt_buffer=16384": None, "acc_buffer=65536": 1, "out_buffer=16384": None,
    "aux_buffer=16384": None, "uop_buffer=16384": None,
    "inp_buffer=16384 wgt_buffer=16384 acc_buffer=65536 out_buffer=16384 aux_buffer=16384 uop_buffer=16384": 1,
    "inp_buffer=65536 wgt_buffer=65536 acc_buffer=262144 out_buffer=65536 aux_buffer=65536 uop_buffer=65536": -1,
    "bus_bits=32": 1, "bus_bits=128": -1,
}  # fmt: skip
"""Changes of the board's machine, and whether ResNet-18 must become slower (1) or faster (-1) by them."""


@pytest.mark.slow
@pytest.mark.parametrize("settings", RESNET_SWEEP)
def test_resnet18_parameters(settings: str, resnet18: RunResult) -> None:
    cfg = machine(settings.split(), "pynq-z1")
    result = run("resnet18", cfg)
    assert same_bits(result, "resnet18")
    assert operators(result, "cpu") <= BORDER
    cycles, base = check_cycles(result, cfg), resnet18.profile.cycles or 0
    print(f"{settings}: {cycles} cycles, {result.profile.macs / cfg.macs_per_cycle / cycles:.1%}")
    if RESNET_SWEEP[settings] is not None:
        assert np.sign(cycles - base) == RESNET_SWEEP[settings], (cycles, base)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [2, 4])
def test_resnet18_in_batches(batch: int, resnet18: RunResult) -> None:
    """A machine of ``batch`` rows takes hardly longer for as many images, and wastes rows on a single one."""
    cfg = machine([f"batch={batch}"], "pynq-z1")
    full, single = run("resnet18", cfg, batch=batch), run("resnet18", cfg)
    assert same_bits(full, "resnet18", batch=batch)
    assert same_bits(single, "resnet18")
    base = resnet18.profile.cycles or 0
    cycles = check_cycles(full, cfg)
    print(f"batch {batch}: {cycles} cycles for {batch} images, {check_cycles(single, cfg)} for one")
    assert cycles < batch * base / 1.5
