"""Trains the digits network and writes what the package carries: ``python -m vdla.models.digits.train``.

Needs the optional extra ``train`` (CPU PyTorch, scikit-learn). Seeded, on one thread, with deterministic algorithms:
the same machine and PyTorch give the same file again; another machine may differ in the last bits.

The committed file (60 epochs, seed 0, 15 s on one core of a Zen 5, PyTorch 2.13.0):

    epoch 10: loss 0.3992, held out 98.66 %
    epoch 20: loss 0.3413, held out 98.66 %
    epoch 30: loss 0.3171, held out 98.50 %
    epoch 40: loss 0.3072, held out 99.67 %
    epoch 50: loss 0.2970, held out 99.50 %
    epoch 60: loss 0.2979, held out 99.50 %
"""

# PyTorch is an optional extra: the type check must pass without it.
# pyright: reportMissingImports=false

from __future__ import annotations

import math
import tempfile
import warnings
from pathlib import Path

import click
import numpy as np
import onnx
import torch
from torch import nn
from torch.nn import functional

from vdla.models.digits.data import load_split, normalize

OPSET = 17
CALIBRATION_IMAGES = 128


class Block(nn.Module):
    """Two 3x3 convolutions and a residual add; a strided 1x1 convolution matches the shapes where they differ."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outer)
        self.conv2 = nn.Conv2d(outer, outer, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outer)
        self.downsample = None
        if stride != 1 or inner != outer:
            self.downsample = nn.Sequential(nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[n,inner,h,w] -> [n,outer,h/stride,w/stride]."""
        identity = x if self.downsample is None else self.downsample(x)
        y = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(y)) + identity)


class DigitsNet(nn.Module):
    """A residual network of 16, 32 and 64 channels on 8x8, 4x4 and 2x2 pixels; 77,000 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = Block(16, 16, 1)
        self.layer2 = Block(16, 32, 2)
        self.layer3 = Block(32, 64, 2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalised images [n,1,8,8] -> logits [n,10]."""
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.layer3(self.layer2(self.layer1(y)))
        return self.fc(torch.flatten(self.pool(y), 1))


def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Randomly turned (up to 12 degrees), scaled (10 %) and shifted (0.8 pixels) copies; outside is background."""
    n = len(images)

    def uniform(limit: float) -> torch.Tensor:
        return (torch.rand(n, generator=generator) * 2 - 1) * limit

    angle, scale = uniform(math.radians(12)), 1 + uniform(0.1)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    # A pixel is a quarter of the half-width that the grid's coordinates count in.
    rows = [torch.stack([cos, -sin, uniform(0.2)], 1), torch.stack([sin, cos, uniform(0.2)], 1)]
    grid = functional.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    background = float(normalize(np.zeros((1, 64)))[0, 0, 0, 0])
    return functional.grid_sample(images - background, grid, align_corners=False) + background


def train(epochs: int, seed: int, *, report: bool = True) -> tuple[DigitsNet, float]:
    """A trained network in evaluation mode and its accuracy on the held-out images, 0..1.

    Seeds PyTorch's global generator and sets it to one thread. No choice is made by the held-out images.
    """
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    split = load_split()
    images, labels = torch.from_numpy(split.train_images), torch.from_numpy(split.train_labels)
    generator = torch.Generator().manual_seed(seed)
    net = DigitsNet()
    batch = 64
    steps = epochs * (len(images) // batch)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=steps)
    for epoch in range(epochs):
        net.train()
        order = torch.randperm(len(images), generator=generator)
        total = 0.0
        for start in range(0, len(images) - batch + 1, batch):
            chosen = order[start : start + batch]
            logits = net(augment(images[chosen], generator))
            loss = functional.cross_entropy(logits, labels[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        if report and (epoch % 10 == 9 or epoch == epochs - 1):
            accuracy = 100 * evaluate(net, split.held_out_images, split.held_out_labels)
            click.echo(f"epoch {epoch + 1}: loss {total / (len(images) // batch):.4f}, held out {accuracy:.2f} %")
    return net.eval(), evaluate(net, split.held_out_images, split.held_out_labels)


def evaluate(net: nn.Module, images: np.ndarray, labels: np.ndarray) -> float:
    """Share of images float32 [n,1,8,8] whose largest logit is the label's; leaves the net in evaluation mode."""
    net.eval()
    with torch.no_grad():
        return float((net(torch.from_numpy(images)).argmax(1).numpy() == labels).mean())


def export(net: nn.Module) -> bytes:
    """The ONNX file: input "x" float32 [1,1,8,8], output "y" [1,10]. Batch norms stay operators of their own."""
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "digits.onnx"
        # The newer exporter needs packages beyond PyTorch; this one says at each call that it is the older.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            net.eval(),
            (torch.zeros(1, 1, 8, 8),),
            path,
            input_names=["x"],
            output_names=["y"],
            opset_version=OPSET,
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
            dynamo=False,
        )
        model = onnx.load(path)
    model.graph.name = "digits"
    return model.SerializeToString()


def calibration_pixels() -> np.ndarray:
    """Pixels 0..16, uint8 [128,8,8], of training images evenly spread over the data set."""
    images = load_split().train_images
    chosen = images[np.linspace(0, len(images) - 1, CALIBRATION_IMAGES).astype(int), 0]
    zero, one = normalize(np.repeat([[0.0], [1.0]], 64, axis=1))[:, 0, 0, 0]
    return np.rint((chosen - zero) / (one - zero)).astype(np.uint8)


@click.command()
@click.option("--epochs", type=click.IntRange(min=1), default=60, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False, exists=True), default=Path(__file__).parent)
def main(epochs: int, seed: int, folder: Path) -> None:
    """Train the digits network; write digits.onnx and calibration.npy to --folder (default: the package's own)."""
    net, accuracy = train(epochs, seed)
    content = export(net)
    (folder / "digits.onnx").write_bytes(content)
    np.save(folder / "calibration.npy", calibration_pixels())
    click.echo(f"{folder / 'digits.onnx'}: {len(content)} bytes, {100 * accuracy:.2f} % of the held-out images right")


if __name__ == "__main__":
    main()
