"""The digits network: its file, its data, its accuracy in float and on the integer graph."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import resources

import numpy as np
import onnxruntime
import pytest

from compiler.frontend.onnx_import import from_onnx
from compiler.graph.interpreter import evaluate
from compiler.graph.pipeline import Calibration, to_integer
from vdla.errors import UsageError
from vdla.models import CALIBRATION, MODELS
from vdla.models.digits import FLOAT_ACCURACY, Split, calibration_inputs, digits, load_split, normalize
from vdla.models.digits.data import HELD_OUT, split_indices


@pytest.fixture(scope="module")
def split() -> Split:
    """All images, as the network takes them."""
    return load_split()


def _accuracy(infer: Callable[[np.ndarray], np.ndarray], split: Split) -> float:
    logits = np.concatenate([infer(image[None]) for image in split.held_out_images])
    return float((logits.argmax(1) == split.held_out_labels).mean())


def test_file_is_small_and_registered() -> None:
    assert (resources.files("vdla.models.digits") / "digits.onnx").stat().st_size < 1 << 20  # pyright: ignore
    assert MODELS["digits"] is digits
    operators = {node.op_type for node in digits().graph.node}
    assert {"Conv", "BatchNormalization", "Add", "GlobalAveragePool", "Gemm"} <= operators


def test_split_is_stratified_and_without_overlap(split: Split) -> None:
    assert split.held_out_images.shape == (HELD_OUT, 1, 8, 8)
    assert split.train_images.shape == (1797 - HELD_OUT, 1, 8, 8)
    counts = np.bincount(split.held_out_labels, minlength=10)
    whole = counts + np.bincount(split.train_labels, minlength=10)
    np.testing.assert_allclose(counts / whole, 1 / 3, atol=0.01)
    train, held_out = split_indices(np.repeat(np.arange(10), 180))
    np.testing.assert_array_equal(np.sort(np.concatenate([train, held_out])), np.arange(1800))


def test_images_are_normalised(split: Split) -> None:
    assert abs(float(split.train_images.mean())) < 0.01
    assert abs(float(split.train_images.std()) - 1) < 0.01
    assert normalize(np.zeros((3, 64), np.uint8)).dtype == np.float32


def test_calibration_images_are_training_images(split: Split) -> None:
    samples = CALIBRATION["digits"]()
    assert len(samples) == 128
    train = {image.tobytes() for image in split.train_images}
    assert all(sample["x"].shape == (1, 1, 8, 8) and sample["x"][0].tobytes() in train for sample in samples)


def test_without_scikit_learn_the_split_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(UsageError, match="pip install scikit-learn"):
        load_split()


def test_float_accuracy_is_the_stated_one(split: Split) -> None:
    session = onnxruntime.InferenceSession(digits().SerializeToString(), providers=["CPUExecutionProvider"])
    accuracy = _accuracy(lambda image: np.asarray(session.run(None, {"x": image})[0]), split)
    assert accuracy == pytest.approx(FLOAT_ACCURACY, abs=1e-9)
    assert accuracy >= 0.985


@pytest.mark.parametrize("method", ["minmax", "percentile", "mse"])
def test_integer_graph_keeps_the_accuracy(split: Split, method: str) -> None:
    graph, _ = to_integer(from_onnx(digits()), Calibration(samples=calibration_inputs(), method=method))
    accuracy = _accuracy(lambda image: evaluate(graph, {"x": image})["y"], split)
    assert accuracy >= FLOAT_ACCURACY - 0.005


@pytest.mark.slow
def test_one_epoch_of_training_and_export(split: Split) -> None:
    pytest.importorskip("torch")
    from vdla.models.digits import train

    net, accuracy = train.train(epochs=1, seed=1, report=False)
    assert accuracy > 0.3
    session = onnxruntime.InferenceSession(train.export(net), providers=["CPUExecutionProvider"])
    exported = _accuracy(lambda image: np.asarray(session.run(None, {"x": image})[0]), split)
    assert exported == pytest.approx(accuracy, abs=0.005)
    np.testing.assert_array_equal(
        normalize(train.calibration_pixels())[:, None], np.stack([s["x"] for s in calibration_inputs()])
    )
