"""The learned explorer: a cost model trained on what was measured, searched by simulated annealing.

A batch is chosen from the points that the annealing visited: greedily the best score, with a bonus for values of knobs
that the batch does not hold yet, and a share of random points, since a model is only as good as what it has seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from compiler.tune.cost_model import CostModel
from compiler.tune.search.annealing import SimulatedAnnealing
from compiler.tune.search.explorer import Seen
from compiler.tune.space import ConfigSpace

Features = Callable[[Sequence[int]], np.ndarray]
"""Features of points, float32 [points, features]."""


REFIT = 1.1
"""A model is trained again when there are so many times more measurements: what few new ones change is soon little."""


class ModelGuidedSearch:
    """Search by a cost model.

    Args:
        features: of points of the space.
        model: trained anew once ``first`` points have been measured, and whenever there are a tenth more than at the
            last training. A model that comes trained (transferred from another workload) is used from the first batch
            on.
        first: points measured before the model is trained: ``start``, then random ones.
        start: points that are thought to be good, to begin with.
        epsilon: share of every batch that is drawn evenly.
        diversity: worth of a knob value that is new to the batch, in standard deviations of the scores.
    """

    def __init__(
        self,
        space: ConfigSpace,
        features: Features,
        model: CostModel,
        seed: int = 0,
        *,
        first: int = 8,
        epsilon: float = 0.1,
        diversity: float = 0.1,
        start: Sequence[int] = (),
        annealing: SimulatedAnnealing | None = None,
    ) -> None:
        self._seen = Seen(space)
        self._rng = np.random.default_rng(seed)
        self._features, self.model = features, model
        self._first, self._epsilon, self._diversity = first, epsilon, diversity
        self._annealing = annealing or SimulatedAnnealing(space, seed)
        self._rows: dict[int, np.ndarray] = {}
        self._fitted = 0
        self._start = [int(point) for point in start]

    def propose(self, count: int) -> list[int]:
        """The batch that the model expects most of, with random points among it."""
        first = [point for point in self._start if self._seen.is_new(point)][:count]
        if first:
            self._seen.proposed.update(first)
            return first + self._seen.draw(count - len(first), self._rng)
        measured = list(self._seen.costs)
        if len(measured) >= max(self._first, REFIT * self._fitted):
            self._fitted = len(measured)
            self.model.fit(self._matrix(measured), np.array([self._seen.costs[i] for i in measured]))
        if not self.model.trained:
            return self._seen.draw(count, self._rng)
        self._annealing.restart(self._seen.best(8))
        visited = self._annealing.run(lambda points: self.model.predict(self._matrix(points)))
        scores = {i: s for i, s in visited.items() if self._seen.is_new(i)}
        chosen = self._diverse(scores, count - self._random_share(count))
        self._seen.proposed.update(chosen)
        return chosen + self._seen.draw(count - len(chosen), self._rng)

    def _random_share(self, count: int) -> int:
        """Points of the batch that are drawn evenly: ``epsilon`` of it on average."""
        return int(self._rng.binomial(count, self._epsilon))

    def _matrix(self, points: Sequence[int]) -> np.ndarray:
        new = [p for p in points if p not in self._rows]
        if new:
            self._rows.update(zip(new, self._features(new), strict=True))
        return np.stack([self._rows[p] for p in points])

    def _diverse(self, scores: Mapping[int, float], count: int) -> list[int]:
        """Greedy choice of ``count`` points by score and by values of knobs not chosen yet."""
        if not scores or count < 1:
            return []
        points = sorted(scores, key=lambda i: (-scores[i], i))[: max(4 * count, 64)]
        value = np.array([scores[i] for i in points])
        digits = self._seen.space.digit_matrix(points)
        bonus = self._diversity * float(np.std(list(scores.values())))
        held: list[set[int]] = [set() for _ in range(digits.shape[1])]
        chosen: list[int] = []
        left = np.ones(len(points), bool)
        while left.any() and len(chosen) < count:
            new = np.zeros(len(points))
            for k, seen in enumerate(held):
                new += ~np.isin(digits[:, k], list(seen))
            best = int(np.argmax(np.where(left, value + bonus * new, -np.inf)))
            left[best] = False
            chosen.append(points[best])
            for k, seen in enumerate(held):
                seen.add(int(digits[best, k]))
        return chosen

    def observe(self, indices: Sequence[int], costs: Sequence[float]) -> None:
        """Costs that the model learns from."""
        self._seen.observe(indices, costs)
