"""Vivado's reports of utilisation and timing, read."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hw.synth.flow import SynthesisError
from hw.synth.parts import Resources

_SITES = {
    "lut": ("Slice LUTs", "CLB LUTs"),
    "ff": ("Slice Registers", "CLB Registers"),
    "bram": ("Block RAM Tile",),
    "dsp": ("DSPs",),
}
"""Names of a resource in the first column of ``report_utilization``, for 7-series and UltraScale+."""
_COLUMNS = {"lut": ("Total LUTs",), "ff": ("FFs",), "dsp": ("DSP Blocks", "DSP48 Blocks")}
MACHINE = "vdla_0"
"""The machine's instance in the block design."""


def total_utilization(report: str) -> Resources:
    """The whole design, from ``report_utilization``. Raises SynthesisError if a line is missing."""
    found: dict[str, float] = {}
    for row in _rows(report):
        # Vivado marks names that have a footnote with an asterisk.
        site = row[0].rstrip("*").strip()
        for resource, names in _SITES.items():
            if site in names and resource not in found and len(row) > 1:
                found[resource] = float(row[1])
    missing = [names[0] for resource, names in _SITES.items() if resource not in found]
    if missing:
        raise SynthesisError(f"Vivado's utilisation report does not say how many {missing[0]} are used")
    return Resources(**found)


def unit_utilization(report: str) -> dict[str, Resources]:
    """Each unit of the machine without the units inside it, from ``report_utilization -hierarchical``.

    Units are named by their path within the machine, which itself is ``vdla``. Empty if the report does not show them.
    """
    units: dict[str, Resources] = {}
    header: list[str] = []
    path: list[tuple[int, str]] = []
    for line in report.splitlines():
        cells = line.split("|")[1:-1]
        if not cells:
            continue
        if cells[0].strip() == "Instance":
            header = [cell.strip() for cell in cells]
        elif header and len(cells) == len(header):
            depth = len(cells[0]) - len(cells[0].lstrip())
            name = cells[0].strip()
            # "(name)" is what a unit has besides the units inside it, which is what is asked for.
            own, name = name.startswith("("), name.strip("()")
            path = [entry for entry in path if entry[0] < depth]
            inside = [entry[1] for entry in path]
            if not own:
                path.append((depth, name))
            names = inside if own else [*inside, name]
            if MACHINE in names:
                unit = ".".join(part for part in names[names.index(MACHINE) + 1 :] if part not in ("inst", "U0"))
                units[unit or "vdla"] = _row(header, cells)
    return units


def worst_slack(report: str) -> float:
    """Worst setup slack in ns, from ``report_timing_summary``. Raises SynthesisError if the report has none."""
    lines = iter(report.splitlines())
    for line in lines:
        if line.split()[:1] == ["WNS(ns)"]:
            next(lines, "")
            value = next(lines, "").split()[:1]
            if value and re.fullmatch(r"-?\d+(\.\d+)?", value[0]):
                return float(value[0])
    raise SynthesisError("Vivado's timing report has no worst slack: the design has no timed path")


def critical_path(report: str) -> list[str]:
    """Start and end of the worst path, from ``report_timing_summary``; empty if it lists no path."""
    start = re.search(r"^\s*Source:\s+(\S+)", report, re.MULTILINE)
    end = re.search(r"^\s*Destination:\s+(\S+)", report, re.MULTILINE)
    return [start[1], end[1]] if start and end else []


def _row(header: list[str], cells: list[str]) -> Resources:
    values = {}
    for resource, names in _COLUMNS.items():
        values[resource] = next(float(cells[header.index(name)]) for name in names if name in header)
    blocks, halves = (float(cells[header.index(name)]) for name in ("RAMB36", "RAMB18"))
    return Resources(bram=blocks + halves / 2, **values)


def _rows(report: str) -> Iterator[list[str]]:
    """Rows of the report's tables."""
    for line in report.splitlines():
        if line.startswith("|"):
            yield [cell.strip() for cell in line.split("|")[1:-1]]
