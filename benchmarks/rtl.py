"""The RTL simulation: a sweep's figures, and its speed on a network: ``python -m benchmarks.rtl --sweep SWEEP.json``.

The sweep's file is what ``python -m sim.rtl.sweep --json`` prints.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np

import vdla
from benchmarks.common import Stopwatch, publish, table
from hw.config import Config
from runtime.artifact import VdlaStep
from sim import cycle
from sim.rtl import Machine
from vdla.models import MODELS


def sweep_text(data: dict[str, Any]) -> str:
    """A paragraph and two tables: machines with their runs and cycles, coverage by group."""
    machines = table(
        ["machine: batch x block in x block out, bus, protocol", "runs", "cycles"],
        [[m["shape"], f"{m['runs']:,}", f"{m['cycles']:,}"] for m in data["machines"]],
    )
    coverage = table(
        ["coverage", "points met", "of"], [[group, c["met"], c["of"]] for group, c in data["coverage"].items()]
    )
    text = (
        f"{data['programs']:,} random programs on each of {len(data['machines'])} machines with {data['profiles']} "
        f"memories, RTL against cycle simulator: {data['runs']:,} runs, {data['instructions']:,} instructions, "
        f"{data['cycles']:,} cycles, **{data['differences']} differences**, in "
        f"{data['seconds']:.0f} s in {data['jobs']} processes, building the machines included. "
        f"{len(data['never_met'])} points of coverage were never met"
    )
    never = "".join(f"\n- {' x '.join(point)}" for point in data["never_met"])
    return f"{text}{':' if never else '.'}{never}\n\n{machines}\n\n{coverage}"


def speed_rows(model: str, config: str, repeats: int, build: bool) -> list[list[str]]:
    """Seconds and cycles per second of the RTL and of the cycle simulator, on all programs of a model in turn."""
    artifact = vdla.compile(model, config=config)
    cfg = artifact.config
    steps = [step for step in artifact.steps if isinstance(step, VdlaStep)]
    arena = artifact.initial_arena()
    arena[:] = np.random.default_rng(0).integers(0, 256, arena.size)
    artifact.write_constants(arena)
    building = build_seconds(cfg) if build else None
    seconds: dict[str, list[float]] = {"cycle": [], "rtl": []}
    cycles = 0
    with Machine(cfg) as machine:
        for number in range(repeats + 1):
            spent = dict.fromkeys(seconds, 0.0)
            cycles = 0
            # One after the other within a repeat, so that both meet the same load.
            for step in steps:
                for sim in seconds:
                    memory = arena.copy()
                    start = time.process_time()
                    if sim == "rtl":
                        result = machine.run(memory, step.program_addr, step.n_instr)
                    else:
                        result = cycle.run(memory, step.program_addr, step.n_instr, cfg)
                    spent[sim] += time.process_time() - start
                cycles += result.cycles
            # The first one compiles the cycle simulator's kernels.
            if number:
                for sim, value in spent.items():
                    seconds[sim].append(value)
    rtl, simulated = (statistics.median(seconds[sim]) for sim in ("rtl", "cycle"))
    rows = [["RTL", f"{rtl:.2f}", f"{cycles / rtl:,.0f}", ""]]
    if building is not None:
        rows.append(["RTL, building it included", f"{rtl + building:.2f}", f"{cycles / (rtl + building):,.0f}", ""])
    rows.append(["cycle simulator", f"{simulated:.2f}", f"{cycles / simulated:,.0f}", f"{rtl / simulated:.0f}"])
    return rows


def build_seconds(cfg: Config) -> float:
    """Seconds of the wall clock to make the machine with nothing in the cache."""
    kept = os.environ.get("VDLA_CACHE_DIR")
    with tempfile.TemporaryDirectory() as folder, Stopwatch() as watch:
        os.environ["VDLA_CACHE_DIR"] = folder
        try:
            with Machine(cfg):
                pass
        finally:
            del os.environ["VDLA_CACHE_DIR"]
            if kept is not None:
                os.environ["VDLA_CACHE_DIR"] = kept
    return watch.seconds


@click.command()
@click.option("--sweep", "sweep_path", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE")
@click.option("--model", type=click.Choice(list(MODELS)), default="resnet18", show_default=True)
@click.option("--config", "config_name", default="pynq-z1", show_default=True)
@click.option("--repeats", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--build/--no-build", default=True, help="Also build the machine from nothing and count that.")
@click.option("--write", is_flag=True, help="Put the sections into RESULTS.md.")
def main(sweep_path: Path | None, model: str, config_name: str, repeats: int, build: bool, write: bool) -> None:
    """The RTL against the cycle simulator: agreement and speed."""
    if sweep_path is not None:
        publish("RTL in lock-step", sweep_text(json.loads(sweep_path.read_text(encoding="utf-8"))), write=write)
    rows = speed_rows(model, config_name, repeats, build)
    header = [f"{model} on {config_name}", "processor seconds", "cycles a second", "times the RTL's speed"]
    text = "Building is by the wall clock, on an empty cache; everything else processor time of one core."
    publish(f"Speed of the RTL simulation: {model} on {config_name}", f"{text}\n\n{table(header, rows)}", write=write)


if __name__ == "__main__":
    main()
