"""What the commands share: the machine from ``--config`` and ``--set``, output, progress bars."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from hw.config import Config
from hw.errors import ConfigError
from runtime.artifact import Artifact
from runtime.executor import Progress as ProgressCallback
from vdla.api import compile
from vdla.calibration import load_calibration
from vdla.errors import UsageError

DEFAULT_CONFIG = "pynq-z1"

Command = TypeVar("Command", bound=Callable[..., Any])


def config_options(command: Command) -> Command:
    """Adds ``--config`` and ``--set``."""
    command = click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="KEY=VALUE",
        help="Change one parameter, e.g. vdla.block_out=32 or memory.read_latency=40. May be repeated.",
    )(command)
    return click.option(
        "--config",
        "config_name",
        metavar="BOARD_OR_YAML",
        help=f"The machine: a board's name (see `vdla config list`) or a YAML file. Default: {DEFAULT_CONFIG}, "
        "or the machine an artifact was compiled for.",
    )(command)


def compile_options(command: Command) -> Command:
    """Adds ``--target``, ``--batch`` and ``--no-virtual-threads``."""
    command = click.option(
        "--no-virtual-threads", is_flag=True, help="Compile without latency hiding, to see what it brings."
    )(command)
    command = click.option(
        "--batch",
        type=click.IntRange(min=1),
        metavar="N",
        help="Images at once, for built-in networks and models whose first axis is symbolic. Default: 1.",
    )(command)
    return click.option(
        "--target",
        metavar="LIST",
        help="Where operators may run, in order of preference: vdla, and one of cpu (this computer), board (the "
        "processor of the config's board), arm64 and armv7. Default: vdla,cpu; for a board to run itself: vdla,board.",
    )(command)


def quantisation_options(command: Command) -> Command:
    """Adds ``--int8`` and ``--calibration``."""
    command = click.option(
        "--int8",
        "integer",
        is_flag=True,
        help="Make a float model int8 on a CPU, too, after calibration. For vdla it always is.",
    )(command)
    return calibration_option(command)


def calibration_option(command: Command) -> Command:
    """Adds ``--calibration``."""
    return click.option(
        "--calibration",
        "calibration_path",
        type=click.Path(path_type=Path),
        metavar="SAMPLES.npz",
        help="Inputs to calibrate a float model on: one array for each input's name, samples stacked on the first "
        "axis. Default: a built-in network's own, or seeded random values.",
    )(command)


def database_option(command: Command) -> Command:
    """Adds ``--db``."""
    return click.option(
        "--db",
        "database_path",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Use the best schedules of this tuning database (see `vdla tune`).",
    )(command)


def report_option(files: str) -> Callable[[Command], Command]:
    """Adds ``--report``; ``files``: what is written."""
    return click.option(
        "--report",
        "report_path",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help=f"Write {files} to this folder.",
    )


def tuning_text(tuning: Any) -> str | None:
    """One line about the tuned schedules that a model was compiled with (see :func:`vdla.tune.kernels.tuning_info`);
    None when none were asked for."""
    if not tuning:
        return None
    tuned, untuned = len(tuning["tuned"]), len(tuning["untuned"])
    where = f", measured on {', '.join(tuning['machines'])}" if tuning.get("machines") else ""
    text = f"tuned: {tuned} of {tuned + untuned} operators have a schedule from {tuning['database']}{where}"
    outdated = len(tuning.get("outdated", ()))
    if outdated:
        text += (
            f"; {outdated} more have one that was measured by another version, which is not used (vdla tune measures "
            "those first)"
        )
    return text


def json_option(command: Command) -> Command:
    """Adds ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout instead of tables.")(command)


def compile_on_machine(
    model: str,
    config_name: str | None,
    settings: Sequence[str],
    *,
    target: str | None,
    batch: int | None,
    no_virtual_threads: bool,
    integer: bool,
    calibration_path: Path | None,
    database_path: Path | None,
) -> tuple[Artifact, Config]:
    """The model compiled as the options say, and the machine they name; a progress bar runs meanwhile.

    Raises UsageError when tuned schedules are asked for that would not be used.
    """
    if database_path is not None and no_virtual_threads:
        raise UsageError("schedules are tuned with virtual threads; --db and --no-virtual-threads exclude each other")
    config = machine(config_name, settings)
    samples = None if calibration_path is None else load_calibration(calibration_path, model, batch)
    with progress_bar("compile") as progress:
        artifact = compile(
            model,
            target="vdla,cpu" if target is None else target,
            config=config,
            batch=batch,
            virtual_threads=not no_virtual_threads,
            calibration=samples,
            integer=integer,
            tiles=database_path,
            progress=progress,
        )
    return artifact, config


def machine(config_name: str | None, settings: Sequence[str]) -> Config:
    """The machine named on the command line. Raises ConfigError."""
    return override(Config.load(config_name or DEFAULT_CONFIG), settings)


def override(config: Config, settings: Sequence[str]) -> Config:
    """The machine with ``--set`` applied. Raises ConfigError, also for a list of values."""
    for setting in settings:
        key, _, text = setting.partition("=")
        if "," in text:
            raise ConfigError(key.strip(), f"'{text}' is a list of values", f"`vdla explore --set {setting}` takes it")
    return config.override(settings)


def stdout() -> Console:
    """Where results go. Without a terminal, lines are as long as they need to be and nothing is coloured."""
    console = Console()
    return console if console.is_terminal else Console(width=160)


def print_json(document: Mapping[str, Any] | Sequence[Any]) -> None:
    """One JSON document on stdout."""
    click.echo(json.dumps(document, indent=1))


@contextmanager
def progress_bar(what: str) -> Iterator[ProgressCallback]:
    """A progress bar on stderr while a long step runs, gone when it ends; silent without a terminal."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)

        def update(step: str, done: int, total: int) -> None:
            bar.update(task, description=f"{what}: {step}", completed=done, total=total)

        yield update
