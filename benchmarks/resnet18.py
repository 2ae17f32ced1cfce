"""ResNet-18's cycles, layer by layer, with virtual threads off and on: ``python -m benchmarks.resnet18``.

The rows C1..C12 are the convolutions of the TVM paper's table 2. A layer of the network that is such a convolution
counts with all that is fused into it (requantisation, residual add). C3 does not occur in this network (its first
stage has no projection); it is measured as a network of its own, cold start included.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import click
import numpy as np
import onnx

import vdla
from benchmarks.common import percent, publish, table
from hw.config import Config
from vdla.models.builder import ModelBuilder

# Paper's name -> pattern of the layers' names in torchvision's ResNet-18.
PAPER_LAYERS = {
    "C1": r"conv1",
    "C2": r"layer1\.\d\.conv\d",
    "C4": r"layer2\.0\.conv1",
    "C5": r"layer2\.0\.downsample\.0",
    "C6": r"layer2\.(0\.conv2|1\.conv\d)",
    "C7": r"layer3\.0\.conv1",
    "C8": r"layer3\.0\.downsample\.0",
    "C9": r"layer3\.(0\.conv2|1\.conv\d)",
    "C10": r"layer4\.0\.conv1",
    "C11": r"layer4\.0\.downsample\.0",
    "C12": r"layer4\.(0\.conv2|1\.conv\d)",
}

Document = Mapping[str, Any]


def c3() -> onnx.ModelProto:
    """The paper's C3 alone: 1x1 convolution, 64 to 64 channels, 56x56."""
    b = ModelBuilder("c3", 0)
    y = b.conv(b.input("x"), "c3", (64, 64), 1)
    return b.model({"x": (1, 64, 56, 56)}, {y: (1, 64, 56, 56)})


def measure(model: str | onnx.ModelProto, config: Config, *, virtual_threads: bool) -> dict[str, Any]:
    """report.json's content of one inference on seeded normal numbers."""
    artifact = vdla.compile(model, config=config, virtual_threads=virtual_threads)
    rng = np.random.default_rng(0)
    inputs = {spec.name: rng.standard_normal(spec.shape, dtype=np.float32) for spec in artifact.inputs}
    return vdla.simulate(artifact, inputs, sim="cycle").document


def layer_rows(document: Document) -> dict[str, list[Document]]:
    """Layers on VDLA by row: the paper's names, then what is left, each under its own name."""
    rows: dict[str, list[Document]] = {name: [] for name in PAPER_LAYERS}
    for layer in document["layers"]:
        if layer["target"] == "vdla":
            names = (name for name, pattern in PAPER_LAYERS.items() if re.fullmatch(pattern, layer["name"]))
            rows.setdefault(next(names, layer["name"]), []).append(layer)
    return {name: layers for name, layers in rows.items() if layers}


def summary(layers: Sequence[Document], per_cycle: int) -> tuple[int, int, float | None, str]:
    """Cycles, products, utilisation (None without products) and the main cause of stall of some layers together."""
    cycles = sum(layer["cycles"] for layer in layers)
    macs = sum(layer["macs"] for layer in layers)
    stalls: dict[str, int] = {}
    for layer in layers:
        for cause, count in layer["stalls"].items():
            stalls[cause] = stalls.get(cause, 0) + count
    cause = max(stalls, key=lambda name: stalls[name], default="")
    text = f"{cause} {percent(stalls[cause] / cycles)}" if cause and cycles and stalls[cause] else ""
    return cycles, macs, macs / (cycles * per_cycle) if macs and cycles else None, text


def section(off: Document, on: Document, alone: tuple[Document, Document], per_cycle: int) -> str:
    """The section's text from the reports without and with virtual threads; `alone` is C3, likewise."""
    rows_off, rows_on = layer_rows(off), layer_rows(on)
    lines: list[list[object]] = []

    def add(name: str, count: int, without: Sequence[Document], with_: Sequence[Document]) -> None:
        before, after = summary(without, per_cycle), summary(with_, per_cycle)
        utilization = [percent(before[2]), percent(after[2])]
        lines.append([name, count, f"{after[1]:,}", f"{before[0]:,}", f"{after[0]:,}", *utilization, after[3]])

    for name in rows_on:
        add(name, len(rows_on[name]), rows_off[name], rows_on[name])
        if name == "C2":
            add("C3 (alone)", 1, *(layer_rows(document)["c3"] for document in alone))
    totals = [document["totals"] for document in (off, on)]
    lines.append(
        ["network", len(on["layers"]), f"{totals[1]['macs']:,}"]
        + [f"{t['cycles']:,}" for t in totals]
        + [percent(t["utilization"]) for t in totals]
        + [""]
    )
    header = ["layer", "times", "MACs", "cycles, off", "cycles, on", "utilisation, off", "on", "main stall, on"]
    floor = totals[1]["mac_floor_cycles"]
    on_cpu = [f"{layer['name']} ({layer['op']})" for layer in on["layers"] if layer["target"] == "cpu"]
    return "\n\n".join(
        [
            "Virtual threads off and on, batch 1, memory port with real latency. Utilisation: products over what the "
            "multipliers could have done in the cycles that the layer took, everything fused into it included.",
            table(header, lines),
            f"Floor with every multiplier busy in every cycle: {floor:,} cycles. "
            f"On the CPU: {', '.join(on_cpu) or 'nothing'}.",
        ]
    )


@click.command()
@click.option("--config", "config_name", default="pynq-z1", show_default=True)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change one parameter of the machine.")
@click.option("--write", is_flag=True, help="Put the section into RESULTS.md.")
def main(config_name: str, settings: tuple[str, ...], write: bool) -> None:
    """ResNet-18's cycles, layer by layer, with virtual threads off and on."""
    config = Config.load(config_name).override(settings)
    off, on = (measure("resnet18", config, virtual_threads=threads) for threads in (False, True))
    alone = (measure(c3(), config, virtual_threads=False), measure(c3(), config, virtual_threads=True))
    title = f"ResNet-18 on {' '.join([config.name, *settings])}: latency hiding"
    publish(title, section(off, on, alone, config.macs_per_cycle), write=write)


if __name__ == "__main__":
    main()
