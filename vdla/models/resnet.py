"""Residual networks with torchvision's structure and module names."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx

from vdla.models.builder import ModelBuilder


def _basic_block(b: ModelBuilder, x: str, name: str, channels: tuple[int, int], stride: int) -> str:
    inner, outer = channels
    y = b.conv(x, f"{name}.conv1", (inner, outer), 3, stride)
    y = b.relu(b.batch_norm(y, f"{name}.bn1", outer), f"{name}.relu1")
    y = b.conv(y, f"{name}.conv2", (outer, outer), 3)
    # A trained residual branch is weaker than its shortcut; half the gain keeps the sum's range flat.
    y = b.batch_norm(y, f"{name}.bn2", outer, gain=0.5)
    if stride != 1 or inner != outer:
        x = b.conv(x, f"{name}.downsample.0", (inner, outer), 1, stride)
        x = b.batch_norm(x, f"{name}.downsample.1", outer)
    return b.relu(b.add(y, x, f"{name}.add"), f"{name}.relu")


def _bottleneck(b: ModelBuilder, x: str, name: str, channels: tuple[int, int], stride: int) -> str:
    inner, outer = channels
    width = outer // 4
    y = b.conv(x, f"{name}.conv1", (inner, width), 1)
    y = b.relu(b.batch_norm(y, f"{name}.bn1", width), f"{name}.relu1")
    y = b.conv(y, f"{name}.conv2", (width, width), 3, stride)
    y = b.relu(b.batch_norm(y, f"{name}.bn2", width), f"{name}.relu2")
    y = b.batch_norm(b.conv(y, f"{name}.conv3", (width, outer), 1), f"{name}.bn3", outer, gain=0.5)
    if stride != 1 or inner != outer:
        x = b.conv(x, f"{name}.downsample.0", (inner, outer), 1, stride)
        x = b.batch_norm(x, f"{name}.downsample.1", outer)
    return b.relu(b.add(y, x, f"{name}.add"), f"{name}.relu")


def resnet(
    name: str,
    widths: Sequence[int],
    blocks: Sequence[int],
    *,
    classes: int,
    image: int,
    batch: int | str,
    seed: int,
    block: Callable[[ModelBuilder, str, str, tuple[int, int], int], str] = _basic_block,
    expansion: int = 1,
) -> onnx.ModelProto:
    """A residual network: input "x" [batch,3,image,image], output "y" [batch,classes], float32.

    `block` builds a residual block whose output has `expansion` times as many channels as its stage's width.
    """
    b = ModelBuilder(name, seed)
    x = b.input("x")
    y = b.conv(x, "conv1", (3, widths[0]), 7, 2)
    y = b.relu(b.batch_norm(y, "bn1", widths[0]), "relu")
    y = b.node("MaxPool", [y], "maxpool", 1.5, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = widths[0]
    for stage, (width, count) in enumerate(zip(widths, blocks, strict=True), start=1):
        for index in range(count):
            stride = 2 if stage > 1 and index == 0 else 1
            y = block(b, y, f"layer{stage}.{index}", (channels, expansion * width), stride)
            channels = expansion * width
    y = b.classifier(y, "fc", (channels, classes))
    b.nodes[-1].output[0] = "y"
    return b.model({"x": (batch, 3, image, image)}, {"y": (batch, classes)})


def resnet18(*, batch: int | str = 1, image: int = 224, seed: int = 0) -> onnx.ModelProto:
    """ResNet-18: 11.7 M weights, 1.8 G multiply-accumulates at 224 x 224."""
    widths = (64, 128, 256, 512)
    return resnet("resnet18", widths, (2, 2, 2, 2), classes=1000, image=image, batch=batch, seed=seed)


def resnet50(*, batch: int | str = 1, image: int = 224, seed: int = 0) -> onnx.ModelProto:
    """ResNet-50 with the stride on the 3 x 3 convolutions: 25.5 M weights, 4.1 G multiply-accumulates at 224 x 224."""
    widths = (64, 128, 256, 512)
    counts = (3, 4, 6, 3)
    return resnet(
        "resnet50", widths, counts, classes=1000, image=image, batch=batch, seed=seed, block=_bottleneck, expansion=4
    )


def resnet_tiny(*, batch: int | str = 1, image: int = 32, seed: int = 0) -> onnx.ModelProto:
    """A two-stage residual network of the same structure, small enough for tests (20 k weights)."""
    return resnet("resnet_tiny", (16, 32), (1, 1), classes=10, image=image, batch=batch, seed=seed)
