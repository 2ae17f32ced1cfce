"""``vdla compile``: a model to an artifact on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from runtime.artifact import Artifact
from vdla.cli.common import (
    calibration_option,
    compile_on_machine,
    compile_options,
    config_options,
    database_option,
    json_option,
    print_json,
    stdout,
    tuning_text,
)
from vdla.cli.inspect import print_summary, summary
from vdla.errors import UsageError
from vdla.report import print_line
from vdla.resolve import is_artifact


@click.command("compile")
@click.argument("model")
@click.option(
    "-o",
    "--output",
    "output_path",
    type=click.Path(path_type=Path),
    required=True,
    metavar="MODEL.vdla",
    help="Where to write the artifact: a file if it ends in .vdla, else a folder.",
)
@config_options
@compile_options
@calibration_option
@database_option
@json_option
def compile_command(
    model: str,
    output_path: Path,
    config_name: str | None,
    settings: tuple[str, ...],
    target: str | None,
    batch: int | None,
    no_virtual_threads: bool,
    calibration_path: Path | None,
    database_path: Path | None,
    as_json: bool,
) -> None:
    """Compile MODEL (an ONNX file or a built-in network) ahead of time."""
    if is_artifact(Path(model)):
        raise UsageError(f"{model} is compiled already; give the ONNX file it was made from")
    artifact, _ = compile_on_machine(
        model,
        config_name,
        settings,
        target=target,
        batch=batch,
        no_virtual_threads=no_virtual_threads,
        calibration_path=calibration_path,
        database_path=database_path,
    )
    artifact.save(output_path)
    if as_json:
        print_json({**summary(artifact), "path": str(output_path)})
    else:
        _show(artifact, output_path)


def _show(artifact: Artifact, path: Path) -> None:
    console = stdout()
    print_summary(artifact, console)
    timing: Any = artifact.info["compile"]
    slowest = sorted(timing["passes"], key=lambda item: -item[1])[:5]
    parts = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in slowest)
    tuned = tuning_text(artifact)
    if tuned is not None:
        print_line(console, tuned)
    print_line(console, f"compiled in {timing['wall_s']:.2f} s ({parts})")
    print_line(console, f"wrote {path}")
