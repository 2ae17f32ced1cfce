"""A synthesis run as a table and as files; drawn from its document, so a saved one prints like a fresh one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from vdla.report.table import print_line

DOCUMENT = "synth.json"
PICTURE = "utilization.png"
LONGEST_PATH = 12
"""Steps of the critical path that are printed; the document has all of them."""

Document = Mapping[str, Any]


def print_synthesis(document: Document, console: Console) -> None:
    """Prints utilisation by unit against the part's limits, the clock, the critical path and the verdict."""
    console.print(utilization_table(document))
    for line in verdict_lines(document):
        print_line(console, line)


def utilization_table(document: Document) -> Table:
    """A line a unit, dearest first, and the whole against the limits."""
    names, used, limits = document["names"], document["used"], document["limits"]
    config = document["config"]
    packed = ", two products a DSP" if document["packed"] else ""
    title = f"{config['name']} on {document['part']} ({document['flow']}{packed}), fingerprint {config['fingerprint']}"
    table = Table(title=title, title_justify="left")
    table.add_column("unit")
    for name in names.values():
        table.add_column(name, justify="right")
    for unit, cost in sorted(merged_units(document).items(), key=lambda item: -item[1]["lut"]):
        table.add_row(unit, *(f"{cost[key]:,}" if cost[key] else "" for key in names))
    table.add_section()
    table.add_row("used", *(f"{used[key]:,}" for key in names))
    table.add_row("available", *(f"{limits[key]:,}" for key in names))
    table.add_row("share", *(share(used[key], limits[key]) for key in names))
    return table


def merged_units(document: Document) -> dict[str, dict[str, float]]:
    """The units with what is inside them, to the depth at which a person thinks of them (``compute.gemm``)."""
    merged: dict[str, dict[str, float]] = {}
    for path, cost in document["units"].items():
        unit = _shown(path)
        total = merged.setdefault(unit, dict.fromkeys(cost, 0))
        for key, value in cost.items():
            total[key] += value
    return merged


def _shown(path: str) -> str:
    parts = path.removeprefix("core.").split(".")
    if path in ("core", "vdla"):
        return "between the units"
    if parts[0].startswith("tokens") or parts[0].endswith("flight"):
        return "tokens"
    return ".".join(parts[:2]) if parts[0] == "compute" else parts[0]


def share(used: float, limit: float) -> str:
    """How much of the part it is."""
    return f"{100 * used / limit:.1f} %" if limit else ""


def verdict_lines(document: Document) -> list[str]:
    """The clock, where it comes from, the notes, and whether it fits."""
    lines = []
    fmax = document["fmax_mhz"]
    if fmax is None:
        lines.append(f"clock: {document['fmax_tool'] or 'no tool of this flow says it'}")
    else:
        wanted = document["config"]["vdla"]["clock_mhz"]
        verdict = "meets" if fmax >= wanted else "misses"
        lines.append(f"clock: {fmax:.1f} MHz ({document['fmax_tool']}); {verdict} the {wanted:g} MHz of the board")
    path = document["critical_path"]
    if path:
        shown = path if len(path) <= LONGEST_PATH else [*path[: LONGEST_PATH - 2], "...", path[-1]]
        lines += ["critical path:", *(f"  {step}" for step in shown)]
    lines += document["notes"]
    if any(document["used"].values()):
        lines.append("fits" if document["fits"] else f"does not fit: {'; '.join(document['excess'])}")
    return lines
