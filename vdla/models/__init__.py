"""The built-in models, which need no file: seeded ONNX networks, and a trained one (digits)."""

from __future__ import annotations

from vdla.models.dcgan import dcgan
from vdla.models.digits import calibration_inputs, digits
from vdla.models.dqn import dqn
from vdla.models.lstm import lstm_lm, tokens
from vdla.models.mobilenet import mobilenet
from vdla.models.resnet import resnet18, resnet50, resnet_tiny
from vdla.models.small import mlp, mobile_tiny
from vdla.models.transformer import transformer

MODELS = {
    "resnet18": resnet18,
    "resnet50": resnet50,
    "mobilenet": mobilenet,
    "dqn": dqn,
    "dcgan": dcgan,
    "lstm_lm": lstm_lm,
    "transformer": transformer,
    "resnet_tiny": resnet_tiny,
    "mobile_tiny": mobile_tiny,
    "mlp": mlp,
    "digits": digits,
}

# Inputs to calibrate a built-in model on, where it has seen real ones; the others take made-up numbers.
CALIBRATION = {"digits": calibration_inputs, "lstm_lm": tokens}

__all__ = [
    "CALIBRATION",
    "MODELS",
    "dcgan",
    "digits",
    "dqn",
    "lstm_lm",
    "mlp",
    "mobile_tiny",
    "mobilenet",
    "resnet18",
    "resnet50",
    "resnet_tiny",
    "transformer",
]
