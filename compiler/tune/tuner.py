"""One tuning: an explorer proposes, a measurer measures, the database remembers.

The default schedule is measured first, so the best point is never slower than it.  What the database knows is taken
from there and not measured again: an interrupted tuning goes on where it stopped, and two tuners on one database share
their work.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from compiler.tune.database import Database, Key, Record
from compiler.tune.measure import Measurer, Result
from compiler.tune.search.explorer import Explorer
from compiler.tune.space import ConfigSpace


@dataclass(frozen=True)
class Task:
    """An operator to tune.

    Attributes:
        name: for people.
        key: workload, target, machine, kit version.
        space: its schedules.
        default: the point that is used without tuning.
        unit: of the costs.
        job: what the measurer gets for a point.
    """

    name: str
    key: Key
    space: ConfigSpace
    default: int
    unit: str
    job: Callable[[int], Any]


@dataclass
class Outcome:
    """What a tuning has found so far.

    ``curve``: the best cost after each trial.  ``measured``: trials that were not in the database already.
    """

    task: Task
    default_cost: float = math.inf
    best_cost: float = math.inf
    best: int | None = None
    curve: list[float] = field(default_factory=list)
    measured: int = 0
    failed: int = 0
    seconds: float = 0.0

    @property
    def trials(self) -> int:
        """Points tried."""
        return len(self.curve)

    @property
    def gain(self) -> float:
        """Cost of the default over the best one's."""
        return self.default_cost / self.best_cost if self.best_cost < math.inf else 1.0


Watch = Callable[[Outcome], None]


def tune(
    task: Task,
    explorer: Explorer,
    measurer: Measurer,
    database: Database | None = None,
    *,
    trials: int = 64,
    batch: int = 8,
    seconds: float = math.inf,
    deterministic: bool = True,
    watch: Watch | None = None,
) -> Outcome:
    """Try up to ``trials`` points (the default schedule is the first) for up to ``seconds``.

    Args:
        batch: points proposed and measured together.
        deterministic: costs do not vary, as a simulator's: a point in the database, success or failure, is not
            measured again.
        watch: told after each batch.

    Raises DatabaseError when a result cannot be saved, MeasureError when nothing can be measured.
    """
    started = time.monotonic()
    outcome = Outcome(task)
    if database is not None and deterministic:
        database.refresh()
    points = [task.default]
    while points:
        costs = _costs(task, points, measurer, database if deterministic else None, database, outcome)
        explorer.observe(points, costs)
        for point, cost in zip(points, costs, strict=True):
            if point == task.default:
                outcome.default_cost = cost
            if cost < outcome.best_cost:
                outcome.best_cost, outcome.best = cost, point
            outcome.curve.append(outcome.best_cost)
        outcome.seconds = time.monotonic() - started
        if watch is not None:
            watch(outcome)
        wanted = min(batch, trials - outcome.trials)
        points = explorer.propose(wanted) if wanted > 0 and outcome.seconds < seconds else []
    return outcome


def _costs(
    task: Task,
    points: Sequence[int],
    measurer: Measurer,
    known: Database | None,
    database: Database | None,
    outcome: Outcome,
) -> list[float]:
    """The points' costs, infinity for failures; new ones are measured and saved."""
    knobs: list[Mapping[str, Any]] = [task.space.values(point) for point in points]
    records = [None if known is None else known.find(task.key, values) for values in knobs]
    new = [k for k, record in enumerate(records) if record is None]
    results = measurer.measure([task.job(points[k]) for k in new])
    outcome.measured += len(new)
    costs = [math.inf if record is None or record.cost is None else record.cost for record in records]
    for k, result in zip(new, results, strict=True):
        costs[k] = math.inf if result.cost is None else result.cost
        outcome.failed += result.cost is None
    if database is not None:
        database.append([_record(task, knobs[k], result) for k, result in zip(new, results, strict=True)])
    return costs


def _record(task: Task, knobs: Mapping[str, Any], result: Result) -> Record:
    workload, target, machine, kit = task.key
    return Record(
        workload, target, machine, kit, knobs, result.cost, task.unit, result.error, result.trace, result.seconds
    )
