"""``vdla inspect``: what is in an artifact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from runtime.artifact import Artifact, VdlaStep
from runtime.manifest import step_to_json, tensor_to_json
from vdla.cli.common import json_option, print_json, stdout
from vdla.report import print_line


@click.command("inspect")
@click.argument("artifact_path", metavar="MODEL.vdla", type=click.Path(path_type=Path))
@click.option("--disasm", is_flag=True, help="Print every instruction as assembler text.")
@json_option
def inspect_command(artifact_path: Path, disasm: bool, as_json: bool) -> None:
    """Show what is in a compiled artifact: machine, tensors, layers, instructions."""
    artifact = Artifact.load(artifact_path)
    if as_json:
        document = summary(artifact)
        if disasm:
            document["disassembly"] = [artifact.disassembly(s).splitlines() for s in _programs(artifact)]
        print_json(document)
    elif disasm:
        for step in _programs(artifact):
            click.echo(artifact.disassembly(step), nl=False)
    else:
        print_summary(artifact, stdout())


def _programs(artifact: Artifact) -> list[VdlaStep]:
    return [step for step in artifact.steps if isinstance(step, VdlaStep)]


def summary(artifact: Artifact) -> dict[str, Any]:
    """The artifact without its bytes, of plain Python values."""
    return {
        "model": artifact.model,
        "config": {**artifact.config.to_dict(), "fingerprint": artifact.config.fingerprint},
        "arena_bytes": artifact.arena_bytes,
        "constant_bytes": sum(segment.data.size for segment in artifact.segments),
        "inputs": [tensor_to_json(spec) for spec in artifact.inputs],
        "outputs": [tensor_to_json(spec) for spec in artifact.outputs],
        "steps": [step_to_json(step) for step in artifact.steps],
        "info": dict(artifact.info),
    }


def print_summary(artifact: Artifact, console: Console) -> None:
    """Prints the same for people: one line a layer."""
    config = artifact.config
    table = Table(
        title=f"{artifact.model} for {config.name} ({config.batch} x {config.block_in} x {config.block_out}, "
        f"fingerprint {config.fingerprint})",
        title_justify="left",
    )
    table.add_column("layer", overflow="fold")
    table.add_column("op")
    table.add_column("target")
    table.add_column("instructions", justify="right")
    table.add_column("MACs", justify="right")
    table.add_column("why on the CPU", overflow="fold")
    for step in artifact.steps:
        if isinstance(step, VdlaStep):
            for layer in step.layers:
                count = f"{layer.end - layer.begin:,}"
                table.add_row(Text(layer.name), Text(layer.op), "vdla", count, f"{layer.macs:,}" if layer.macs else "")
        else:
            table.add_row(Text(step.name), Text(step.op), "cpu", "", "", Text(step.reason))
    console.print(table)
    for role, specs in (("input", artifact.inputs), ("output", artifact.outputs)):
        for spec in specs:
            print_line(console, f"{role} {spec.name}: {spec.describe()}")
    constants = sum(segment.data.size for segment in artifact.segments)
    programs = _programs(artifact)
    instructions = sum(step.n_instr for step in programs)
    print_line(
        console,
        f"arena {artifact.arena_bytes / 1e6:.2f} MB, of which constants {constants / 1e6:.2f} MB; "
        f"{instructions:,} instructions in {len(programs)} program{'s' if len(programs) != 1 else ''}",
    )
