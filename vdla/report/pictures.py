"""The two pictures: a roofline of the layers and a timeline of the units. PNG bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from runtime.profile import InstructionTrace
from vdla.report.lanes import UNITS, lane, layer_spans, occupancy

BINS = 1600
"""Columns of the timeline; each shows the share of its cycles in which a unit was at work."""


def roofline(document: Mapping[str, Any]) -> bytes:
    """Products a cycle over products a byte; the roofs are the multipliers and the memory port.

    The port moves a beat a cycle in each direction, so a layer's bytes are those of its busier direction.
    """
    vdla = document["config"]["vdla"]
    peak = vdla["batch"] * vdla["block_in"] * vdla["block_out"]
    bandwidth = vdla["bus_bits"] / 8
    names, intensity, speed, cycles = [], [], [], []
    for layer in document["layers"]:
        moved = max(layer["dram_read_bytes"], layer["dram_write_bytes"])
        if layer["macs"] and layer["cycles"] and moved:
            names.append(layer["name"])
            intensity.append(layer["macs"] / moved)
            speed.append(layer["macs"] / layer["cycles"])
            cycles.append(layer["cycles"])
    figure = Figure(figsize=(10, 5), layout="constrained")
    axes = figure.subplots()
    knee = peak / bandwidth
    low, high = min([knee, *intensity]) / 2, max([knee, *intensity]) * 2
    x = np.geomspace(low, high, 200)
    axes.plot(x, np.minimum(peak, bandwidth * x), color="black", linewidth=1.2)
    axes.annotate(f"{peak} multipliers", (high, peak), ha="right", va="bottom", fontsize=8)
    axes.annotate(f"{bandwidth:g} bytes a cycle", (low, bandwidth * low), ha="left", va="top", fontsize=8)
    for number, (name, px, py, count) in enumerate(zip(names, intensity, speed, cycles, strict=True), 1):
        size = 60 + 240 * count / max(cycles)
        axes.scatter(px, py, s=size, alpha=0.5, edgecolors="black", linewidths=0.5, label=f"{number} {_short(name)}")
        axes.annotate(str(number), (px, py), fontsize=6, ha="center", va="center")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
    axes.set_xlabel("MACs per DRAM byte (busier direction)")
    axes.set_ylabel("MACs per cycle")
    axes.set_title(_plain(f"{document['model']} on {document['config']['name']}; area: cycles"), fontsize=10)
    axes.grid(True, which="major", alpha=0.3)
    if names:
        figure.legend(loc="outside right upper", fontsize=7, frameon=False, ncols=1 + len(names) // 31, markerscale=0.4)
    return _png(figure)


def timeline(document: Mapping[str, Any], trace: InstructionTrace) -> bytes:
    """Load, compute and store unit over time; a column's depth of colour is the share of time at work."""
    layers = document["layers"]
    total = max(int(trace.end.max()) if trace.end.size else 0, 1)
    edges = np.linspace(0, total, min(BINS, total) + 1)
    colours = matplotlib.colormaps["tab20"]
    palette = np.array([colours(i % 20)[:3] for i in range(max(len(layers), 1))])
    picture = np.ones((len(UNITS), edges.size - 1, 3))
    for unit in range(len(UNITS)):
        start, end, layer = lane(trace, unit)
        for index in np.unique(layer):
            mine = layer == index
            share = occupancy(start[mine], end[mine], edges)
            picture[unit] -= share[:, None] * (1 - palette[index])
    figure = Figure(figsize=(12, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.imshow(
        picture.clip(0, 1),
        aspect="auto",
        interpolation="nearest",
        extent=(0.0, total / 1e3, len(UNITS) - 0.5, -0.5),
    )
    for index, span in enumerate(layer_spans(trace, len(layers))):
        if span is None:
            continue
        left, width = span[0] / 1e3, (span[1] - span[0]) / 1e3
        axes.broken_barh([(left, width)], (-1.1, 0.4), facecolors=[tuple(palette[index])], alpha=0.9)
        if width > 0.02 * total / 1e3:
            label = _short(layers[index]["name"])
            axes.text(left + width / 2, -1.2, label, fontsize=6, rotation=40, ha="left", va="bottom")
    axes.set_ylim(len(UNITS) - 0.5, -1.15)
    axes.set_yticks([-0.9, *range(len(UNITS))], ["layers", *UNITS])
    axes.set_xlabel("thousand cycles")
    for spine in ("top", "right"):
        axes.spines[spine].set_visible(False)
    return _png(figure)


def _short(name: str, limit: int = 28) -> str:
    """A layer's name for a picture; the end tells more than the beginning."""
    return _plain(name if len(name) <= limit else "..." + name[3 - limit :])


def _plain(text: str) -> str:
    """Model names may hold a dollar sign, which matplotlib would read as mathematics."""
    return text.replace("$", r"\$")


def _png(figure: Figure) -> bytes:
    # A Figure without pyplot draws with Agg and leaves the user's own backend and figures alone.
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()
