"""A cost model carried over to another machine: ``python -m benchmarks.tuning_transfer``, after ``benchmarks.tuning``.

The model is trained on what was measured of the same convolution on the first machine: with features of the loop
program, or with the knobs by name, which mean the same on both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import click
import numpy as np

from benchmarks.common import publish, table
from benchmarks.tuning import BATCH, Subject, curve, rank_correlation, trials_until
from compiler.tune.cost_model import XGBoostModel
from compiler.tune.database import Database, Record
from compiler.tune.features import KnobFeatures
from compiler.tune.measure import Measurer
from compiler.tune.search import Explorer, ModelGuidedSearch
from compiler.tune.transfer import Prior, PriorFeatures, PriorScores
from hw.config import Config
from vdla.errors import UsageError
from vdla.tune.accelerator import process_measurer

NEAR = 1 / 0.95
"""Reached: 95 % of the best known speed."""


LEARNT_FROM = 512
"""Records of the first machine that the model of loop features learns from at most."""


def measured(subject: Subject, database: Database) -> list[Record]:
    """The subject's successful measurements.  Raises UsageError when there are too few."""
    records = [r for r in database.query(*subject.task.key) if r.cost is not None]
    if len(records) < 2 * BATCH:
        raise UsageError(f"only {len(records)} records of {subject.operator.name}; run benchmarks.tuning first")
    return records


def by_loops(subject: Subject, records: Sequence[Record]) -> XGBoostModel:
    """A model of loop features, which are comparable between machines."""
    records = [records[k] for k in np.random.default_rng(0).permutation(len(records))[:LEARNT_FROM]]
    points = [subject.space.find(r.knobs).index for r in records]
    model = XGBoostModel()
    model.fit(subject.loop_features(points), np.array([r.cost for r in records], float))
    return model


def rows_of(
    name: str, machines: tuple[Config, Config], trials: int, seeds: int, measurer: Measurer, database: Database
) -> list[list[object]]:
    """The table's rows of one convolution."""
    source, target = (Subject.of(name, machine) for machine in machines)
    space, loops, knobs = target.space, target.loop_features, KnobFeatures(target.space)
    records = measured(source, database)
    base, prior = by_loops(source, records), Prior(space, [records])
    prior_features = PriorFeatures(knobs, prior)
    searches: dict[str, Callable[[int], Explorer]] = {
        "loops, from scratch": lambda seed: ModelGuidedSearch(space, loops, XGBoostModel(seed=seed), seed),
        "loops, transferred": lambda seed: ModelGuidedSearch(space, loops, XGBoostModel(seed=seed, base=base), seed),
        "knobs, from scratch": lambda seed: ModelGuidedSearch(space, knobs, XGBoostModel(seed=seed), seed),
        "knobs, transferred": lambda seed: ModelGuidedSearch(
            space, prior_features, XGBoostModel(seed=seed, base=PriorScores()), seed
        ),
    }
    curves = {
        label: np.array([curve(target.task, make(seed), trials, measurer, database) for seed in range(seeds)])
        for label, make in searches.items()
    }
    known = measured(target, database)
    costs = np.array([r.cost for r in known], float)
    points = [space.find(r.knobs).index for r in known]
    quality = {
        "loops, transferred": rank_correlation(base.predict(loops(points)), -costs),
        "knobs, transferred": rank_correlation(prior(points), -costs),
    }
    learnt = {"loops, transferred": min(LEARNT_FROM, len(records)), "knobs, transferred": prior.source.records}
    rows: list[list[object]] = []
    for label, c in curves.items():
        first, last = np.median(c[:, BATCH - 1]), np.median(c[:, -1])
        cells = [f"{costs.min() / first:.3f}", trials_until(c, costs.min() * NEAR), f"{costs.min() / last:.3f}"]
        moved = [learnt[label], f"{quality[label]:.3f}"] if label in learnt else ["", ""]
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
            click.echo(f"{name}: {len(rows)} rows", err=True)
    header = [
        "operator, model",
        "records it learnt from",
        "rank correlation before any trial",
        f"speed after {BATCH} trials",
        "trials to 95 % of the best speed",
        f"speed after {trials} trials",
    ]
    text = (
        f"Learned search on {base.name} with {' '.join(settings)}: from scratch, and with a model that starts from "
        f"measurements of {base.name} itself, by the features of the loop program (the paper's) or by the knobs' names "
        f"(as `vdla tune` does). None knows the compiler's estimate. Medians of {seeds} seeds; speeds as share of the "
        "best known. Rank correlation: of the scores, before this machine was seen, with the cycles measured on it."
    )
    publish(f"Transfer: {base.name} to {' '.join(settings)}", f"{text}\n\n{table(header, rows)}", write=write)


if __name__ == "__main__":
    main()
