"""Explorers: seeded, never the same point twice, and better the more they know."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from compiler.tune.cost_model import XGBoostModel
from compiler.tune.declaration import declare
from compiler.tune.features import KnobFeatures
from compiler.tune.search import (
    ExhaustiveSearch,
    Explorer,
    GeneticSearch,
    ModelGuidedSearch,
    RandomSearch,
    SimulatedAnnealing,
)
from compiler.tune.space import ConfigSpace, Knobs


def template(knobs: Knobs) -> None:
    knobs.split("a", 96, 3)
    knobs.choice("u", (0, 1, 2, 4, 8))
    knobs.choice("n", ("x", "y", "z"))
    knobs.require("small", lambda at: at["a"][2] <= 16)


SPACE = declare(template)


def cost(index: int) -> float:
    """Interacting knobs; a corner of the space fails."""
    at = SPACE.values(index)
    _, b, c = at["a"]
    if b > 32:
        return math.inf
    bias = {"x": at["u"], "y": 2.0, "z": 3.0}[at["n"]]
    return 10 + 3 * abs(math.log2(c) - 3) + 2 * abs(math.log2(b) - 2) + bias + abs(at["u"] - 4)


def guided(space: ConfigSpace, seed: int, objective: str = "rank") -> ModelGuidedSearch:
    model = XGBoostModel(objective, seed, rounds=30)
    annealing = SimulatedAnnealing(space, seed, chains=16, steps=20)
    return ModelGuidedSearch(space, KnobFeatures(space), model, seed, first=16, annealing=annealing)


MAKERS: dict[str, Callable[[int], Explorer]] = {
    "random": lambda seed: RandomSearch(SPACE, seed),
    "genetic": lambda seed: GeneticSearch(SPACE, seed, population=16),
    "exhaustive": lambda seed: ExhaustiveSearch(SPACE),
    "rank": lambda seed: guided(SPACE, seed),
    "regression": lambda seed: guided(SPACE, seed, "regression"),
}


def search(explorer: Explorer, trials: int) -> list[int]:
    points: list[int] = []
    while len(points) < trials:
        batch = explorer.propose(8)
        explorer.observe(batch, [cost(i) for i in batch])
        if not batch:
            break
        points += batch
    return points


@pytest.mark.parametrize("name", MAKERS)
def test_seeded_valid_and_never_twice(name: str) -> None:
    first, again = (search(MAKERS[name](3), 64) for _ in range(2))
    assert first == again
    assert len(first) == len(set(first)) == 64
    assert all(i in SPACE for i in first)
    if name != "exhaustive":
        assert search(MAKERS[name](4), 64) != first


@pytest.mark.parametrize("name", ["random", "genetic", "exhaustive", "rank"])
def test_a_small_space_is_exhausted(name: str) -> None:
    def small(knobs: Knobs) -> None:
        knobs.choice("a", (1, 2, 3))
        knobs.choice("b", (1, 2, 3, 4))
        knobs.require("not both", lambda at: at["a"] != at["b"])

    space = declare(small)
    maker: dict[str, Explorer] = {
        "random": RandomSearch(space),
        "genetic": GeneticSearch(space, population=4),
        "exhaustive": ExhaustiveSearch(space),
        "rank": ModelGuidedSearch(space, KnobFeatures(space), XGBoostModel(rounds=5), first=4),
    }
    explorer, points = maker[name], []
    explorer.observe([int(space.valid_indices()[0])], [3.0])  # measured by somebody else
    while batch := explorer.propose(4):
        explorer.observe(batch, [float(i) for i in batch])
        points += batch
    assert sorted(points) == space.valid_indices().tolist()[1:]


def test_learning_beats_chance() -> None:
    def best(name: str) -> float:
        return float(np.mean([min(map(cost, search(MAKERS[name](seed), 64))) for seed in range(3)]))

    optimum = min(map(cost, SPACE.valid_indices().tolist()))
    assert best("rank") <= optimum + 0.5
    assert best("rank") < best("random")
    assert best("genetic") < best("random")


def test_chains_go_on_where_they_were() -> None:
    annealing = SimulatedAnnealing(SPACE, 0, chains=8, steps=30)

    def score(points: object) -> np.ndarray:
        return -np.array([min(cost(i), 99.0) for i in points])  # type: ignore[attr-defined]

    visited = annealing.run(score)
    kept = list(annealing.points)
    assert all(i in SPACE for i in visited)
    assert np.mean([cost(i) for i in kept]) < np.mean([min(cost(i), 99.0) for i in SPACE.valid_indices().tolist()])
    annealing.restart([kept[3]])
    assert annealing.points[0] == kept[3] and set(annealing.points) <= set(kept)
    assert max(annealing.run(score).values()) >= max(score(kept))
