"""The pictures: a roofline of the layers, a timeline of the units, trade-offs, utilisation. PNG bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from runtime.profile import InstructionTrace
from vdla.report.exploration import timed_rows
from vdla.report.lanes import UNITS, lane, layer_spans, occupancy
from vdla.report.synthesis import merged_units

BINS = 1600
"""Columns of the timeline; each shows the share of its cycles in which a unit was at work."""


LEGEND_ROWS = 40
"""Rows of an exploration that its picture explains; the table has all of them."""

MOST_TICKS = 12
"""Up to so many different costs stand on the axis themselves."""


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


def trade_offs(document: Mapping[str, Any], keys: Sequence[str]) -> bytes:
    """Time over what a machine costs, for the rows that can be compared, numbered like those of the table.

    There is a panel for multipliers and one for buffers, whichever of them differ between the rows, each with its
    Pareto front; where neither does, the rows stand side by side. Time is in cycles, or in ms if the clocks differ.
    """
    rows = {number: document["rows"][number - 1] for _, number in timed_rows(document["rows"])}
    measure = "time_ms" if "vdla.clock_mhz" in keys else "cycles"
    times = {number: row[measure] for number, row in rows.items()}
    costs = {"multipliers": ("multipliers", 1), "buffer_bytes": ("on-chip buffers, KiB", 1024)}
    panels = [cost for cost in costs if len({row[cost] for row in rows.values()}) > 1]
    figure = Figure(figsize=(5.5 * max(len(panels), 1) + 3, 4.6), layout="constrained")
    for axes, cost in zip(figure.subplots(1, max(len(panels), 1), squeeze=False)[0], panels or [None], strict=True):
        if cost is None:
            axes.set_xlabel("row")
            _points(axes, {number: float(number) for number in rows}, times, [])
        else:
            label, scale = costs[cost]
            axes.set_xlabel(label)
            axes.set_xscale("log", base=2)
            places = {number: row[cost] / scale for number, row in rows.items()}
            _points(axes, places, times, [index + 1 for index in document["pareto"][cost]])
        axes.set_ylabel("ms" if measure == "time_ms" else measure)
        axes.yaxis.set_major_formatter("{x:,.4g}" if measure == "time_ms" else "{x:,.0f}")
    figure.suptitle(_plain(f"{document['model']} on variations of {document['config']['name']}"), fontsize=10)
    lines = [
        f"{number}: " + ", ".join(f"{key.partition('.')[2]} {row['parameters'][key]}" for key in keys)
        for number, row in list(rows.items())[:LEGEND_ROWS]
    ]
    figure.legend(
        [Line2D([], []) for _ in lines], [_plain(line) for line in lines],
        loc="outside right upper", fontsize=7, frameon=False, handlelength=0, handletextpad=0,
    )  # fmt: skip
    return _png(figure)


def utilization(document: Mapping[str, Any]) -> bytes:
    """A bar a resource: what each unit takes of the part, dearest first; a line at all that the part has."""
    units, limits, names = merged_units(document), document["limits"], document["names"]
    order = sorted(units, key=lambda unit: -max(units[unit][key] / limits[key] for key in names))
    colours = matplotlib.colormaps["tab20"]
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    axes = figure.subplots()
    left = np.zeros(len(names))
    for number, unit in enumerate(order):
        shares = np.array([100 * units[unit][key] / limits[key] for key in names])
        axes.barh(range(len(names)), shares, left=left, color=colours(number % 20), label=unit, edgecolor="white")
        name = unit.rpartition(".")[2].removesuffix("_buffer")
        for row in np.flatnonzero(shares > 0.7 * len(name)).tolist():
            label = f"{name}\n{list(units[unit].values())[row]:,}"
            axes.text(left[row] + shares[row] / 2, row, label, fontsize=6, ha="center", va="center")
        left += shares
    axes.axvline(100, color="black", linewidth=1.2)
    used = document["used"]
    axes.set_yticks(range(len(names)), [f"{name}\n{used[key]:,} of {limits[key]:,}" for key, name in names.items()])
    axes.invert_yaxis()
    axes.set_xlim(0, max(105, 1.05 * left.max()))
    axes.set_xlabel("% of the part")
    axes.set_title(_plain(f"{document['config']['name']} on {document['part']} ({document['flow']})"), fontsize=10)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=7, frameon=False)
    return _png(figure)


def _points(axes: Axes, places: Mapping[int, float], times: Mapping[int, float], front: Sequence[int]) -> None:
    """Numbered points, those of the front on top and joined; points at nearly one place share their label."""
    top = 1.1 * max(times.values())
    axes.scatter(list(places.values()), list(times.values()), s=36, color="#8a93a0", zorder=2)
    if front:
        x, y = [places[number] for number in front], [times[number] for number in front]
        axes.step(x, y, where="post", color="#2f7d4f", marker="o", zorder=3, label="Pareto front")
        axes.legend(fontsize=8, frameon=False)
    labels: list[tuple[float, float, list[int]]] = []
    for number in sorted(places, key=lambda number: (places[number], times[number], number)):
        x, y = places[number], times[number]
        if labels and labels[-1][0] == x and y - labels[-1][1] < 0.03 * top:
            labels[-1][2].append(number)
        else:
            labels.append((x, y, [number]))
    for x, y, numbers in labels:
        text = ", ".join(map(str, numbers))
        axes.annotate(text, (x, y), xytext=(5, 4), textcoords="offset points", fontsize=8)
    ticks = sorted(set(places.values()))
    if len(ticks) <= MOST_TICKS:
        axes.set_xticks(ticks)
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:.4g}")
    axes.margins(x=0.1)
    axes.set_ylim(0, top)
    axes.grid(True, alpha=0.3)


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
