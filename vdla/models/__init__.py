"""The built-in models: seeded ONNX networks that need no file."""

from __future__ import annotations

from vdla.models.resnet import resnet18, resnet_tiny
from vdla.models.small import mlp, mobile_tiny

MODELS = {"resnet18": resnet18, "resnet_tiny": resnet_tiny, "mobile_tiny": mobile_tiny, "mlp": mlp}

__all__ = ["MODELS", "mlp", "mobile_tiny", "resnet18", "resnet_tiny"]
