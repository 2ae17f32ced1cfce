"""Parallel simulated annealing over a cost model's scores; the chains go on from one round to the next."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from compiler.tune.space import ConfigSpace

Score = Callable[[Sequence[int]], np.ndarray]
"""Predicted scores of points, float [points]; higher is better."""


class SimulatedAnnealing:
    """Many chains that walk to nearby points and prefer higher scores.

    Args:
        chains: how many walk side by side (their scores are predicted together).
        steps: how many steps each takes in a round.
        temperature: at the start and at the end of a round, in standard deviations of the chains' scores.
    """

    def __init__(
        self,
        space: ConfigSpace,
        seed: int = 0,
        chains: int = 64,
        steps: int = 60,
        temperature: tuple[float, float] = (1.0, 0.0),
    ) -> None:
        self.space = space
        self._rng = np.random.default_rng(seed)
        self._chains, self._steps, self._temperature = chains, steps, temperature
        self.points: list[int] = []

    def restart(self, points: Sequence[int]) -> None:
        """Put chains on these points (the best ones measured) in place of as many others."""
        self.points = [*dict.fromkeys(int(p) for p in points), *self.points][: self._chains]

    def run(self, score: Score) -> dict[int, float]:
        """One round; returns every point visited with its score."""
        if len(self.points) < self._chains:
            self.points += self.space.sample(self._chains - len(self.points), self._rng)
        scores = np.asarray(score(self.points), float)
        visited = dict(zip(self.points, scores.tolist(), strict=True))
        start, end = self._temperature
        for step in range(self._steps):
            moved = [self.space.mutate(p, self._rng) for p in self.points]
            new = [p for p in dict.fromkeys(moved) if p not in visited]
            if new:
                visited.update(zip(new, np.asarray(score(new), float).tolist(), strict=True))
            proposed = np.array([visited[p] for p in moved])
            heat = (start + (end - start) * step / self._steps) * (scores.std() + 1e-9) + 1e-12
            chance = np.exp(np.minimum((proposed - scores) / heat, 0.0))
            accept = self._rng.random(len(moved)) < chance
            scores = np.where(accept, proposed, scores)
            self.points = [b if yes else a for a, b, yes in zip(self.points, moved, accept.tolist(), strict=True)]
        return visited
