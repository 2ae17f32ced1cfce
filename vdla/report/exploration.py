"""An exploration as a table and as files; drawn from its document, so a saved one prints like a fresh one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from vdla.report.table import main_stall, print_line

DOCUMENT = "explore.json"
SCHEMA = "vdla.explore/1"

Document = Mapping[str, Any]


def pareto(rows: Sequence[Mapping[str, Any]], *costs: str) -> list[int]:
    """Indices of the comparable rows that no other beats, by rising costs.

    A row beats another if it is no slower and no dearer in any of the `costs`, and better in one of these.
    """
    points = {n - 1: (*(float(rows[n - 1][cost]) for cost in costs), time) for time, n in timed_rows(rows)}

    def beaten(point: tuple[float, ...]) -> bool:
        return any(o != point and all(x <= y for x, y in zip(o, point, strict=True)) for o in points.values())

    return sorted((index for index, point in points.items() if not beaten(point)), key=lambda index: points[index])


def timed_rows(rows: Sequence[Mapping[str, Any]]) -> list[tuple[float, int]]:
    """(time in ms, number in the table) of the rows whose times can be compared."""
    numbered = enumerate(rows, 1)
    return [(row["time_ms"], number) for number, row in numbered if row["comparable"] and row["time_ms"] is not None]


def varying(document: Document) -> list[str]:
    """The parameters with more than one value; all of them when there is a single row."""
    grid = document["grid"]
    return [key for key, values in grid.items() if len(values) > 1] or list(grid)


def print_exploration(document: Document, console: Console) -> None:
    """Prints the rows, the reasons of refusals and the fastest row."""
    table, without = _fitting_table(document, console)
    console.print(table)
    if without:
        print_line(console, f"left out for the width of the terminal: {', '.join(without)}")
    rows = document["rows"]
    for number, row in enumerate(rows, 1):
        if row["refusal"] is not None:
            print_line(console, f"{number} refused: {row['refusal']}")
        elif row["moved_to_cpu"]:
            print_line(console, f"{number} not compared: {moved_text(row['moved_to_cpu'])}")
    timed = timed_rows(rows)
    if timed:
        number = min(timed)[1]
        row = rows[number - 1]
        values = ", ".join(f"{key}={row['parameters'][key]}" for key in varying(document))
        print_line(console, "* Pareto front of time, multipliers and buffers")
        print_line(console, f"fastest: {number} ({values}), {row['cycles']:,} cycles")
    ran = [row for row in rows if row["refusal"] is None]
    if len(ran) > 1:
        equal = all(row["outputs_equal"] for row in ran)
        print_line(console, f"outputs of the {len(ran)} that ran: {'the same bits' if equal else 'different'}")
    print_line(console, f"{len(rows)} configuration{'s' if len(rows) != 1 else ''} in {document['wall_s']:.1f} s")


def moved_text(moved: Mapping[str, str]) -> str:
    """Which operators are on the CPU here and on VDLA in other rows, with the first one's reason."""
    name, reason = next(iter(moved.items()))
    others = f" and {len(moved) - 1} more" if len(moved) > 1 else ""
    return f"on the CPU {name}{others} ({reason})"


COLUMNS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "cycles": lambda row: _number(row["cycles"], ","),
    "ms": lambda row: _number(row["time_ms"], ".4g"),
    "change": lambda row: change_text(row),
    "utilization": lambda row: _number(row["utilization"], ".1%").replace("%", " %"),
    "DRAM MB": lambda row: f"{row['dram_bytes'] / 1e6:.3g}",
    "buffers KiB": lambda row: f"{row['buffer_bytes'] / 1024:.4g}",
    "multipliers": lambda row: f"{row['multipliers']:,}",
    "main stall": lambda row: main_stall(row["stalls"], row["cycles"]),
    "outputs": lambda row: "same" if row["outputs_equal"] else "DIFFERENT",
}
"""Heading and cell of what was measured."""

DROPPED_FIRST = ("DRAM MB", "ms", "outputs", "utilization", "buffers KiB", "multipliers", "main stall")
"""Columns in the order in which a narrow terminal goes without them."""


def exploration_table(document: Document, without: Sequence[str] = ()) -> Table:
    """One line a machine, in the grid's order; ``*`` marks the Pareto front of time, multipliers and buffers."""
    keys = varying(document)
    columns = {heading: cell for heading, cell in COLUMNS.items() if heading not in without}
    fixed = [f"{key}={values[0]}" for key, values in document["grid"].items() if key not in keys]
    title = f"{document['model']} on variations of {document['config']['name']} ({document['sim']})"
    table = Table(title=", ".join([title, *fixed]), title_justify="left", box=box.SIMPLE_HEAD)
    for heading in ("#", *(key.removeprefix("vdla.") for key in keys), *columns):
        table.add_column(heading, justify="left" if heading in ("main stall", "outputs") else "right")
    front = document["pareto"]["both"]
    for index, row in enumerate(document["rows"]):
        cells = [f"{index + 1}{'*' if index in front else ' '}", *(str(row["parameters"][key]) for key in keys)]
        if row["refusal"] is not None:
            table.add_row(*cells, "refused")
        else:
            table.add_row(*cells, *(cell(row) for cell in columns.values()))
    return table


def _fitting_table(document: Document, console: Console) -> tuple[Table, list[str]]:
    """The table with as many columns as the console is wide, and those left out."""
    without: list[str] = []
    while True:
        table = exploration_table(document, without)
        width = Measurement.get(console, console.options.update_width(10_000), table).maximum
        if width <= console.width or len(without) == len(DROPPED_FIRST):
            return table, without
        without.append(DROPPED_FIRST[len(without)])


def change_text(row: Mapping[str, Any]) -> str:
    """The change in time, or how many operators are not where the other rows have them."""
    if row["moved_to_cpu"]:
        return f"({len(row['moved_to_cpu'])} on CPU)"
    return "" if row["change"] is None else f"{100 * row['change']:+.1f} %"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def render_files(document: Document) -> dict[str, bytes]:
    """Every file of an exploration's report, by name; the picture is left out where nothing was timed."""
    # matplotlib and jinja2 take most of a second to import, which a command without a report should not pay.
    from vdla.report.page import exploration_page
    from vdla.report.pictures import trade_offs

    files = {DOCUMENT: (json.dumps(document, indent=1, allow_nan=False) + "\n").encode()}
    keys = varying(document)
    picture = None
    if timed_rows(document["rows"]):
        picture = files["explore.png"] = trade_offs(document, keys)
    files["index.html"] = exploration_page(document, picture, keys).encode()
    return files
