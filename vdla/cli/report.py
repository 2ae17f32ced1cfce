"""``vdla report``: a saved report again, alone or beside another."""

from __future__ import annotations

from pathlib import Path

import click

from vdla.cli.common import json_option, print_json, stdout
from vdla.report import compare_tables, exploration, print_report, read_document


@click.command("report")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("other", metavar="[OTHER]", type=click.Path(path_type=Path), required=False)
@json_option
def report_command(folder: Path, other: Path | None, as_json: bool) -> None:
    """Show the report in DIR; with OTHER, both side by side and the parameters in which they differ.

    DIR may also hold an exploration, from `vdla explore`.
    """
    if other is None and (folder / exploration.DOCUMENT).is_file():
        document = read_document(folder, exploration.DOCUMENT, exploration.SCHEMA)
        if as_json:
            print_json(document)
        else:
            exploration.print_exploration(document, stdout())
        return
    first = read_document(folder)
    if other is None:
        if as_json:
            print_json(first)
        else:
            print_report(first, stdout())
        return
    second = read_document(other)
    if as_json:
        print_json([first, second])
    else:
        compare_tables(first, second, (str(folder), str(other)), stdout())
