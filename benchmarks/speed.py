"""Seconds to compile and to simulate ResNet-18: ``python -m benchmarks.speed``."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any, cast

# numpy reads it when it is imported: it would pick kernels for another processor.
if os.environ.pop("OPENBLAS_CORETYPE", None) is not None:
    os.execv(sys.executable, [sys.executable, "-m", "benchmarks.speed", *sys.argv[1:]])

import click
import numpy as np

import vdla
from benchmarks.common import publish, table
from runtime.executor import SimName
from vdla.models import MODELS


def seconds_of(values: Sequence[float], processor: Sequence[float] = ()) -> list[str]:
    """First, median and least of some seconds, and the median of processor seconds, as cells."""
    cells = [f"{value:.2f}" for value in (values[0], statistics.median(values), min(values))]
    return [*cells, f"{statistics.median(processor):.2f}" if processor else ""]


def compile_seconds(model: str, config: str, repeats: int) -> tuple[vdla.Artifact, list[list[str]]]:
    """The artifact, and a row for the whole compilation and for each step of it."""
    times: list[float] = []
    processor: list[float] = []
    steps: dict[str, list[float]] = {}
    artifact = None
    for _ in range(repeats):
        start = time.process_time()
        artifact = vdla.compile(model, config=config)
        processor.append(time.process_time() - start)
        info = cast("dict[str, Any]", artifact.info["compile"])
        times.append(info["wall_s"])
        for name, seconds in info["passes"]:
            steps.setdefault(name, []).append(seconds)
    assert artifact is not None, "click demands at least one repeat"
    slow = {name: values for name, values in steps.items() if statistics.median(values) >= 0.05}
    rows = [["compile, ONNX to artifact", *seconds_of(times, processor)]]
    return artifact, rows + [[f"- {name}", *seconds_of(values)] for name, values in slow.items()]


def simulate_seconds(artifact: vdla.Artifact, sim: SimName, repeats: int) -> list[str]:
    """The seconds of an inference, as cells; preparing the devices counts with the first."""
    rng = np.random.default_rng(0)
    inputs = {spec.name: rng.standard_normal(spec.shape, dtype=np.float32) for spec in artifact.inputs}
    times: list[float] = []
    processor: list[float] = []
    executor = None
    for _ in range(repeats):
        start, start_processor = time.perf_counter(), time.process_time()
        executor = executor or vdla.Executor(artifact, sim=sim)
        executor.run(inputs)
        times.append(time.perf_counter() - start)
        processor.append(time.process_time() - start_processor)
    return seconds_of(times, processor)


@click.command()
@click.option("--model", type=click.Choice(list(MODELS)), default="resnet18", show_default=True)
@click.option("--config", "config_name", default="pynq-z1", show_default=True)
@click.option("--repeats", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--write", is_flag=True, help="Put the section into RESULTS.md.")
def main(model: str, config_name: str, repeats: int, write: bool) -> None:
    """Wall-clock seconds of compilation and of both simulators."""
    artifact, rows = compile_seconds(model, config_name, repeats)
    for sim in ("functional", "cycle"):
        rows.append([f"{sim} simulation", *simulate_seconds(artifact, sim, repeats)])
    header = ["wall-clock seconds", "first", f"median of {repeats}", "least", "processor time, median"]
    text = (
        "The first compilation includes importing the compiler, the first simulation preparing the simulator. Where "
        "processor time is far below the median, the machine had other work to do."
    )
    publish(f"Speed: {model} on {config_name}", f"{text}\n\n{table(header, rows)}", write=write)


if __name__ == "__main__":
    main()
