"""A network with default and with tuned schedules: ``python -m benchmarks.tuning_networks``, after ``vdla tune``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np

import vdla
from benchmarks.common import percent, publish, table
from hw.config import Config
from vdla.resolve import random_inputs


def row(model: str, config: Config, label: str, path: Path) -> list[object]:
    """Cycles with default and with tuned schedules, and whether the outputs' bits agree."""
    cycles, shares, outputs, tuned = [], [], [], 0
    for tiles in (None, path):
        artifact = vdla.compile(model, config=config, tiles=tiles)
        report = vdla.simulate(artifact, random_inputs(artifact.inputs))
        cycles.append(report.document["totals"]["cycles"])
        shares.append(percent(report.document["totals"]["utilization"]))
        outputs.append(report.outputs)
        if tiles is not None:
            found = artifact.info["tuning"]
            assert isinstance(found, dict)
            tuned = len(found["tuned"])
    same = all(np.array_equal(value, outputs[1][name]) for name, value in outputs[0].items())
    gain = f"{cycles[0] / cycles[1]:.4f}x"
    return [label, tuned, f"{cycles[0]:,}", f"{cycles[1]:,}", gain, *shares, "same" if same else "DIFFERENT"]


@click.command()
@click.option("--model", default="resnet18", show_default=True)
@click.option("--config", "config_name", default="pynq-z1", show_default=True)
@click.option("--set", "settings", multiple=True, default=("", "vdla.block_out=32"), show_default=True)
@click.option("--db", "path", type=click.Path(path_type=Path), default=Path("out/tuning.jsonl"), show_default=True)
@click.option("--write", is_flag=True, help="Put the section into RESULTS.md.")
def main(model: str, config_name: str, settings: Sequence[str], path: Path, write: bool) -> None:
    """Cycles of a network with default and with tuned schedules, on a machine and its variations."""
    base = Config.load(config_name)
    rows = []
    for setting in settings:
        config = base.override([setting] if setting else [])
        rows.append(row(model, config, setting or base.name, path))
        click.echo(" | ".join(map(str, rows[-1])), err=True)
    header = ["machine", "tuned operators", "cycles, default", "cycles, tuned", "gain", "utilisation, default",
              "tuned", "outputs"]  # fmt: skip
    text = (
        f"`{model}` with the schedules that the compiler chooses by estimate and with those that "
        f"`vdla tune {model}`, with as many trials as it takes by default, found and kept in the network."
    )
    publish(f"Tuned networks: {model} on {base.name}", f"{text}\n\n{table(header, rows)}", write=write)


if __name__ == "__main__":
    main()
