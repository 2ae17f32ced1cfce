"""MobileNet v1 (Howard et al., 2017): depthwise-separable convolutions."""

from __future__ import annotations

import onnx

from vdla.models.builder import ModelBuilder

# (channels, stride) of each depthwise-separable block.
_BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))


def mobilenet(*, batch: int | str = 1, image: int = 224, seed: int = 0) -> onnx.ModelProto:
    """MobileNet v1 1.0: 4.2 M weights, 0.57 G multiply-accumulates at 224 x 224.

    Input "x" [batch,3,image,image], output "y" [batch,1000], float32.
    """
    b = ModelBuilder("mobilenet", seed)

    def activate(x: str, name: str, channels: int) -> str:
        return b.relu(b.batch_norm(x, f"{name}.bn", channels), f"{name}.relu")

    y = activate(b.conv(b.input("x"), "stem", (3, 32), 3, 2), "stem", 32)
    channels = 32
    for index, (outer, stride) in enumerate(_BLOCKS):
        y = b.conv(y, f"block{index}.depthwise", (channels, channels), 3, stride, groups=channels)
        y = activate(y, f"block{index}.dw", channels)
        y = activate(b.conv(y, f"block{index}.pointwise", (channels, outer), 1), f"block{index}.pw", outer)
        channels = outer
    y = b.classifier(y, "fc", (channels, 1000))
    b.nodes[-1].output[0] = "y"
    return b.model({"x": (batch, 3, image, image)}, {"y": (batch, 1000)})
