"""Tuned layers against ONNX Runtime, before and after tuning: ``python -m benchmarks.tuned_layers``.

Each layer is tuned with a learned search, then the network of that one layer is compiled by default and with what was
found, and both run beside ONNX Runtime in one process, on one thread, in turns, since a processor's speed drifts;
medians, and outputs must agree. Measurements are kept in a database, so that a second run goes on where the first
stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
import onnx

import vdla
from benchmarks.common import publish, table
from benchmarks.side_by_side import check, close, image, median, onnx_runtime, ours, versions
from compiler.tune.database import Database
from runtime.executor import Executor
from vdla.models.layers import CONVOLUTIONS, DEPTHWISE, layer_model
from vdla.tune.cpu import Place, confirm, cpu_session, groups_of, process_measurer
from vdla.tune.session import TuneOptions

_TURNS = 5


def tune(model: onnx.ModelProto, path: Path, trials: int, seconds: float) -> None:
    """Tune a layer and save what was confirmed."""
    database = Database(path)
    with process_measurer(1, 120.0) as measurer:
        options = TuneOptions(trials=trials, seconds=seconds)
        session = cpu_session(groups_of(model), database, Place.here(measurer), options)
        for _ in session.run():
            pass
        confirm(session, measurer)


def row(name: str, path: Path, runs: int) -> list[object]:
    """Milliseconds by default, tuned, of ONNX Runtime; both ratios to that."""
    model = layer_model(name)
    x = image(model)
    default, tuned = (ours(Executor(vdla.compile(model, target="cpu", tiles=tiles)), x, 1) for tiles in (None, path))
    peer = onnx_runtime(model, x, 1)
    check([("default", default()), ("tuned", tuned()), ("ONNX Runtime", peer())], close)
    turns = [[median(run, runs // _TURNS) for run in (default, tuned, peer)] for _ in range(_TURNS)]
    before, after, other = 1e3 * np.median(turns, axis=0)
    return [name, *(f"{t:.3f}" for t in (before, after, other)), f"{before / other:.2f}", f"{after / other:.2f}"]


@click.command()
@click.option("--layer", "names", multiple=True, default=(*CONVOLUTIONS, *DEPTHWISE), help="Default: all.")
@click.option("--trials", default=64, show_default=True, help="Schedules of each layer.")
@click.option("--seconds", default=60.0, show_default=True, help="No layer is tuned for longer.")
@click.option("--runs", default=200, show_default=True)
@click.option(
    "--db", "path", type=click.Path(path_type=Path), default=Path("out/tuned_layers.jsonl"), show_default=True
)
@click.option("--write", is_flag=True, help="Put the section into RESULTS.md.")
def main(names: Sequence[str], trials: int, seconds: float, runs: int, path: Path, write: bool) -> None:
    """Layers by default and tuned, against ONNX Runtime; set VDLA_NUM_THREADS=1."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows: list[list[object]] = []
    for name in names:
        tune(layer_model(name), path, trials, seconds)
        rows.append(row(name, path, runs))
        click.echo(str(rows[-1]), err=True)
    header = ["layer", "default, ms", "tuned, ms", "ONNX Runtime, ms", "default / ONNX Runtime", "tuned / ONNX Runtime"]
    text = (
        f"Single layers with a rectifier, float32, one thread, medians of {runs} runs; tuned with at most {trials} "
        f"schedules a layer. {versions()}\n\n{table(header, rows)}"
    )
    publish("Tuned layers on this processor", text, write=write)


if __name__ == "__main__":
    main()
