"""``vdla compile``: a model to an artifact on disk, or to a shared library or object for a CPU."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from hw.config import Board
from hw.errors import ConfigError
from runtime.artifact import Artifact, VdlaStep
from vdla.calibration import load_calibration
from vdla.cli.common import (
    compile_on_machine,
    compile_options,
    config_options,
    database_option,
    json_option,
    print_json,
    progress_bar,
    quantisation_options,
    stdout,
    tuning_text,
)
from vdla.cli.inspect import print_summary, summary
from vdla.deploy import SUFFIXES, Deployed, deploy
from vdla.errors import UsageError
from vdla.report import print_line
from vdla.resolve import is_artifact

# Letters of a triple that tell ARM, AArch64 and x86 apart, however long the rest of the name is.
_FAMILY = 3


@click.command("compile")
@click.argument("model")
@click.option(
    "-o",
    "--output",
    "output_path",
    type=click.Path(path_type=Path),
    required=True,
    metavar="MODEL.vdla",
    help="Where to write the artifact: a file if it ends in .vdla, else a folder. MODEL.so and MODEL.o: a shared "
    "library or an object with a C interface for one CPU (--target cpu, arm64 or armv7), and its header beside it.",
)
@click.option(
    "--prefix",
    metavar="NAME",
    help="For .so and .o: what the names of the C functions start with. Default: vdla.",
)
@config_options
@compile_options
@quantisation_options
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
    integer: bool,
    calibration_path: Path | None,
    database_path: Path | None,
    prefix: str | None,
    as_json: bool,
) -> None:
    """Compile MODEL (an ONNX file or a built-in network) ahead of time.

    An artifact (.vdla) has the accelerator's programs and, for operators that it does not take, code for a CPU: this
    computer's, as the simulators need it, or with --target vdla,board the board's own.
    """
    if is_artifact(Path(model)):
        raise UsageError(f"{model} is compiled already; give the ONNX file it was made from")
    if output_path.suffix in SUFFIXES:
        given = {"--config": config_name, "--set": settings}
        _refuse(f"{output_path.name} is for a CPU alone", {**given, "--no-virtual-threads": no_virtual_threads})
        with progress_bar("compile") as progress:
            deployed = deploy(
                model,
                output_path,
                platform=target or "cpu",
                prefix=prefix or "vdla",
                batch=batch,
                integer=integer,
                calibration=None if calibration_path is None else load_calibration(calibration_path, model, batch),
                database=database_path,
                progress=progress,
            )
        _show_deployed(deployed, as_json)
        return
    _refuse(f"{output_path.name} is an artifact; {' and '.join(SUFFIXES)} files take it", {"--prefix": prefix})
    artifact, _ = compile_on_machine(
        model,
        config_name,
        settings,
        target=target,
        batch=batch,
        no_virtual_threads=no_virtual_threads,
        integer=integer,
        calibration_path=calibration_path,
        database_path=database_path,
    )
    artifact.save(output_path)
    if as_json:
        print_json({**summary(artifact), "path": str(output_path)})
    else:
        _show(artifact, output_path)


def _refuse(why: str, options: Mapping[str, object]) -> None:
    """UsageError for options that were given although they mean nothing for this output."""
    for name, value in options.items():
        if value:
            raise UsageError(f"{name} does not go with this output: {why}")


def _show_deployed(deployed: Deployed, as_json: bool) -> None:
    if as_json:
        document = dataclasses.asdict(deployed)
        print_json({**document, "path": str(deployed.path), "header": str(deployed.header)})
        return
    console = stdout()
    print_line(
        console,
        f"{deployed.platform}: {deployed.kernels} kernels in {deployed.calls} calls, weights "
        f"{deployed.constant_bytes / 1024:.0f} KiB, workspace {deployed.workspace_bytes / 1024:.0f} KiB",
    )
    tuned = tuning_text(deployed.tuning)
    if tuned is not None:
        print_line(console, tuned)
    print_line(console, f"compiled in {deployed.wall_s:.2f} s")
    print_line(console, f"wrote {deployed.path} ({deployed.file_bytes / 1024:.0f} KiB) and {deployed.header}")


def _show(artifact: Artifact, path: Path) -> None:
    console = stdout()
    print_summary(artifact, console)
    timing: Any = artifact.info["compile"]
    slowest = sorted(timing["passes"], key=lambda item: -item[1])[:5]
    parts = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in slowest)
    tuned = tuning_text(artifact.info.get("tuning"))
    if tuned is not None:
        print_line(console, tuned)
    print_line(console, f"compiled in {timing['wall_s']:.2f} s ({parts})")
    print_line(console, f"wrote {path}")
    host = _missed_host(artifact)
    if host is not None:
        print_line(
            console,
            f"its steps on the CPU are for this computer; for {artifact.config.name}'s own processor ({host}) compile "
            "with --target vdla,board",
        )


def _missed_host(artifact: Artifact) -> str | None:
    """The kind of processor of the artifact's board, if steps beside VDLA's were compiled for another one."""
    from compiler.backend.cpu.platforms import platform_of  # it has been imported to compile

    code = artifact.cpu_code
    if code is None or not any(isinstance(step, VdlaStep) for step in artifact.steps):
        return None
    try:
        host = Board.load(artifact.config.name).host
    except ConfigError:  # a machine of the user's own, or a board without a processor
        return None
    wanted = platform_of(host).llvm_triple
    return None if code.triple[:_FAMILY] == wanted[:_FAMILY] else host
