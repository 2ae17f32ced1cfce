"""Bit-serial layers on emulated ARM processors, in instructions: ``python -m benchmarks.bitserial``.

One and two bits against int8, tensorized against plain loops that LLVM vectorizes. Packing the activations into bit
planes is counted with the layer; weights are packed when a model is compiled. Counts are exact and no times.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import click
import numpy as np

from benchmarks.common import publish, table
from benchmarks.guest import run_kernel
from compiler import te
from compiler.backend.cpu.bitserial import schedule_bitserial
from compiler.backend.cpu.default_schedule import default_schedule
from compiler.backend.cpu.platforms import platform_of
from compiler.graph.ir import Graph
from compiler.graph.partition import fuse_on_targets, partition
from compiler.graph.passes.layout import insert_layout_transforms
from compiler.ir import PrimFunc
from compiler.lower import lower
from compiler.ops.compute.bitserial import bitserial_conv2d, packed
from vdla.driver import cpu_target
from vdla.models.layers import CONVOLUTIONS

TITLE = "Bit-serial convolution on ARM: instructions under emulation"
PLATFORMS = ("arm64", "armv7")
LAYERS = ("C3", "C6", "C9")
WIDTHS = ((1, 1), (2, 1), (2, 2))
"""Bits of activations and of weights."""


def bitserial(name: str, x_bits: int, w_bits: int, tensorized: bool) -> tuple[PrimFunc, PrimFunc]:
    """The functions that pack the activations of a layer and that compute it."""
    size, inputs, outputs, kernel, stride = CONVOLUTIONS[name]
    x = te.placeholder((1, inputs, size, size), "uint8", "x")
    planes = packed(x, x_bits)
    p = te.placeholder(planes.shape, "uint8", "p")
    w = te.placeholder((outputs, w_bits, kernel, kernel, inputs // 8), "uint8", "w")
    y = bitserial_conv2d(p, w, (stride, stride), (kernel // 2,) * 4)
    pack = lower(default_schedule([planes]), [x, planes], "pack")
    return pack, lower(schedule_bitserial(y, tensorized=tensorized), [p, w, y], "layer")


def int8(name: str, platform: str) -> PrimFunc:
    """The layer's sums in int8, as the platform's CPU target computes them."""
    size, inputs, outputs, kernel, stride = CONVOLUTIONS[name]
    weights = np.random.default_rng(0).integers(-127, 128, (outputs, inputs, kernel, kernel)).astype(np.int8)
    graph = Graph(name)
    x, w = graph.input("x", (1, inputs, size, size), "int8"), graph.const(weights, "w")
    attrs = {"strides": (stride,) * 2, "pads": (kernel // 2,) * 4}
    graph.mark_output(graph.op("conv2d", [x, w], attrs), "y")
    target = cpu_target(platform_of(platform))
    partition(graph, [target])
    laid = insert_layout_transforms(graph, {target.name: target})
    groups = fuse_on_targets(laid, [target])
    func = target.compile(next(group for group in groups if group.anchor.op == "conv2d")).func
    func.attrs["parallel"] = False  # one thread, without a pool
    return func


def instructions(func: PrimFunc, platform: str, folder: Path) -> int:
    """Of one call on seeded data; the better of two levels of LLVM's optimisation."""
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 127, buffer.shape).astype(buffer.dtype) for buffer in func.params]
    return min(run_kernel(func, arrays, platform, folder, opt)[1] for opt in (1, 3))


def rows(name: str, platform: str, folder: Path) -> list[list[object]]:
    """A layer's lines of the table."""
    size, inputs, outputs, kernel, stride = CONVOLUTIONS[name]
    work = (size // stride) ** 2 * inputs * outputs * kernel**2
    reference = instructions(int8(name, platform), platform, folder)
    out: list[list[object]] = [[name, platform, "int8", f"{reference / 1e6:.1f}", f"{work / reference:.2f}", "", ""]]
    for x_bits, w_bits in WIDTHS:
        counts = []
        for tensorized in (False, True):
            pack, layer = bitserial(name, x_bits, w_bits, tensorized)
            counts.append(instructions(pack, platform, folder) + instructions(layer, platform, folder))
        plain, best = counts
        bits = f"{x_bits} x {w_bits}"
        out.append([name, platform, f"{bits}, plain", f"{plain / 1e6:.1f}", f"{work / plain:.2f}", "",
                    f"{reference / plain:.2f}"])  # fmt: skip
        out.append([name, platform, f"{bits}, tensorized", f"{best / 1e6:.1f}", f"{work / best:.2f}",
                    f"{plain / best:.2f}", f"{reference / best:.2f}"])  # fmt: skip
    return out


@click.command()
@click.option("--layers", default=",".join(LAYERS), show_default=True, help="Which of the paper's layers.")
@click.option("--write", is_flag=True, help="Put the table into RESULTS.md.")
def main(layers: str, write: bool) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        lines = [line for layer in layers.split(",") for p in PLATFORMS for line in rows(layer, p, Path(name))]
    header = [
        "layer",
        "platform",
        "bits of activations x weights",
        "M instructions",
        "MACs each",
        "of plain",
        "of int8",
    ]
    text = "Instructions with packing; the last columns say how many times fewer than the plain loops and than int8."
    publish(TITLE, f"{text}\n\n{table(header, lines)}", write=write)


if __name__ == "__main__":
    main()
