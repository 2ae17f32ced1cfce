"""``vdla profile``: where a network's time goes on this machine's processor."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import click
from rich.table import Table

from runtime.artifact import Artifact
from vdla.api import compile
from vdla.calibration import load_calibration
from vdla.cli.common import (
    database_option,
    json_option,
    print_json,
    progress_bar,
    quantisation_options,
    report_option,
    stdout,
)
from vdla.errors import UsageError
from vdla.report import ReportFolder, print_line
from vdla.resolve import is_artifact, random_inputs

DOCUMENT = "profile.json"


@click.command("profile")
@click.argument("model")
@click.option("--target", type=click.Choice(("cpu",)), default="cpu", show_default=True, help="What is profiled.")
@click.option("--runs", default=30, show_default=True, type=click.IntRange(min=1), help="Inferences; medians count.")
@click.option("--batch", type=click.IntRange(min=1), metavar="N", help="Images at once.")
@quantisation_options
@database_option
@report_option("profile.json and a roofline picture")
@json_option
def profile_command(
    model: str,
    target: str,
    runs: int,
    batch: int | None,
    integer: bool,
    calibration_path: Path | None,
    database_path: Path | None,
    report_path: Path | None,
    as_json: bool,
) -> None:
    """Time MODEL (an ONNX file, a built-in network or an artifact) on this machine, fused group by fused group.

    Each group stands against the machine's roofs, which are measured too: effective GFLOP/s (of the operators'
    definitions), those that the kernel executes, and the share of what processor and memory allow. $VDLA_NUM_THREADS
    says how many threads are used.
    """
    from vdla.profiler import picture, profile_cpu

    with ExitStack() as stack:
        folder = None if report_path is None else stack.enter_context(ReportFolder(report_path, DOCUMENT))
        with progress_bar("profile") as progress:
            progress("compile", 0, 2)
            if is_artifact(Path(model)):
                if integer or calibration_path is not None:
                    raise UsageError(f"{model} is compiled already; --int8 and --calibration go to `vdla compile`")
                artifact = Artifact.load(model)
            else:
                samples = None if calibration_path is None else load_calibration(calibration_path, model, batch)
                artifact = compile(
                    model, target=target, batch=batch, integer=integer, calibration=samples, tiles=database_path
                )
            progress("run", 1, 2)
            profile = profile_cpu(artifact, random_inputs(artifact.inputs), runs)
        document = profile.document()
        if folder is not None:
            text = json.dumps(document, indent=1)
            folder.write_files({DOCUMENT: text.encode(), "roofline.png": picture(profile)})
    if as_json:
        print_json(document)
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("group", overflow="fold")
    for column in ("ms", "share", "GFLOP/s", "executed", "GB/s", "of roofline"):
        table.add_column(column, justify="right")
    total = sum(group.seconds for group in profile.groups) or 1.0
    for group in profile.groups:
        seconds = group.seconds or 1e-9
        table.add_row(
            group.op,
            f"{1e3 * group.seconds:.3f}",
            f"{100 * group.seconds / total:.1f} %",
            f"{group.operations / seconds / 1e9:.1f}",
            f"{group.executed / seconds / 1e9:.1f}",
            f"{group.bytes / seconds / 1e9:.1f}",
            f"{100 * group.roofline:.0f} %",
        )
    console = stdout()
    console.print(table)
    roofs = profile.roofs
    print_line(console, f"{1e3 * profile.seconds:.3f} ms, median of {profile.runs}; {roofs.threads} threads")
    print_line(console, f"roofs, measured: {roofs.operations / 1e9:.0f} GFLOP/s, {roofs.bytes / 1e9:.1f} GB/s")
    mib = 1 << 20
    print_line(
        console,
        f"activations: {profile.peak_bytes / mib:.2f} MiB planned, {profile.sum_bytes / mib:.2f} MiB without sharing",
    )
