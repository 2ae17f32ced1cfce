"""The paper's figure 12 on VDLA, best schedule by number of trials: ``python -m benchmarks.tuning``.

Every explorer starts from nothing and knows only what it has measured; the model has the paper's features of the loop
program, or the knobs themselves. With "+ estimate" it also has the compiler's own estimate of a tile's cycles as a
feature and begins with the estimate's favourites, as ``vdla tune`` does. Measurements are kept in a database, so a
second run, or another explorer, measures only what is new; ``--fill`` measures whole spaces, in as many pieces as one
likes, and then the best schedule there is is known.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import matplotlib
import numpy as np
from matplotlib.figure import Figure

from benchmarks.common import publish, table
from compiler.tune.cost_model import CostModel, XGBoostModel
from compiler.tune.database import Database, point_text
from compiler.tune.features import KnobFeatures, table_trees
from compiler.tune.measure import Measurer
from compiler.tune.search import Explorer, GeneticSearch, ModelGuidedSearch, RandomSearch
from compiler.tune.search.model_guided import Features
from compiler.tune.space import ConfigEntity, ConfigSpace
from compiler.tune.tree_rnn import TreeRNN
from compiler.tune.tuner import Task, measured_costs
from hw.config import Config
from vdla.tune.accelerator import process_measurer
from vdla.tune.estimate import EstimateFeatures, estimates
from vdla.tune.lookup import key_of
from vdla.tune.loop_table import LoopFeatures
from vdla.tune.operators import Operator, parse_operator
from vdla.tune.templates import default_point, space_of, tile_of

PICTURE = Path(__file__).with_name("tuning.png")
BATCH = 8
OBJECTIVES = ("rank", "regression")
NEAR = 1.01
"""A cost within this factor of the best one known counts as having found it."""

TRAINED_ON = 400
"""Points that the cost models are compared on are trained with."""


@dataclass(frozen=True)
class Subject:
    """A convolution to tune, and everything that is known about it."""

    config: Config
    operator: Operator
    space: ConfigSpace
    task: Task
    estimated: dict[int, float]
    loop_features: LoopFeatures

    @staticmethod
    def of(name: str, cfg: Config) -> Subject:
        """The subject of that name on a machine."""
        operator = parse_operator(name, cfg)
        spec = operator.spec
        space = space_of(cfg, spec)
        default = default_point(cfg, spec, space).index

        def job(point: int) -> object:
            return spec, tile_of(ConfigEntity(space, point), cfg, spec)

        task = Task(name, key_of(cfg, spec), space, default, "cycles", job)
        return Subject(cfg, operator, space, task, estimates(cfg, spec, space), LoopFeatures(cfg, spec, space))


Maker = Callable[[Subject, int], Explorer]

EXPLORERS: dict[str, Maker] = {
    "random": lambda s, seed: RandomSearch(s.space, seed),
    "genetic": lambda s, seed: GeneticSearch(s.space, seed),
    "model, loops": lambda s, seed: ModelGuidedSearch(s.space, s.loop_features, XGBoostModel(seed=seed), seed),
    "model, knobs": lambda s, seed: ModelGuidedSearch(s.space, KnobFeatures(s.space), XGBoostModel(seed=seed), seed),
    "model, knobs + estimate": lambda s, seed: ModelGuidedSearch(
        s.space,
        EstimateFeatures(s.space, s.estimated),
        XGBoostModel(seed=seed),
        seed,
        start=sorted(s.estimated, key=lambda point: (s.estimated[point], point))[:BATCH],
        first=BATCH,
    ),
}


def optimum(task: Task, database: Database) -> float | None:
    """The cost of the best schedule, where the database holds all of the space."""
    known = {r.point: r.cost for r in database.query(*task.key)}
    if any(point_text(task.space.values(int(point))) not in known for point in task.space.valid_indices()):
        return None
    return min((cost for cost in known.values() if cost is not None), default=None)


def curve(
    task: Task,
    explorer: Explorer,
    trials: int,
    measurer: Measurer,
    database: Database,
    least: float | None = None,
) -> list[float]:
    """The best cost after each trial.  ``least``: no schedule costs less, and a search that has found it ends."""
    best: list[float] = []
    while len(best) < trials and not (best and best[-1] == least):
        points = explorer.propose(min(BATCH, trials - len(best)))
        if not points:
            break
        costs, _ = measured_costs(task, points, measurer, database)
        explorer.observe(points, costs)
        for cost in costs:
            best.append(min(cost, best[-1] if best else math.inf))
    return best + best[-1:] * (trials - len(best))


def fill(subjects: Sequence[Subject], seconds: float, measurer: Measurer, database: Database, batch: int = 32) -> int:
    """Measure points that nobody measured, for so many seconds; returns how many are left."""
    started, left = time.monotonic(), 0
    for subject in subjects:
        known = {r.point for r in database.query(*subject.task.key)}
        points = subject.space.valid_indices().tolist()
        missing = [point for point in points if point_text(subject.space.values(point)) not in known]
        np.random.default_rng(0).shuffle(missing)
        while missing and time.monotonic() - started < seconds:
            measured_costs(subject.task, missing[:batch], measurer, database)
            del missing[:batch]
        left += len(missing)
    return left


Curves = dict[str, np.ndarray]
"""Explorer -> best cost after each trial, [seeds, trials]."""


def trials_until(curves: np.ndarray, cost: float) -> str:
    """The median number of trials until a cost is reached."""
    reached = [int(np.argmax(c <= cost)) + 1 if c[-1] <= cost else math.inf for c in curves]
    middle = float(np.median(reached))
    return f"{middle:g}" if math.isfinite(middle) else f"> {curves.shape[1]}"


def rows_of(operator: str, curves: Curves, default: float, best: float) -> list[list[object]]:
    """The table's rows of a subject."""
    random = float(np.median(curves["random"][:, -1]))
    rows: list[list[object]] = []
    for name, c in curves.items():
        rows.append(
            [
                f"{operator} {name}",
                f"{default / np.median(c[:, -1]):.4f}x",
                f"{np.median(c[:, -1]) / best:.4f}",
                trials_until(c, default),
                trials_until(c, best * NEAR),
                trials_until(c, random),
            ]
        )
    return rows


def picture(found: dict[str, tuple[Curves, float, float]]) -> Figure:
    """One panel a subject: median of the seeds, and the range of them, as share of the best known speed."""
    matplotlib.use("Agg")
    figure = Figure(figsize=(4.4 * len(found), 3.6), layout="constrained")
    panels = figure.subplots(1, len(found), squeeze=False)[0]
    for axes, (name, (curves, default, best)) in zip(panels, found.items(), strict=True):
        for label, c in curves.items():
            share = best / c
            x = np.arange(1, c.shape[1] + 1)
            (line,) = axes.plot(x, np.median(share, axis=0), label=label)
            axes.fill_between(x, share.min(axis=0), share.max(axis=0), alpha=0.15, color=line.get_color())
        axes.axhline(best / default, color="gray", linestyle=":", label="default schedule")
        axes.set(title=name, xlabel="trials", ylim=(0.5, 1.01), xscale="log")
        axes.set_ylabel("speed, as share of the best known")
        axes.legend(fontsize="small", loc="lower right")
    return figure


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's coefficient."""
    first, second = (np.argsort(np.argsort(values)).astype(float) for values in (a, b))
    return float(np.corrcoef(first, second)[0, 1])


def model_rows(subject: Subject, database: Database) -> list[list[object]]:
    """Cost models on points they have not seen: trained on a part of what was measured, tested on others."""
    records = [r for r in database.query(*subject.task.key) if r.cost is not None]
    points = np.array([subject.space.find(r.knobs).index for r in records])
    costs = np.array([r.cost for r in records], float)
    order = np.random.default_rng(0).permutation(len(points))
    count = min(TRAINED_ON, len(order) // 2)
    train, test = order[:count], order[count:]
    loops = subject.loop_features
    trees = LoopFeatures(subject.config, subject.operator.spec, subject.space, table_trees)
    estimated = EstimateFeatures(subject.space, subject.estimated)
    contenders: list[tuple[str, CostModel, Features]] = [("TreeRNN, loop tree", TreeRNN(), trees)]
    for label, features in (("loops", loops), ("knobs", KnobFeatures(subject.space)), ("knobs + estimate", estimated)):
        contenders += [(f"{objective}, {label}", XGBoostModel(objective), features) for objective in OBJECTIVES]
    rows: list[list[object]] = []
    many = subject.space.valid_indices().tolist()
    for label, model, features in contenders:
        started = time.process_time()
        model.fit(features(points[train].tolist()), costs[train])
        fitted = time.process_time()
        model.predict(features(many))
        speed = len(many) / (time.process_time() - fitted)
        scores = model.predict(features(points[test].tolist()))
        quality = rank_correlation(scores, -costs[test])
        cells = [f"{quality:.3f}", f"{1000 * (fitted - started):.0f}", f"{speed:,.0f}"]
        rows.append([f"{subject.operator.name} {label}", len(train), *cells])
    return rows


@click.command()
@click.option("--config", "config_name", default="pynq-z1", show_default=True)
@click.option("--operator", "names", multiple=True, default=("C2", "C7", "C12"), show_default=True)
@click.option("--trials", default=96, show_default=True)
@click.option("--seeds", default=3, show_default=True)
@click.option("--workers", default=1, show_default=True)
@click.option("--db", "path", type=click.Path(path_type=Path), default=Path("out/tuning.jsonl"), show_default=True)
@click.option(
    "--fill",
    "fill_seconds",
    type=click.FloatRange(min=0, min_open=True),
    metavar="S",
    help="Only measure points that the database lacks, all of every space in the end, for so many seconds.",
)
@click.option("--write", is_flag=True, help="Put the section into RESULTS.md and draw the picture beside it.")
def main(
    config_name: str,
    names: Sequence[str],
    trials: int,
    seeds: int,
    workers: int,
    path: Path,
    fill_seconds: float | None,
    write: bool,
) -> None:
    """Best schedule by number of trials: random, genetic and learned search."""
    config = Config.load(config_name)
    path.parent.mkdir(parents=True, exist_ok=True)
    database = Database(path)
    if fill_seconds is not None:
        with process_measurer(config, workers, 120.0) as measurer:
            left = fill([Subject.of(name, config) for name in names], fill_seconds, measurer, database)
        click.echo(f"{left:,} points are not measured yet", err=True)
        return
    found: dict[str, tuple[Curves, float, float]] = {}
    rows: list[list[object]] = []
    models: list[list[object]] = []
    sizes: list[str] = []
    with process_measurer(config, workers, 120.0) as measurer:
        for name in names:
            subject = Subject.of(name, config)
            task, space = subject.task, subject.space
            (default,), _ = measured_costs(task, [task.default], measurer, database)
            least = optimum(task, database)
            curves: Curves = {}
            for label, make in EXPLORERS.items():
                runs = [curve(task, make(subject, seed), trials, measurer, database, least) for seed in range(seeds)]
                curves[label] = np.array(runs)
                click.echo(f"{name} {label}: {[f'{run[-1]:,.0f}' for run in runs]}", err=True)
            record = database.best(subject.task.key)
            best = default if record is None or record.cost is None else record.cost
            found[name] = (curves, default, best)
            sizes.append(f"{name} {len(space):,}" + ("" if least is None else " (all of them measured)"))
            rows += rows_of(name, curves, default, best)
            models += model_rows(subject, database)
    header = ["operator, explorer", "gain over default", "cost / best known", "trials to equal the default",
              "to within 1 % of the best", "to equal random's best"]  # fmt: skip
    model_header = ["operator, objective, features", "trained on", "rank correlation", "fit ms", "scored a second"]
    text = (
        f"Convolutions of the paper's table 2 on {config.name}, alone, measured by the cycle simulator; {trials} "
        f"trials, medians of {seeds} seeds, {BATCH} points measured together. The explorers start from nothing, except "
        "that `+ estimate` knows the estimate by which the compiler chooses its default. Schedules in the spaces: "
        f"{', '.join(sizes)}. Where all are measured, the best known is the best there is, and where random search "
        "tries most of them nobody can end better.\n\n![best schedule by number of trials](tuning.png)\n\n"
        f"{table(header, rows)}\n\nCost models, trained on {TRAINED_ON} random points and tested on all others that "
        "were measured. Fit and score (features and prediction of every point of the space) in processor time, one "
        "thread.\n\n"
        f"{table(model_header, models)}"
    )
    if write:
        picture(found).savefig(PICTURE, dpi=110)
    publish(f"Tuning on {config.name}", text, write=write)


if __name__ == "__main__":
    main()
