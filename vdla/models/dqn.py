"""The deep Q network (Mnih et al., 2015)."""

from __future__ import annotations

import onnx

from vdla.models.builder import ModelBuilder


def dqn(*, batch: int | str = 1, image: int = 84, seed: int = 0, actions: int = 18) -> onnx.ModelProto:
    """Three convolutions and two dense layers: input "x" [batch,4,image,image], output "y" [batch,actions], float32."""
    b = ModelBuilder("dqn", seed)
    y, channels, size = b.input("x"), 4, image
    for index, (outer, kernel, stride) in enumerate(((32, 8, 4), (64, 4, 2), (64, 3, 1)), start=1):
        y = b.conv(y, f"conv{index}", (channels, outer), kernel, stride, pads=(0, 0, 0, 0))
        y = b.relu(y, f"relu{index}")
        channels, size = outer, (size - kernel) // stride + 1
    features = channels * size * size
    y = b.node("Flatten", [y], "flatten", b.moment[y], axis=1)
    y = b.relu(b.gemm(y, "fc1", (features, 512)), "relu4")
    b.gemm(y, "fc2", (512, actions))
    b.nodes[-1].output[0] = "y"
    return b.model({"x": (batch, 4, image, image)}, {"y": (batch, actions)})
