"""A tuning: never worse than the default, resumed from the database, several on one file."""

from __future__ import annotations

import math
from pathlib import Path

from compiler.tune.database import Database
from compiler.tune.declaration import declare
from compiler.tune.measure import Cost, InlineMeasurer
from compiler.tune.search import ExhaustiveSearch, RandomSearch
from compiler.tune.space import Knobs
from compiler.tune.tuner import Outcome, Task, tune


def template(knobs: Knobs) -> None:
    knobs.choice("x", tuple(range(10)))
    knobs.choice("y", tuple(range(5)))


SPACE = declare(template)


class Counting:
    """A measure function that counts; x = 7 fails."""

    def __init__(self) -> None:
        self.points: list[int] = []

    def __call__(self, point: int) -> Cost:
        self.points.append(point)
        at = SPACE.values(point)
        if at["x"] == 7:
            raise ValueError("seven")
        return Cost(100.0 + (at["x"] - 6) ** 2 + at["y"])


def task(default: int = 0) -> Task:
    return Task("t", ("w", "vdla", "m", "1"), SPACE, default, "cycles", lambda point: point)


def test_default_first_and_best_kept() -> None:
    measure = Counting()
    seen: list[int] = []
    found = tune(
        task(3), RandomSearch(SPACE, 1), InlineMeasurer(measure), trials=20, watch=lambda o: seen.append(o.trials)
    )
    assert measure.points[0] == 3 and found.default_cost == 109.0
    assert found.trials == 20 == found.measured and len(set(measure.points)) == 20
    assert found.curve == sorted(found.curve, reverse=True) and found.curve[-1] == found.best_cost <= 109.0
    assert seen == [1, 9, 17, 20]
    assert found.best is not None and Counting()(found.best).cost == found.best_cost


def test_a_default_that_is_best_stays() -> None:
    best = SPACE.find({"x": 6, "y": 0}).index
    found = tune(task(best), ExhaustiveSearch(SPACE), InlineMeasurer(Counting()), trials=1000)
    assert found.best == best and found.gain == 1.0 and found.trials == len(SPACE) and found.failed == 5


def test_resumed_without_measuring_twice(tmp_path: Path) -> None:
    database = Database(tmp_path / "t.jsonl")
    first, second = Counting(), Counting()

    class Interrupted(Exception):
        pass

    def interrupt(outcome: Outcome) -> None:
        if outcome.trials > 12:
            raise Interrupted

    try:
        tune(task(), RandomSearch(SPACE, 5), InlineMeasurer(first), database, trials=30, watch=interrupt)
    except Interrupted:
        pass
    assert len(database) == len(first.points) == 17
    found = tune(task(), RandomSearch(SPACE, 5), InlineMeasurer(second), Database(database.path), trials=30)
    assert found.trials == 30 and found.measured == len(second.points) == 13
    assert not set(first.points) & set(second.points)
    whole = tune(task(), RandomSearch(SPACE, 5), InlineMeasurer(Counting()), trials=30)
    assert whole.curve == found.curve


def test_two_tuners_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    a, b = Database(path), Database(path)
    tune(task(), RandomSearch(SPACE, 1), InlineMeasurer(Counting()), a, trials=25)
    measure = Counting()
    tune(task(), ExhaustiveSearch(SPACE), InlineMeasurer(measure), b, trials=len(SPACE))
    assert len(measure.points) == len(SPACE) - 25
    best = Database(path).best(task().key)
    assert best is not None and best.cost == 100.0


def test_everything_fails() -> None:
    seven = SPACE.find({"x": 7, "y": 0}).index
    found = tune(task(seven), RandomSearch(SPACE), InlineMeasurer(Counting()), trials=1)
    assert found.best is None and math.isinf(found.best_cost) and found.failed == 1 and found.gain == 1.0
