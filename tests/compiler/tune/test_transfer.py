"""What a cost model starts from: measurements of other workloads, joined by the knobs' names."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from compiler.tune.cost_model import XGBoostModel
from compiler.tune.database import Database, Record
from compiler.tune.declaration import declare
from compiler.tune.errors import TuneError
from compiler.tune.features import KnobFeatures
from compiler.tune.search import ModelGuidedSearch
from compiler.tune.space import ConfigSpace, Knobs
from compiler.tune.transfer import LEAST, Prior, PriorFeatures, PriorScores


def template(knobs: Knobs, width: int) -> None:
    knobs.choice("tile", [v for v in range(1, width + 1) if width % v == 0])
    knobs.choice("order", ("ij", "ji"))
    knobs.choice("threads", ((1, "h"), (2, "h"), (2, "w")))


def other(knobs: Knobs) -> None:
    knobs.choice("something else", tuple(range(9)))


def cost(values: dict[str, object], width: int) -> float:
    """Best: a quarter of the width, ji, two threads; ten times a workload's width."""
    tile, (count, _) = values["tile"], values["threads"]  # type: ignore[misc]
    far = abs(math.log2(4 * tile / width))  # type: ignore[operator]
    return 10.0 * width * (1.0 + far + 0.5 * (values["order"] == "ij") + 0.3 * (count == 1))


def key(width: int) -> tuple[str, str, str, str]:
    return (f"w{width}", "cycles here", "m", "1")


def records(space: ConfigSpace, width: int, count: int, start: float) -> list[Record]:
    points = np.random.default_rng(width).permutation(space.valid_indices())[:count]
    values = [space.values(int(p)) for p in points]
    return [Record(*key(width), v, cost(v, width), "cycles", time=start + k) for k, v in enumerate(values)]


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(np.argsort(np.argsort(a)), np.argsort(np.argsort(b)))[0, 1])


def test_other_widths_order_this_one(tmp_path: Path) -> None:
    database = Database(tmp_path / "t.jsonl")
    for width in (64, 256):
        database.append(records(declare(template, width), width, 30, 0.0))
    space = declare(template, 1024)
    prior = Prior.of(database, key(1024), space)
    assert prior is not None and (prior.source.workloads, prior.source.records) == (2, 60)
    points = space.valid_indices().tolist()
    truth = np.array([cost(space.values(p), 1024) for p in points])
    scores = prior(points)
    assert spearman(scores, -truth) > 0.9
    assert truth[int(np.argmax(scores))] <= np.sort(truth)[4]
    features = PriorFeatures(KnobFeatures(space), prior)
    search = ModelGuidedSearch(space, features, XGBoostModel(base=PriorScores()), epsilon=0.0)
    first = search.propose(8)
    assert min(cost(space.values(p), 1024) for p in first) == truth.min()
    search.observe(first, [cost(space.values(p), 1024) for p in first])
    assert len(search.propose(8)) == 8  # with trees of its own now
    with pytest.raises(TuneError, match="cannot be saved alone"):
        search.model.save(tmp_path / "model.json")  # type: ignore[attr-defined]


def test_a_tuning_that_goes_on_starts_from_the_same(tmp_path: Path) -> None:
    database = Database(tmp_path / "t.jsonl")
    small, space = declare(template, 64), declare(template, 256)
    database.append(records(small, 64, 20, 0.0))
    before = Prior.of(database, key(256), space)
    database.append(records(space, 256, 10, 100.0))
    database.append(records(declare(template, 16), 16, 12, 200.0))  # measured since
    after = Prior.of(database, key(256), space)
    assert before is not None and after is not None and after.source == before.source
    points = space.valid_indices().tolist()
    assert np.array_equal(before(points), after(points))


def test_nothing_to_start_from(tmp_path: Path) -> None:
    database = Database(tmp_path / "t.jsonl")
    space = declare(template, 64)
    assert Prior.of(database, key(64), space) is None
    database.append(records(space, 64, 30, 0.0))  # its own
    database.append(records(declare(template, 16), 16, LEAST - 1, 0.0))  # few
    database.append([Record(*key(32), {"tile": 1}, None, "cycles", "failed", time=0.0) for _ in range(30)])
    assert Prior.of(database, key(64), space) is None
    database.append(records(declare(template, 256), 256, 30, -50.0))
    assert Prior.of(database, key(64), space) is not None
    assert Prior.of(database, key(64), declare(other)) is None  # no knob in common
    assert Prior.of(database, ("w", "seconds there", "m", "1"), space) is None  # another way to measure
