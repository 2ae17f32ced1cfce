"""A small residual network with real accuracy: trained on the handwritten digits that scikit-learn carries."""

from __future__ import annotations

from importlib import resources

import numpy as np
import onnx

from vdla.models.digits.data import Split, load_split, normalize

# Of the 599 held-out images, run in float by ONNX Runtime; train.py's docstring has the log.
FLOAT_ACCURACY = 596 / 599


def digits() -> onnx.ModelProto:
    """The trained network: input "x" float32 [1,1,8,8] (see `normalize`), output "y" float32 [1,10], logits."""
    return onnx.load_from_string((resources.files(__name__) / "digits.onnx").read_bytes())


def calibration_inputs() -> list[dict[str, np.ndarray]]:
    """128 training images by input name, to calibrate int8 on; none of them is held out."""
    with (resources.files(__name__) / "calibration.npy").open("rb") as stream:
        images = normalize(np.load(stream))
    return [{"x": image[None]} for image in images]


__all__ = ["FLOAT_ACCURACY", "Split", "calibration_inputs", "digits", "load_split", "normalize"]
