"""``vdla explore``: one network on every combination of parameter values."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click
import yaml
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from hw.config import Config
from hw.errors import ConfigError
from runtime.executor import Progress as ProgressCallback
from runtime.executor import SimName
from vdla.calibration import load_calibration, load_graph, specs_of
from vdla.cli.common import (
    DEFAULT_CONFIG,
    calibration_option,
    compile_options,
    json_option,
    print_json,
    report_option,
    stdout,
)
from vdla.errors import UsageError
from vdla.explore import Value, explore
from vdla.report import ReportFolder, print_line
from vdla.report.exploration import DOCUMENT, print_exploration
from vdla.resolve import is_artifact, load_inputs, model_source


@click.command("explore")
@click.argument("model")
@click.option(
    "--config",
    "config_name",
    metavar="BOARD_OR_YAML",
    default=DEFAULT_CONFIG,
    show_default=True,
    help="The machine to start from: a board's name (see `vdla config list`) or a YAML file.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=A,B,...",
    help="Values of one parameter, e.g. vdla.block_out=16,32. May be repeated: all combinations are run.",
)
@click.option(
    "--sim",
    type=click.Choice(["functional", "cycle"]),
    default="cycle",
    show_default=True,
    help="functional: compare the bits only. cycle: the bits and the time.",
)
@click.option(
    "--input",
    "input_path",
    type=click.Path(path_type=Path),
    metavar="X.npy|X.npz",
    help="Inputs, the same for all machines. Default: seeded random values.",
)
@report_option("explore.json, explore.png and index.html")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes to share the work.")
@compile_options
@calibration_option
@json_option
def explore_command(
    model: str,
    config_name: str,
    settings: tuple[str, ...],
    sim: SimName,
    input_path: Path | None,
    report_path: Path | None,
    jobs: int,
    target: str | None,
    batch: int | None,
    no_virtual_threads: bool,
    calibration_path: Path | None,
    as_json: bool,
) -> None:
    """Compile and simulate MODEL on every combination of the values given with --set KEY=A,B,C.

    MODEL is an ONNX file or a built-in network (e.g. resnet18). A machine that is not legal, or that a layer does
    not fit, is a row with the reason.
    """
    if is_artifact(Path(model)):
        raise UsageError(f"{model} is compiled for one machine already; give the ONNX file it was made from")
    base = Config.load(config_name)
    grid = parse_grid(settings)
    with ExitStack() as stack:
        # An unwritable place must not be found out after the long work.
        folder = stack.enter_context(ReportFolder(report_path, DOCUMENT)) if report_path is not None else None
        inputs = None
        if input_path is not None:
            inputs = load_inputs(input_path, specs_of(load_graph(model_source(model, batch), batch)))
        samples = None if calibration_path is None else load_calibration(calibration_path, model, batch)
        with _progress() as progress:
            found = explore(
                model,
                config=base,
                grid=grid,
                inputs=inputs,
                target=target or "vdla,cpu",
                virtual_threads=not no_virtual_threads,
                batch=batch,
                calibration=samples,
                sim=sim,
                jobs=jobs,
                progress=progress,
            )
        if folder is not None:
            folder.write_files(found.files())
    if as_json:
        print_json(found.document)
    else:
        console = stdout()
        print_exploration(found.document, console)
        if folder is not None:
            print_line(console, f"report: {folder.path / 'index.html'}")
    refusals = [row.refusal for row in found.rows if row.refusal is not None]
    if len(refusals) == len(found.rows):
        raise UsageError(f"none of the {len(refusals)} configurations ran; the first: {refusals[0]}")


def parse_grid(settings: Sequence[str]) -> dict[str, list[Value]]:
    """``["vdla.block_out=16,32"]`` as values by parameter. Raises ConfigError for what is not of this form."""
    if not settings:
        raise UsageError("nothing to explore; give values of a parameter, e.g. --set vdla.block_out=16,32")
    grid: dict[str, list[Value]] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        key = key.strip()
        if not equals:
            raise ConfigError(setting, "not of the form key=value,value", "for example vdla.block_out=16,32")
        if key in grid:
            raise ConfigError(key, "set twice", f"give all values at once: --set {key}=A,B")
        grid[key] = [_value(key, part) for part in text.split(",")]
    return grid


def _value(key: str, text: str) -> Value:
    try:
        value = yaml.safe_load(text) if text.strip() else ...
    except yaml.YAMLError:
        value = ...
    if value is not None and not isinstance(value, int | float | str):
        raise ConfigError(key, f"'{text}' is not a value", "give numbers or words separated by commas")
    return value


@contextmanager
def _progress() -> Iterator[ProgressCallback]:
    """A progress bar with the machine at work and the time left; on stderr, silent without a terminal."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[so_far]}"),
    )
    console = Console(stderr=True)
    started = time.monotonic()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("import", total=None, so_far="")

        def update(step: str, done: int, total: int) -> None:
            left = time_left(time.monotonic() - started, done, total)
            bar.update(task, description=step, completed=done, total=total, so_far=f"{done} of {total}{left}")

        yield update


def time_left(elapsed: float, done: int, total: int) -> str:
    """What to expect if the rest is like what is done: ``, about 1:05 left``; '' at the beginning."""
    if not done:
        return ""
    minutes, seconds = divmod(round(elapsed * (total - done) / done), 60)
    return f", about {minutes}:{seconds:02} left"
