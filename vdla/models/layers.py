"""Single layers of the TVM paper as networks: C1 to C12 of ResNet-18, D1 to D9 of MobileNet, in float32 with ReLU."""

from __future__ import annotations

import re

import onnx

from vdla.models.builder import ModelBuilder

CONVOLUTIONS = {
    "C1": (224, 3, 64, 7, 2), "C2": (56, 64, 64, 3, 1), "C3": (56, 64, 64, 1, 1), "C4": (56, 64, 128, 3, 2),
    "C5": (56, 64, 128, 1, 2), "C6": (28, 128, 128, 3, 1), "C7": (28, 128, 256, 3, 2), "C8": (28, 128, 256, 1, 2),
    "C9": (14, 256, 256, 3, 1), "C10": (14, 256, 512, 3, 2), "C11": (14, 256, 512, 1, 2), "C12": (7, 512, 512, 3, 1),
}  # fmt: skip
"""Rows and columns, input and output channels, kernel, stride; padded by kernel // 2."""

DEPTHWISE = {
    "D1": (112, 32, 1), "D2": (112, 64, 2), "D3": (56, 128, 1), "D4": (56, 128, 2), "D5": (28, 256, 1),
    "D6": (28, 256, 2), "D7": (14, 512, 1), "D8": (14, 512, 2), "D9": (7, 1024, 1),
}  # fmt: skip
"""Rows and columns, channels, stride; 3x3, padded by 1."""


def is_layer(name: str) -> bool:
    """Whether a name is one of the paper's layers."""
    return name in CONVOLUTIONS or name in DEPTHWISE


def layer_model(name: str) -> onnx.ModelProto:
    """The layer and a ReLU behind it, weights seeded by the name's number."""
    if name in CONVOLUTIONS:
        size, inputs, outputs, kernel, stride = CONVOLUTIONS[name]
        groups = 1
    else:
        size, inputs, stride = DEPTHWISE[name]
        outputs, kernel, groups = inputs, 3, inputs
    builder = ModelBuilder(name, seed=int(re.sub(r"\D", "", name)))
    builder.relu(builder.conv(builder.input("x"), "conv", (inputs, outputs), kernel, stride, groups), "y")
    return builder.model({"x": (1, inputs, size, size)}, {"y": (1, outputs, size // stride, size // stride)})
