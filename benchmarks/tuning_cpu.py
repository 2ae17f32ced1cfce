"""Tuning layers for this machine's processor, best schedule by number of trials: ``python -m benchmarks.tuning_cpu``.

Every schedule is timed once and its time kept in a database; the explorers then search what was measured, so that they
are compared on the same times, and more seeds cost nothing. The confirmed gain is measured anew, best beside default.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import numpy as np

from benchmarks.common import publish, table
from benchmarks.tuning import BATCH, Curves, curve, picture, rows_of
from compiler.tune.cost_model import XGBoostModel
from compiler.tune.database import Database
from compiler.tune.features import KnobFeatures
from compiler.tune.search import Explorer, GeneticSearch, ModelGuidedSearch, RandomSearch
from compiler.tune.space import ConfigSpace
from compiler.tune.tuner import measured_costs
from vdla.models.layers import layer_model
from vdla.tune.cpu import Place, confirm, cpu_session, groups_of, process_measurer
from vdla.tune.session import TuneOptions

PICTURE = Path(__file__).with_name("tuning_cpu.png")

EXPLORERS: dict[str, Callable[[ConfigSpace, int], Explorer]] = {
    "random": RandomSearch,
    "genetic": GeneticSearch,
    "model": lambda space, seed: ModelGuidedSearch(
        space, KnobFeatures(space), XGBoostModel(seed=seed), seed, first=2 * BATCH
    ),
}


@click.command()
@click.option("--layer", "names", multiple=True, default=("C2", "C7", "C12", "D5"), show_default=True)
@click.option("--seeds", default=5, show_default=True)
@click.option("--db", "path", type=click.Path(path_type=Path), default=Path("out/tuning_cpu.jsonl"), show_default=True)
@click.option("--write", is_flag=True, help="Put the section into RESULTS.md and draw the picture beside it.")
def main(names: Sequence[str], seeds: int, path: Path, write: bool) -> None:
    """Best schedule by number of trials on the CPU: random, genetic and learned search."""
    path.parent.mkdir(parents=True, exist_ok=True)
    database = Database(path)
    found: dict[str, tuple[Curves, float, float]] = {}
    rows: list[list[object]] = []
    gains: list[list[object]] = []
    for name in names:
        groups = [group for group in groups_of(layer_model(name)) if group.group.nodes[0].op == "conv2d"]
        with process_measurer(1, 120.0) as measurer:
            session = cpu_session(
                groups, database, Place.here(measurer), TuneOptions(trials=10**6, search="exhaustive")
            )
            for _ in session.run():
                pass
            (state,) = session.states
            task, space = state.outcome.task, state.space
            (default,), _ = measured_costs(task, [task.default], measurer, database)
            curves: Curves = {}
            for label, make in EXPLORERS.items():
                runs = [curve(task, make(space, seed), len(space), measurer, database) for seed in range(seeds)]
                curves[label] = np.array(runs)
            choice = confirm(session, measurer)
        found[name] = (curves, default, state.outcome.best_cost)
        rows += rows_of(f"{name} ({len(space)} schedules)", curves, default, state.outcome.best_cost)
        confirmed = [f"{1e3 * choice.default:.3f}", f"{1e3 * choice.best:.3f}", f"{choice.default / choice.best:.3f}x"]
        gains.append([name, *confirmed])
        click.echo(f"{name}: {confirmed}", err=True)
    header = ["layer, explorer", "gain over default", "cost / best known", "trials to equal the default",
              "to within 1 % of the best", "to equal random's best"]  # fmt: skip
    text = (
        f"Convolutions of the paper's table 2 and of MobileNet with a rectifier, float32, on "
        f"{os.environ.get('VDLA_NUM_THREADS', 'all')} threads. The spaces are small enough to be measured whole, "
        f"each schedule once; medians of {seeds} seeds that search these times, {BATCH} points together. Random's best "
        "after as many trials as there are schedules is the best.\n\n"
        "![best schedule by number of trials](tuning_cpu.png)\n\n"
        f"{table(header, rows)}\n\nDefault and best measured again side by side, the least of several; a schedule that "
        f"is not 2 % faster then is not taken.\n\n{table(['layer', 'default ms', 'tuned ms', 'gain'], gains)}"
    )
    if write:
        picture(found).savefig(PICTURE, dpi=110)
    publish("Tuning on this processor", text, write=write)


if __name__ == "__main__":
    main()
