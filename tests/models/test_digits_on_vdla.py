"""The digits network end to end: compiled, simulated, as accurate as in float."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import vdla
from compiler.frontend.onnx_import import from_onnx
from compiler.graph.interpreter import evaluate
from compiler.graph.pipeline import Calibration, to_integer
from vdla.models.digits import FLOAT_ACCURACY, calibration_inputs, digits, load_split

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits_accuracy.py"


@pytest.fixture(scope="module")
def artifact() -> vdla.Artifact:
    """The built-in network for the small machine, calibrated on its own images."""
    return vdla.compile("digits", config="tiny")


def test_accuracy_on_vdla_is_within_half_a_point_of_float(artifact: vdla.Artifact) -> None:
    split = load_split()
    executor = vdla.Executor(artifact, sim="functional")
    logits = np.concatenate([executor.run(image[None]).outputs["y"] for image in split.held_out_images])
    assert len(logits) >= 200
    assert (logits.argmax(1) == split.held_out_labels).mean() >= FLOAT_ACCURACY - 0.005


def test_bits_are_the_integer_graphs(artifact: vdla.Artifact) -> None:
    graph, _ = to_integer(from_onnx(digits()), Calibration(samples=calibration_inputs()))
    for image in load_split().held_out_images[:20]:
        expected = evaluate(graph, {"x": image[None]})["y"]
        for sim in ("functional", "cycle"):
            np.testing.assert_array_equal(vdla.simulate(artifact, image[None], sim=sim).outputs["y"], expected)


def test_every_layer_is_on_vdla(artifact: vdla.Artifact) -> None:
    layers = vdla.simulate(artifact, load_split().held_out_images[:1], sim="functional").document["layers"]
    on_cpu = {node for layer in layers if layer["target"] == "cpu" for node in layer["nodes"]}
    assert not {node.name for node in digits().graph.node if node.op_type in ("Conv", "Gemm")} & on_cpu
    assert len([layer for layer in layers if layer["target"] == "cpu"]) == 2, "input and output conversion"


def test_the_example_prints_both_accuracies() -> None:
    main = runpy.run_path(str(EXAMPLE))["main"]
    result = CliRunner().invoke(main, ["--images", "200"])
    assert result.exit_code == 0, result.output
    assert "float, ONNX Runtime" in result.output and "int8, VDLA tiny" in result.output
    assert "199 of 200 right, 99.50 %" in result.output
