"""Small networks that use the operators ResNet does not: depthwise convolution, clipping, plain dense layers."""

from __future__ import annotations

import onnx

from vdla.models.builder import ModelBuilder


def mobile_tiny(*, batch: int | str = 1, image: int = 32, seed: int = 0) -> onnx.ModelProto:
    """Depthwise-separable blocks, rectifiers clipped at 6: input "x" [batch,3,image,image], output "y" [batch,10]."""
    b = ModelBuilder("mobile_tiny", seed)
    y = b.conv(b.input("x"), "stem", (3, 16), 3, 2)
    low, high = b.weight("clip.low", b.rng.uniform(0, 0, ())), b.weight("clip.high", b.rng.uniform(6, 6, ()))

    def activate(x: str, name: str, channels: int) -> str:
        y = b.batch_norm(x, f"{name}.bn", channels)
        return b.node("Clip", [y, low, high], f"{name}.clip", b.moment[y] / 2)

    y = activate(y, "stem", 16)
    for index, (inner, outer, stride) in enumerate(((16, 24, 1), (24, 40, 2))):
        y = b.conv(y, f"block{index}.depthwise", (inner, inner), 3, stride, groups=inner)
        y = activate(y, f"block{index}.dw", inner)
        y = activate(b.conv(y, f"block{index}.pointwise", (inner, outer), 1), f"block{index}.pw", outer)
    y = b.classifier(y, "fc", (40, 10))
    b.nodes[-1].output[0] = "y"
    return b.model({"x": (batch, 3, image, image)}, {"y": (batch, 10)})


def mlp(*, batch: int | str = 1, image: int = 28, seed: int = 0) -> onnx.ModelProto:
    """Two dense layers and a softmax: input "x" [batch,1,image,image], output "y" [batch,10]."""
    b = ModelBuilder("mlp", seed)
    x = b.node("Flatten", [b.input("x")], "flatten", 1.0, axis=1)
    y = b.relu(b.gemm(x, "fc1", (image * image, 64)), "relu1")
    y = b.gemm(y, "fc2", (64, 10))
    b.node("Softmax", [y], "y", 0.1, axis=1)
    return b.model({"x": (batch, 1, image, image)}, {"y": (batch, 10)})
