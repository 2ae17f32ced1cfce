"""The executor: right bits, every time, and inputs checked before anything runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from runtime.artifact import TensorSpec
from runtime.errors import InputError
from runtime.executor import Executor, SimName
from tests import handmade

SIMS: tuple[SimName, ...] = ("functional", "cycle")


@pytest.mark.parametrize("sim", SIMS)
@pytest.mark.parametrize("seed", range(5))
def test_outputs_are_the_models(sim: SimName, seed: int) -> None:
    x = handmade.example_input(seed)
    assert np.array_equal(Executor(handmade.artifact(), sim=sim).run(x).outputs["y"], handmade.expected(x))


@pytest.mark.parametrize("sim", SIMS)
def test_repeated_inference_is_not_disturbed_by_earlier_ones(sim: SimName) -> None:
    executor = Executor(handmade.artifact(), sim=sim)
    first, second = handmade.example_input(1), handmade.example_input(2)
    before = executor.run(first)
    executor.run(second)
    again = executor.run(first)
    assert np.array_equal(before.outputs["y"], again.outputs["y"])
    assert before.profile.cycles == again.profile.cycles


def test_outputs_are_copies() -> None:
    executor = Executor(handmade.artifact())
    y = executor.run(handmade.example_input(1)).outputs["y"]
    kept = y.copy()
    executor.run(handmade.example_input(2))
    assert np.array_equal(y, kept)


def test_tensors_inside_can_be_read() -> None:
    executor = Executor(handmade.artifact())
    x = handmade.example_input()
    executor.run(x)
    inner = executor.read(TensorSpec("r", (handmade.ROWS, 4), "int8", handmade.R))
    assert np.array_equal(inner * np.float32(handmade.SCALE), handmade.expected(x))


def test_inputs_that_are_not_contiguous() -> None:
    x = np.asfortranarray(handmade.example_input())
    assert np.array_equal(handmade.artifact().run({"x": x})["y"], handmade.expected(x))


def test_functional_profile_has_bytes_and_reasons_but_no_time() -> None:
    profile = Executor(handmade.artifact()).run(handmade.example_input()).profile
    assert profile.cycles is None and profile.trace is None
    assert [(layer.name, layer.target, layer.cycles) for layer in profile.layers] == [
        ("fc", "vdla", None),
        ("relu", "vdla", None),
        ("y", "cpu", None),
    ]
    assert profile.macs == handmade.ROWS * 16
    assert profile.layers[0].dram_write_bytes == handmade.ROWS * 4
    assert profile.layers[2].reason == "results leave the integers on the CPU"


def test_cycle_profile_partitions_the_time() -> None:
    profile = Executor(handmade.artifact(), sim="cycle").run(handmade.example_input()).profile
    assert profile.trace is not None and profile.cycles is not None
    fc, relu, _ = profile.layers
    assert profile.cycles == (fc.cycles or 0) + (relu.cycles or 0)
    assert fc.cycles == handmade.ROWS + sum(fc.stalls.values())
    assert relu.cycles == sum(relu.stalls.values())
    assert profile.trace.end.max() <= profile.cycles
    assert (profile.trace.end > profile.trace.start).all()
    assert profile.trace.layer.tolist() == [0] * 7 + [1] * 5
    assert set(profile.busy) == {"load", "compute", "store", "read_port"}
    assert profile.fetch_bytes == 12 * 32
    assert profile.dram_read_bytes == profile.fetch_bytes + fc.dram_read_bytes + relu.dram_read_bytes


def test_progress_ends_with_all_instructions() -> None:
    seen: list[tuple[str, int, int]] = []
    Executor(handmade.artifact(), sim="cycle").run(handmade.example_input(), lambda *told: seen.append(told))
    assert seen[-1] == ("program 1 of 2", 12, 12)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"x": np.zeros((4, 3), np.int8)}, r"input 'x': expected int8\[3,4\], got int8\[4,3\]"),
        ({"x": np.zeros((3, 4))}, r"expected int8\[3,4\], got float64\[3,4\]"),
        ({}, r"input 'x' is missing: expected int8\[3,4\]"),
        ({"x": np.zeros((3, 4), np.int8), "z": np.zeros(1)}, r"no input named 'z'; the model's inputs are 'x' int8"),
        ({"x": [[0] * 4] * 3}, "expected a numpy array .*, got list"),
    ],
)
def test_wrong_inputs(inputs: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(InputError, match=message):
        handmade.artifact().run(inputs)


def test_loading_and_running_needs_no_compiler(tmp_path: Path) -> None:
    handmade.artifact().save(tmp_path / "model.vdla")
    script = (
        "import sys, numpy as np\n"
        "from runtime.artifact import Artifact\n"
        "y = Artifact.load(sys.argv[1]).run(np.zeros((3, 4), np.int8), sim='cycle')['y']\n"
        "assert not y.any()\n"
        "assert not [m for m in sys.modules if m.split('.')[0] in ('compiler', 'vdla', 'onnx')]\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "model.vdla")], check=True)
