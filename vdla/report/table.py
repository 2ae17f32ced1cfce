"""The report as a table for people; drawn from the document, so a saved report prints like a fresh one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

Document = Mapping[str, Any]


def print_report(document: Document, console: Console) -> None:
    """Prints the layers and, below them, the totals."""
    console.print(layer_table(document))
    for line in totals_lines(document):
        print_line(console, line)


def print_line(console: Console, text: str) -> None:
    """A line as it is: not wrapped, no colours guessed, brackets not taken for markup."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def layer_table(document: Document) -> Table:
    """One line a layer: where it ran, its cycles, how busy the multipliers were, what held them up most."""
    timed = document["totals"]["cycles"] is not None and any(
        layer["cycles"] is not None for layer in document["layers"]
    )
    config = document["config"]
    table = Table(title=f"{document['model']} on {config['name']} ({document['sim']})", title_justify="left")
    table.add_column("layer", overflow="fold")
    table.add_column("op")
    table.add_column("target")
    table.add_column("MACs", justify="right")
    if timed:
        table.add_column("cycles", justify="right")
        table.add_column("share", justify="right")
        table.add_column("utilization", justify="right")
        table.add_column("main stall")
    reasons = any("reason" in layer for layer in document["layers"])
    if reasons:
        table.add_column("why on the CPU", overflow="fold")
    total = document["totals"]["cycles"]
    for layer in document["layers"]:
        cells = [Text(layer["name"]), Text(layer["op"]), layer["target"], _count(layer["macs"])]
        if timed:
            on_vdla = layer["target"] == "vdla"
            cells += [
                f"{layer['cycles']:,}" if on_vdla else f"({layer['wall_s'] * 1e3:.1f} ms here)",
                _percent(layer["cycles"] / total) if on_vdla and total else "",
                _percent(layer["utilization"]) if layer["macs"] else "",
                main_stall(layer["stalls"], layer["cycles"]) if on_vdla else "",
            ]
        if reasons:
            cells.append(Text(layer.get("reason", "")))
        table.add_row(*cells)
    return table


def how(document: Document) -> str:
    """What the run was."""
    return "run on the board" if document["sim"] == "board" else f"{document['sim']} simulation"


def main_stall(stalls: Mapping[str, int], cycles: int | None) -> str:
    """The cause that took the most cycles and its share of the layer, e.g. ``wait_load 7.1 %``."""
    if not cycles or not any(stalls.values()):
        return ""
    cause = max(stalls, key=lambda name: stalls[name])
    return f"{cause} {_percent(stalls[cause] / cycles)}"


def totals_lines(document: Document) -> list[str]:
    """The totals, a line a subject."""
    totals, config = document["totals"], document["config"]
    lines: list[str] = []
    cycles = totals["cycles"]
    if cycles is not None:
        lines.append(
            f"{cycles:,} cycles, {_milliseconds(totals['time_ms'])} at {config['vdla']['clock_mhz']:g} MHz; "
            f"{totals['mac_floor_cycles']:,} cycles if every multiplier worked in every cycle: "
            f"utilization {_percent(totals['utilization'])}"
        )
        if totals["stalls"] and cycles:
            ordered = sorted(totals["stalls"].items(), key=lambda item: -item[1])
            gemm = cycles - sum(totals["stalls"].values())
            parts = [f"gemm {_percent(gemm / cycles)}"]
            parts += [f"{cause} {_percent(count / cycles)}" for cause, count in ordered if count]
            lines.append(f"where the cycles went: {', '.join(parts)}")
    if totals["dram_read_bytes"] or totals["dram_write_bytes"]:
        lines.append(f"DRAM: {_bytes(totals['dram_read_bytes'])} read, {_bytes(totals['dram_write_bytes'])} written")
    on_vdla = sum(layer["target"] == "vdla" for layer in document["layers"])
    on_cpu = len(document["layers"]) - on_vdla
    lines.append(f"{on_vdla} layers on VDLA, {on_cpu} on the CPU; {totals['macs']:,} MACs on VDLA")
    speed = f" ({cycles / totals['wall_s'] / 1e6:.1f} M cycles/s)" if cycles and totals["wall_s"] else ""
    compiled = f"compiled in {document['compile']['wall_s']:.2f} s, " if document["compile"]["wall_s"] else ""
    lines.append(f"{compiled}{how(document)} in {totals['wall_s']:.2f} s{speed}")
    return [*lines, *document.get("notes", [])]


def compare_tables(first: Document, second: Document, names: tuple[str, str], console: Console) -> None:
    """Prints two reports side by side: parameters that differ, cycles and utilization per layer.

    Layers are matched by name; one that only one of the reports has stands alone.
    """
    changed = _changed_parameters(first["config"], second["config"])
    print_line(console, "parameters: " + (", ".join(changed) if changed else "the same"))
    table = Table(title=f"{names[0]} | {names[1]}", title_justify="left")
    table.add_column("layer", overflow="fold")
    for _ in names:
        table.add_column("cycles", justify="right")
        table.add_column("utilization", justify="right")
    table.add_column("cycles, second / first", justify="right")
    left = {layer["name"]: layer for layer in first["layers"]}
    right = {layer["name"]: layer for layer in second["layers"]}
    for name in [*left, *(name for name in right if name not in left)]:
        a, b = left.get(name, {}), right.get(name, {})
        table.add_row(Text(name), *_pair(a), *_pair(b), _ratio(a.get("cycles"), b.get("cycles")))
    a, b = first["totals"], second["totals"]
    table.add_section()
    table.add_row("total", *_pair(a), *_pair(b), _ratio(a["cycles"], b["cycles"]))
    console.print(table)
    same = {n: o["sha256"] for n, o in first["outputs"].items()} == {
        n: o["sha256"] for n, o in second["outputs"].items()
    }
    print_line(console, f"outputs: {'the same bits' if same else 'different'}")


def _changed_parameters(first: Document, second: Document) -> list[str]:
    return [
        f"{section}.{name} {first[section][name]} -> {second[section].get(name)}"
        for section in ("vdla", "memory")
        for name in first[section]
        if first[section][name] != second[section].get(name)
    ]


def _pair(entry: Mapping[str, Any]) -> tuple[str, str]:
    if entry.get("cycles") is None or entry.get("target") == "cpu":
        return "", ""
    return f"{entry['cycles']:,}", _percent(entry["utilization"]) if entry["macs"] else ""


def _ratio(first: int | None, second: int | None) -> str:
    return f"{second / first:.3f}" if first and second is not None else ""


def _percent(fraction: float | None) -> str:
    return "" if fraction is None else f"{100 * fraction:.1f} %"


def _count(value: int) -> str:
    return f"{value / 1e6:.1f} M" if value >= 100_000 else (f"{value:,}" if value else "")


def _bytes(value: int) -> str:
    return f"{value / 1e6:.2f} MB" if value >= 100_000 else f"{value:,} bytes"


def _milliseconds(value: float) -> str:
    return f"{value:.2f} ms" if value >= 1 else f"{value:.4f} ms"
