"""One tuning: an explorer proposes, a measurer measures, the database remembers.

The default schedule is measured first, so the best point is never slower than it.  What the database knows is taken
from there and not measured again: an interrupted tuning goes on where it stopped, and two tuners on one database share
their work.  What other versions found best is tried before the explorer is asked.
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
        key: workload, target, machine, version.
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


class Tuning:
    """A tuning that goes on batch by batch (:meth:`step`), the default schedule first.

    Args:
        trials: points to try, the default among them.
        batch: points proposed and measured together.
        deterministic: costs do not vary, as a simulator's: a point in the database, success or failure, is not
            measured again.
        first: points to try after the default, before the explorer is asked (:mod:`compiler.tune.outdated`).
    """

    def __init__(
        self,
        task: Task,
        explorer: Explorer,
        measurer: Measurer,
        database: Database | None = None,
        *,
        trials: int = 64,
        batch: int = 8,
        deterministic: bool = True,
        first: Sequence[int] = (),
    ) -> None:
        self.outcome = Outcome(task)
        self._first = [point for point in first if point != task.default]
        self._explorer, self._measurer, self._database = explorer, measurer, database
        self._trials, self._batch, self._deterministic = trials, batch, deterministic
        self.done = False

    def step(self) -> None:
        """Try the next batch; ``done`` tells when there is none.

        Raises DatabaseError when a result cannot be saved, MeasureError when nothing can be measured.
        """
        started = time.monotonic()
        outcome, task = self.outcome, self.outcome.task
        wanted = min(self._batch, self._trials - outcome.trials)
        if not outcome.trials:
            points = [task.default]
        elif self._first:
            points, self._first = self._first[: max(0, wanted)], self._first[max(0, wanted) :]
        else:
            points = self._explorer.propose(wanted) if wanted > 0 else []
        if points:
            costs, results = measured_costs(
                task, points, self._measurer, self._database, deterministic=self._deterministic
            )
            outcome.measured += len(results)
            outcome.failed += sum(result.cost is None for result in results)
            self._explorer.observe(points, costs)
            for point, cost in zip(points, costs, strict=True):
                if point == task.default:
                    outcome.default_cost = cost
                if cost < outcome.best_cost:
                    outcome.best_cost, outcome.best = cost, point
                outcome.curve.append(outcome.best_cost)
        self.done = not points or outcome.trials >= self._trials
        outcome.seconds += time.monotonic() - started


def measured_costs(
    task: Task, points: Sequence[int], measurer: Measurer, database: Database | None, *, deterministic: bool = True
) -> tuple[list[float], list[Result]]:
    """The points' costs, infinity for failures, and the results of those that had to be measured, which are saved.

    Raises DatabaseError when a result cannot be saved, MeasureError when nothing can be measured.
    """
    knobs: list[Mapping[str, Any]] = [task.space.values(point) for point in points]
    records: list[Record | None] = [None] * len(points)
    if database is not None and deterministic:
        database.refresh()
        records = [database.find(task.key, values) for values in knobs]
    new = [k for k, record in enumerate(records) if record is None]
    results = measurer.measure([task.job(points[k]) for k in new])
    costs = [math.inf if record is None or record.cost is None else record.cost for record in records]
    for k, result in zip(new, results, strict=True):
        costs[k] = math.inf if result.cost is None else result.cost
    if database is not None:
        found = [_record(task, knobs[k], result) for k, result in zip(new, results, strict=True)]
        database.append(found, new_only=deterministic)
    return costs, results


def _record(task: Task, knobs: Mapping[str, Any], result: Result) -> Record:
    workload, target, machine, kit = task.key
    return Record(
        workload, target, machine, kit, knobs, result.cost, task.unit, result.error, result.trace, result.seconds
    )


def tune(
    task: Task,
    explorer: Explorer,
    measurer: Measurer,
    database: Database | None = None,
    *,
    trials: int = 64,
    batch: int = 8,
    deterministic: bool = True,
    watch: Callable[[Outcome], None] | None = None,
) -> Outcome:
    """A whole :class:`Tuning`.  ``watch``: told after each batch."""
    tuning = Tuning(task, explorer, measurer, database, trials=trials, batch=batch, deterministic=deterministic)
    while not tuning.done:
        tuning.step()
        if watch is not None:
            watch(tuning.outcome)
    return tuning.outcome
