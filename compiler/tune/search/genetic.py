"""Genetic search: children of the best points measured, by crossover and mutation of their knobs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compiler.tune.search.explorer import Seen
from compiler.tune.space import ConfigSpace


class GeneticSearch:
    """A population of measured points, bred by their measured costs.

    Args:
        population: points of the first, random generation, and parents that later ones are bred from.
        mutation: chance that a knob of a child is drawn anew.
        elite: the share of the population, the best of it, that has children.
    """

    def __init__(
        self, space: ConfigSpace, seed: int = 0, population: int = 32, mutation: float = 0.1, elite: float = 0.5
    ) -> None:
        self._seen = Seen(space)
        self._rng = np.random.default_rng(seed)
        self._population, self._mutation = population, mutation
        self._parents = max(2, int(population * elite))

    def propose(self, count: int) -> list[int]:
        """Children while there are parents, else random points."""
        parents = self._seen.best(self._parents)
        if len(self._seen.costs) < self._population or len(parents) < 2:
            return self._seen.draw(count, self._rng)
        weights = 1.0 / np.arange(1, len(parents) + 1)  # by rank: costs of different scales breed alike
        weights /= weights.sum()
        out: list[int] = []
        for _ in range(count * 20):
            if len(out) == count:
                break
            a, b = (parents[int(p)] for p in self._rng.choice(len(parents), 2, replace=False, p=weights))
            child = self._child(a, b)
            if child in self._seen.space and self._seen.is_new(child):
                self._seen.proposed.add(child)
                out.append(child)
        return out + self._seen.draw(count - len(out), self._rng)

    def _child(self, a: int, b: int) -> int:
        space = self._seen.space
        digits = []
        for knob, x, y in zip(space.knobs, space.digits(a), space.digits(b), strict=True):
            digit = x if self._rng.random() < 0.5 else y
            if self._rng.random() < self._mutation:
                digit = int(self._rng.integers(len(knob.values)))
            digits.append(digit)
        return space.number(digits)

    def observe(self, indices: Sequence[int], costs: Sequence[float]) -> None:
        """The costs that the next generation is bred by."""
        self._seen.observe(indices, costs)
