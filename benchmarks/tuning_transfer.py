"""A cost model carried over to another machine: ``python -m benchmarks.tuning_transfer``, after ``benchmarks.tuning``.

The model is trained on what was measured of the same convolution on the first machine, with features of the loop
program, which mean the same on both.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np

from benchmarks.common import publish, table
from benchmarks.tuning import BATCH, Subject, curve, rank_correlation, trials_until
from compiler.tune.cost_model import XGBoostModel
from compiler.tune.database import Database
from compiler.tune.measure import Measurer
from compiler.tune.search import ModelGuidedSearch
from hw.config import Config
from vdla.errors import UsageError
from vdla.tune.accelerator import process_measurer

NEAR = 1 / 0.95
"""Reached: 95 % of the best known speed."""


def trained(subject: Subject, database: Database) -> tuple[XGBoostModel, int]:
    """A model of the subject's records, and how many there are.  Raises UsageError when there are too few."""
    records = [r for r in database.query(*subject.task.key) if r.cost is not None]
    if len(records) < 2 * BATCH:
        raise UsageError(f"only {len(records)} records of {subject.operator.name}; run benchmarks.tuning first")
    points = [subject.space.find(r.knobs).index for r in records]
    model = XGBoostModel()
    model.fit(subject.loop_features(points), np.array([r.cost for r in records], float))
    return model, len(records)


def rows_of(
    name: str, machines: tuple[Config, Config], trials: int, seeds: int, measurer: Measurer, database: Database
) -> list[list[object]]:
    """The table's rows of one convolution."""
    source, target = (Subject.of(name, machine) for machine in machines)
    base, count = trained(source, database)
    curves = {}
    for label, start in (("from scratch", None), ("transferred", base)):
        runs = []
        for seed in range(seeds):
            model = XGBoostModel(seed=seed, base=start)
            explorer = ModelGuidedSearch(target.space, target.loop_features, model, seed)
            runs.append(curve(target.task, explorer, trials, measurer, database))
        curves[label] = np.array(runs)
    record = database.best(target.task.key)
    best = float(min(c.min() for c in curves.values())) if record is None or record.cost is None else record.cost
    known = [r for r in database.query(*target.task.key) if r.cost is not None]
    scores = base.predict(target.loop_features([target.space.find(r.knobs).index for r in known]))
    quality = rank_correlation(scores, -np.array([r.cost for r in known], float))
    rows: list[list[object]] = []
    for label, c in curves.items():
        first, last = np.median(c[:, BATCH - 1]), np.median(c[:, -1])
        cells = [f"{best / first:.3f}", trials_until(c, best * NEAR), f"{best / last:.3f}"]
        moved = [count, f"{quality:.3f}"] if label == "transferred" else ["", ""]
        rows.append([f"{name} {label}", *moved, *cells])
    return rows


@click.command()
@click.option("--config", "config_name", default="pynq-z1", show_default=True)
@click.option("--set", "settings", multiple=True, default=("vdla.block_out=32",), show_default=True)
@click.option("--operator", "names", multiple=True, default=("C2", "C7", "C12"), show_default=True)
@click.option("--trials", default=48, show_default=True)
@click.option("--seeds", default=3, show_default=True)
@click.option("--workers", default=1, show_default=True)
@click.option("--db", "path", type=click.Path(path_type=Path), default=Path("out/tuning.jsonl"), show_default=True)
@click.option("--write", is_flag=True, help="Put the section into RESULTS.md.")
def main(
    config_name: str,
    settings: Sequence[str],
    names: Sequence[str],
    trials: int,
    seeds: int,
    workers: int,
    path: Path,
    write: bool,
) -> None:
    """Trials until a good schedule on another machine, with and without what was learnt on the first."""
    base = Config.load(config_name)
    machines = (base, base.override(settings))
    database = Database(path)
    rows: list[list[object]] = []
    with process_measurer(machines[1], workers, 120.0) as measurer:
        for name in names:
            rows += rows_of(name, machines, trials, seeds, measurer, database)
            click.echo(" | ".join(map(str, rows[-2] + rows[-1])), err=True)
    header = [
        "operator, model",
        "records it learnt from",
        "rank correlation before any trial",
        f"speed after {BATCH} trials",
        "trials to 95 % of the best speed",
        f"speed after {trials} trials",
    ]
    text = (
        f"Learned search on {base.name} with {' '.join(settings)}: from scratch, and with a model trained on the "
        f"measurements of {base.name} itself. Medians of {seeds} seeds; speeds as share of the best known. Rank "
        "correlation: of the model's scores, before it saw this machine, with the cycles measured on it."
    )
    publish(f"Transfer: {base.name} to {' '.join(settings)}", f"{text}\n\n{table(header, rows)}", write=write)


if __name__ == "__main__":
    main()
