"""A tuning: never worse than the default, resumed from the database, several on one file."""

from __future__ import annotations

import math
import multiprocessing
import resource
import signal
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from compiler.tune.database import Database
from compiler.tune.declaration import declare
from compiler.tune.errors import DatabaseError
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


def _tune_slowly(path: Path, together: Barrier) -> None:
    def measure(point: int) -> Cost:
        time.sleep(0.01)
        return Counting()(point)

    together.wait()
    found = tune(task(), RandomSearch(SPACE, 1), InlineMeasurer(measure), Database(path), trials=30)
    assert found.trials == 30


def test_two_tuners_at_once_lose_nothing_and_record_nothing_twice(tmp_path: Path) -> None:
    path, context = tmp_path / "t.jsonl", multiprocessing.get_context("fork")
    together = context.Barrier(2)
    tuners = [context.Process(target=_tune_slowly, args=(path, together)) for _ in range(2)]
    for tuner in tuners:
        tuner.start()
    for tuner in tuners:
        tuner.join()
        assert tuner.exitcode == 0
    database = Database(path)
    alone = tune(task(), RandomSearch(SPACE, 1), InlineMeasurer(Counting()), trials=30)
    assert len(database) == len(database.query()) == 30 and database.damaged == 0
    best = database.best(task().key)
    assert best is not None and best.cost == alone.best_cost


def test_a_full_disk_ends_the_tuning_and_loses_nothing(tmp_path: Path) -> None:
    database, first = Database(tmp_path / "t.jsonl"), Counting()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))
    try:
        with pytest.raises(DatabaseError, match="cannot write .*: File too large"):
            tune(task(), RandomSearch(SPACE, 5), InlineMeasurer(first), database, trials=40)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    kept = Database(database.path)
    assert 9 <= len(kept) <= len(first.points) - 8 and kept.damaged == 0  # whole batches
    second = Counting()
    found = tune(task(), RandomSearch(SPACE, 5), InlineMeasurer(second), kept, trials=40)
    assert found.trials == 40 and found.measured == len(second.points) == 40 - len(first.points) + 8
    assert len(Database(database.path)) == 40
