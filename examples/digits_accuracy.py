"""A model with real accuracy: handwritten digits, in float and in int8 on VDLA.

Compiles the built-in network ``digits`` (see vdla/models/digits/train.py) for a machine, runs the held-out images of
scikit-learn's data set through the functional simulator, and compares with the float network in ONNX Runtime::

    python examples/digits_accuracy.py
    python examples/digits_accuracy.py --config pynq-z1 --images 200

Needs scikit-learn and onnxruntime (the extra ``test``).
"""

from __future__ import annotations

import time

import click
import numpy as np
import onnxruntime

import vdla
from vdla.models.digits import digits, load_split


def float_logits(images: np.ndarray) -> np.ndarray:
    """Logits [n,10] of normalised images [n,1,8,8], by ONNX Runtime in float."""
    session = onnxruntime.InferenceSession(digits().SerializeToString(), providers=["CPUExecutionProvider"])
    return np.concatenate([np.asarray(session.run(None, {"x": image[None]})[0]) for image in images])


def vdla_logits(images: np.ndarray, config: str) -> np.ndarray:
    """Logits [n,10] of normalised images [n,1,8,8], in int8 on the functional simulator of a machine."""
    # The built-in network brings 128 of its training images to calibrate int8 on; give your own as calibration=.
    executor = vdla.Executor(vdla.compile("digits", config=config), sim="functional")
    return np.concatenate([executor.run(image[None]).outputs["y"] for image in images])


@click.command()
@click.option("--config", default="tiny", show_default=True, help="The machine: a board's name or a YAML file.")
@click.option("--images", type=click.IntRange(1, 599), default=599, show_default=True, help="Held-out images to run.")
def main(config: str, images: int) -> None:
    """Print the accuracy on held-out images, in float and in int8 on VDLA."""
    split = load_split()
    pictures, labels = split.held_out_images[:images], split.held_out_labels[:images]
    exact = float_logits(pictures)
    start = time.perf_counter()
    integer = vdla_logits(pictures, config)
    seconds = time.perf_counter() - start
    for name, logits in (("float, ONNX Runtime", exact), (f"int8, VDLA {config}", integer)):
        right = int((logits.argmax(1) == labels).sum())
        print(f"{name:24} {right} of {images} right, {100 * right / images:.2f} %")
    same = int((exact.argmax(1) == integer.argmax(1)).sum())
    print(f"same answer for {same} of {images}; compiled and simulated in {seconds:.1f} s")


if __name__ == "__main__":
    main()
