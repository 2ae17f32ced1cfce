"""The paper's figure 12 on this machine's processor, best schedule by trials: ``python -m benchmarks.tuning_cpu``.

Times of schedules are kept in one table (a tuning database), which all explorers and seeds share: what one of them has
had measured the others find there, so that they are compared on the same times. ``--fill S`` measures points that the
table lacks, for S seconds; without it, what the explorers ask for is measured when it is missing. The best points are
measured again, several times, before the explorers search, and the least of all times counts.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import click
import numpy as np

from benchmarks.common import publish, table
from benchmarks.tuning import BATCH, OBJECTIVES, Curves, curve, picture, rank_correlation, rows_of
from compiler.backend.llvm.cache import VARIABLE
from compiler.ir import PrimFunc
from compiler.tune.cost_model import XGBoostModel
from compiler.tune.database import Database, point_text
from compiler.tune.features import KnobFeatures, ProgramFeatures
from compiler.tune.measure import Cost, Measurer, ProcessMeasurer
from compiler.tune.search import Explorer, GeneticSearch, ModelGuidedSearch, RandomSearch
from compiler.tune.search.model_guided import Features
from compiler.tune.space import ConfigSpace
from compiler.tune.timing import KernelSeconds
from compiler.tune.tuner import Task, measured_costs
from vdla.models.layers import layer_model
from vdla.tune.cpu import CpuGroup, KernelJob, LoadedStep, groups_of, kernel_job, loops_of, reference_group
from vdla.tune.kernels import key_of, machine_key

PICTURE = Path(__file__).with_name("tuning_cpu.png")
FINALISTS = 100
"""Points of a space, the best of it, that are measured again."""
TESTED = 400
"""Points that cost models are trained and tested on, together."""

EXPLORERS: dict[str, Callable[[ConfigSpace, int], Explorer]] = {
    "random": RandomSearch,
    "genetic": GeneticSearch,
    "model": lambda space, seed: ModelGuidedSearch(space, KnobFeatures(space), XGBoostModel(seed=seed), seed),
}


@dataclass
class PointSeconds:
    """The measure function: a job is a layer, a point of its convolution's space and a turn; compiled and timed in the
    process that measures, so that two processes compile side by side."""

    reference: KernelJob
    _timed: KernelSeconds | None = field(default=None, init=False, repr=False)
    _groups: dict[str, CpuGroup] = field(default_factory=dict, init=False, repr=False)

    def __call__(self, job: tuple[str, int, int]) -> Cost:
        layer, point, _ = job
        if self._timed is None:
            self._timed = KernelSeconds(self.reference, LoadedStep)
        if layer not in self._groups:
            self._groups[layer] = convolution_of(layer)
        return self._timed(kernel_job(self._groups[layer], point))


def convolution_of(layer: str) -> CpuGroup:
    """The group of a layer's convolution."""
    return next(g for g in groups_of(layer_model(layer)) if any(n.op == "conv2d" for n in g.group.nodes))


def task_of(layer: str, group: CpuGroup, turn: int = 0) -> Task:
    """The tuning of a layer's convolution; each turn has records of its own."""
    name, target, machine, kit = key_of(group.group, machine_key())
    key = (name, f"{target}/turn {turn}" if turn else target, machine, kit)
    return Task(layer, key, group.space, int(group.space.valid_indices()[0]), "seconds", lambda p: (layer, p, turn))


def fill(task: Task, until: float, measurer: Measurer, database: Database) -> int:
    """Measure points that the table lacks, in an order drawn once, until a time; how many it lacks then."""
    known = {r.point for r in database.query(*task.key)}
    left = [p for p in task.space.valid_indices().tolist() if point_text(task.space.values(p)) not in known]
    left = np.random.default_rng(0).permutation(left).tolist()
    while left and time.monotonic() < until:
        measured_costs(task, left[:BATCH], measurer, database)
        left = left[BATCH:]
    return len(left)


def costs_of(task: Task, database: Database) -> dict[int, float]:
    """What the table knows of a task; infinity for failures."""
    records = database.query(*task.key)
    return {task.space.find(r.knobs).index: np.inf if r.cost is None else r.cost for r in records}


def settle(layer: str, group: CpuGroup, turns: int, measurer: Measurer, database: Database, path: Path) -> Database:
    """Measure the best points again; a table at ``path`` with the least time of each point."""
    task = task_of(layer, group)
    known = costs_of(task, database)
    best = sorted(known, key=lambda p: (known[p], p))[:FINALISTS]
    for turn in range(1, turns + 1):
        again = task_of(layer, group, turn)
        costs, _ = measured_costs(again, [*best, task.default], measurer, database)
        for point, cost in zip([*best, task.default], costs, strict=True):
            known[point] = min(known.get(point, np.inf), cost)
    settled = Database(path)
    settled.append(
        [
            replace(r, cost=known[task.space.find(r.knobs).index])
            for r in database.query(*task.key)
            if r.cost is not None
        ]
    )
    return settled


def model_rows(layer: str, group: CpuGroup, known: dict[int, float]) -> list[list[object]]:
    """Cost models on points they have not seen: trained on half of some that were measured, tested on the others."""
    rng = np.random.default_rng(0)
    points = rng.permutation([p for p, cost in known.items() if np.isfinite(cost)])[:TESTED].tolist()
    train, test = points[: len(points) // 2], points[len(points) // 2 :]

    def loops(point: int) -> PrimFunc:
        return loops_of(group, point)

    rows: list[list[object]] = []
    features: dict[str, Features] = {"knobs": KnobFeatures(group.space), "loops": ProgramFeatures(loops)}
    for name, columns in features.items():
        for objective in OBJECTIVES:
            model = XGBoostModel(objective)
            model.fit(columns(train), np.array([known[p] for p in train]))
            quality = rank_correlation(model.predict(columns(test)), -np.array([known[p] for p in test]))
            rows.append([f"{layer} {objective}, {name}", len(train), f"{quality:.3f}"])
    return rows


@click.command()
@click.option("--layer", "names", multiple=True, default=("C2", "C7", "C12", "D5"), show_default=True)
@click.option("--seeds", default=5, show_default=True)
@click.option("--trials", default=800, show_default=True)
@click.option("--workers", default=2, show_default=True, help="Processes that compile and measure.")
@click.option("--turns", default=2, show_default=True, help="How often the best points are measured again.")
@click.option("--fill", "seconds", type=float, metavar="S", help="Only fill the table, for so many seconds.")
@click.option("--db", "path", type=click.Path(path_type=Path), default=Path("out/tuning_cpu.jsonl"), show_default=True)
@click.option("--write", is_flag=True, help="Put the section into RESULTS.md and draw the picture beside it.")
def main(
    names: Sequence[str],
    seeds: int,
    trials: int,
    workers: int,
    turns: int,
    seconds: float | None,
    path: Path,
    write: bool,
) -> None:
    """Best schedule by number of trials on the CPU: random, genetic and learned search."""
    os.environ[VARIABLE] = ""  # thousands of kernels that nobody asks for again
    path.parent.mkdir(parents=True, exist_ok=True)
    database = Database(path)
    reference = kernel_job(reference_group(), 0)
    with ProcessMeasurer(PointSeconds(reference), workers, 120.0) as measurer:
        if seconds is not None:
            until = time.monotonic() + seconds
            for name in names:
                left = fill(task_of(name, convolution_of(name)), until, measurer, database)
                click.echo(f"{name}: {left:,} points are not measured yet", err=True)
            return
        with tempfile.TemporaryDirectory() as folder:
            text = _report(names, seeds, trials, turns, measurer, database, Path(folder), write)
    publish("Tuning on this processor", text, write=write)


def _report(
    names: Sequence[str],
    seeds: int,
    trials: int,
    turns: int,
    measurer: Measurer,
    database: Database,
    folder: Path,
    write: bool,
) -> str:
    found: dict[str, tuple[Curves, float, float]] = {}
    rows: list[list[object]] = []
    sizes: list[list[object]] = []
    models: list[list[object]] = []
    for name in names:
        group = convolution_of(name)
        task = task_of(name, group)
        measured_costs(task, [task.default], measurer, database)  # no explorer has to ask for it
        for label, make in EXPLORERS.items():  # so that all of them have measured what they ask for
            for seed in range(seeds):
                if len(costs_of(task, database)) == len(group.space):
                    break
                curve(task, make(group.space, seed), trials, measurer, database)
                click.echo(f"{name} {label}: {len(costs_of(task, database)):,} points measured", err=True)
        settled = settle(name, group, turns, measurer, database, folder / name)
        curves: Curves = {}
        for label, make in EXPLORERS.items():
            found_by = [curve(task, make(group.space, seed), trials, measurer, settled) for seed in range(seeds)]
            curves[label] = np.array(found_by)
        known = costs_of(task, settled)
        default, best = known[task.default], min(known.values())
        found[name] = (curves, default, best)
        rows += rows_of(name, curves, default, best)
        models += model_rows(name, group, known)
        excluded = _excluded(group.space)
        best_point = group.space.values(min(known, key=lambda p: known[p]))
        sizes.append([name, f"{len(group.space):,}", f"{len(known):,}", excluded, _differences(group, best_point)])
    header = ["layer, explorer", "gain over default", "cost / best known", "trials to equal the default",
              "to within 1 % of the best", "to equal random's best"]  # fmt: skip
    if write:
        picture(found).savefig(PICTURE, dpi=110)
    return (
        f"Convolutions of the paper's table 2 and of MobileNet with a rectifier, float32, on "
        f"{os.environ.get('VDLA_NUM_THREADS', 'all')} threads; {trials} trials, medians of {seeds} seeds, {BATCH} "
        "points together. All search the same table of times; the best "
        f"{FINALISTS} of it were measured {turns} times more.\n\n"
        "![best schedule by number of trials](tuning_cpu.png)\n\n"
        f"{table(header, rows)}\n\nThe spaces, and what the best schedule does otherwise than the default. A point "
        "counts for one of the rules that exclude it.\n\n"
        f"{table(['layer', 'schedules', 'measured', 'excluded', 'best schedule'], sizes)}\n\n"
        f"Cost models, trained on half of {TESTED} points and tested on the other half.\n\n"
        f"{table(['layer, objective, features', 'trained on', 'rank correlation'], models)}"
    )


def _excluded(space: ConfigSpace) -> str:
    """Points that each rule takes out; the decisions that another algorithm does not have are put together."""
    counts: Counter[str] = Counter()
    for rule, count in space.removed().items():
        counts["decisions of other algorithms" if ": " in rule else rule] += count
    return ", ".join(f"{rule}: {count:,}" for rule, count in counts.items() if count)


def _differences(group: CpuGroup, values: dict[str, object]) -> str:
    default = group.space.values(int(group.space.valid_indices()[0]))
    changed = [f"{name} {value}" for name, value in values.items() if value != default[name]]
    return ", ".join(changed) or "none"


if __name__ == "__main__":
    main()
