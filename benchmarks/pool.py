"""Measuring on a pool of devices of this machine, one against several: ``python -m benchmarks.pool``.

The devices are processes here, so more of them than there are processors bring nothing; what is shown is what the pool
itself costs beside measuring in the tuner's own worker processes.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import click
import numpy as np

from benchmarks.common import publish, table
from benchmarks.tuning import Subject
from compiler.tune.measure import Measurer
from compiler.tune.pool import create_keys, load_keys
from hw.config import Config
from vdla.tune.accelerator import pool_measurer, process_measurer


def _line(stream: IO[str] | None) -> str:
    assert stream is not None
    return stream.readline()


@contextmanager
def _command(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-m", "vdla", *arguments], stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def seconds(subject: Subject, points: Sequence[int], measurer: Measurer) -> float:
    """Wall time of measuring the points, after one that starts every process."""
    measurer.measure([subject.task.job(subject.task.default)] * 8)
    start = time.perf_counter()
    failed = sum(result.cost is None for result in measurer.measure([subject.task.job(point) for point in points]))
    if failed:
        raise RuntimeError(f"{failed} schedules were not measured")
    return time.perf_counter() - start


@click.command()
@click.option("--operator", "name", default="C7", show_default=True)
@click.option("--points", default=64, show_default=True, help="Schedules to measure.")
@click.option("--devices", "counts", multiple=True, type=int, default=(1, 2, 4), show_default=True)
@click.option("--write", is_flag=True, help="Put the section into RESULTS.md.")
def main(name: str, points: int, counts: tuple[int, ...], write: bool) -> None:
    """Wall time of measuring the same schedules on one device and on several."""
    config = Config.load("pynq-z1")
    subject = Subject.of(name, config)
    drawn = subject.space.sample(points, np.random.default_rng(0))
    found: dict[str, float] = {}
    for count in counts:
        with process_measurer(config, count, 120.0) as measurer:
            found[f"{count} worker processes, no pool"] = seconds(subject, drawn, measurer)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        keys = Path(folder) / "keys"
        create_keys(keys)
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
        address = f"tls://127.0.0.1:{port}"
        _line(stack.enter_context(_command("pool", "start", "--port", str(port), "--keys", str(keys))).stdout)
        running = 0
        for count in sorted(counts):
            while running < count:
                device = ("--scheduler", address, "--kind", "vdla-pynq-z1", "--keys", str(keys))
                _line(stack.enter_context(_command("device", *device)).stdout)
                running += 1
            # Dask would know the results of the jobs before: each round is to measure anew.
            with pool_measurer(config, address, None, load_keys(keys), 120.0 + count) as measurer:
                found[f"{count} devices of a pool"] = seconds(subject, drawn, measurer)
    first = next(iter(found.values()))
    rows = [[label, f"{value:.1f}", f"{first / value:.2f}x"] for label, value in found.items()]
    text = (
        f"{points} random schedules of {name} on {config.name}, the same ones in every row, measured by the cycle "
        "simulator in processes of this machine. Processes are up before the clock starts."
    )
    publish("Device pool", f"{text}\n\n{table(['measured by', 'seconds', 'speed'], rows)}", write=write)


if __name__ == "__main__":
    main()
