"""``vdla synth``: what a machine costs on a board's FPGA, and its bitstream where a flow makes one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from hw.config import Board
from hw.synth.build import DEFAULT_FLOW, document, find_flow, make_build
from hw.synth.engine import StepProgress, run_flow, write_atomically
from vdla.cli.common import DEFAULT_CONFIG, json_option, override, print_json, stdout
from vdla.report import print_line
from vdla.report.synthesis import DOCUMENT, PICTURE, print_synthesis


@click.command("synth")
@click.option(
    "--board",
    "board_name",
    metavar="BOARD_OR_YAML",
    default=DEFAULT_CONFIG,
    show_default=True,
    help="The board: its name (see `vdla config list`) or a YAML file with a `board` section.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change one parameter of the board's machine, e.g. vdla.block_out=8. May be repeated.",
)
@click.option(
    "--flow",
    "flow_name",
    default=DEFAULT_FLOW,
    show_default=True,
    help="What to do, with which tools: yosys, vivado, openxc7, quartus, ecp5, or one of your own (docs/synth.md).",
)
@click.option(
    "--packed/--no-packed",
    default=None,
    help="Two products of the multiplier array a DSP. Default: where the part has too few DSPs otherwise.",
)
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="An option of the flow, e.g. seed=3.")
@click.option(
    "-o",
    "--output",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder of the build. What is up to date there is not made again. Default: build/BOARD-FLOW.",
)
@click.option("--force", is_flag=True, help="Repeat every step.")
@json_option
def synth_command(
    board_name: str,
    settings: tuple[str, ...],
    flow_name: str,
    packed: bool | None,
    options: tuple[str, ...],
    folder: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Synthesise a machine for a board: utilisation against the part's limits, clock, critical path.

    Writes synth.json, utilization.png, each step's log and whatever the flow makes to the build folder. A machine that
    does not fit is a result, not an error: synth.json says "fits": false and by what.
    """
    board = Board.load(board_name)
    flow = find_flow(flow_name)
    place = folder or Path("build") / f"{board.name}-{flow.name}"
    build = make_build(board, override(board.config, settings), place, flow, packed=packed, options=options)
    with _progress() as progress:
        result = run_flow(flow, build, force=force, progress=progress)
    found = document(build, flow, result)
    write_atomically(place / DOCUMENT, (json.dumps(found, indent=1, allow_nan=False) + "\n").encode())
    if found["units"]:
        # matplotlib takes most of a second to import.
        from vdla.report.pictures import utilization

        write_atomically(place / PICTURE, utilization(found))
    if as_json:
        print_json(found)
        return
    console = stdout()
    print_synthesis(found, console)
    print_line(console, f"files: {', '.join(str(place / name) for name in (DOCUMENT, *result.files))}")


@contextmanager
def _progress() -> Iterator[StepProgress]:
    """A bar on stderr while steps run, and a line for each that ended; only the lines without a terminal."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("synth", total=None)

        def update(step: str, done: int, total: int, *, skipped: bool) -> None:
            if skipped:
                console.print(f"{step}: up to date", highlight=False)
            bar.update(task, description=step, completed=done, total=total)

        yield update
