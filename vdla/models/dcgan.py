"""The generator of DCGAN (Radford et al., 2016): an image from a vector, by transposed convolutions."""

from __future__ import annotations

import onnx

from vdla.models.builder import ModelBuilder


def dcgan(*, batch: int | str = 1, latent: int = 100, width: int = 64, seed: int = 0) -> onnx.ModelProto:
    """Input "z" [batch,latent,1,1], output "y" [batch,3,64,64] in -1..1, float32.

    width: channels before the image; the layers have 8, 4, 2 and 1 times as many.
    """
    b = ModelBuilder("dcgan", seed)
    y, channels = b.input("z"), latent
    for index, factor in enumerate((8, 4, 2, 1), start=1):
        stride = 1 if index == 1 else 2
        y = b.conv_transpose(y, f"up{index}", (channels, factor * width), 4, stride, pads=0 if index == 1 else 1)
        channels = factor * width
        y = b.relu(b.batch_norm(y, f"bn{index}", channels), f"relu{index}")
    y = b.conv_transpose(y, "up5", (channels, 3), 4, 2, pads=1)
    b.node("Tanh", [y], "y", 0.4)
    return b.model({"z": (batch, latent, 1, 1)}, {"y": (batch, 3, 64, 64)})
