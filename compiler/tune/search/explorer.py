"""What every explorer does: propose points, and hear what they cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from compiler.tune.space import ConfigSpace


class Explorer(Protocol):
    """Proposes points that were not seen yet, and learns from their costs."""

    def propose(self, count: int) -> list[int]:
        """Up to ``count`` new points; none when the space is exhausted."""
        ...

    def observe(self, indices: Sequence[int], costs: Sequence[float]) -> None:
        """Costs of measured points (infinity: it failed), whoever proposed them."""
        ...


class Seen:
    """The points measured or proposed, and their costs."""

    def __init__(self, space: ConfigSpace) -> None:
        self.space = space
        self.costs: dict[int, float] = {}
        self.proposed: set[int] = set()

    def observe(self, indices: Sequence[int], costs: Sequence[float]) -> None:
        """Remember costs."""
        for index, cost in zip(indices, costs, strict=True):
            self.costs[int(index)] = float(cost)
            self.proposed.add(int(index))

    def is_new(self, index: int) -> bool:
        """Whether a point was neither measured nor proposed."""
        return index not in self.proposed

    def best(self, count: int) -> list[int]:
        """The cheapest points measured, cheapest first."""
        finite = [i for i, cost in self.costs.items() if math.isfinite(cost)]
        return sorted(finite, key=lambda i: (self.costs[i], i))[:count]

    def draw(self, count: int, rng: np.random.Generator) -> list[int]:
        """Up to ``count`` new points drawn evenly, and marked as proposed."""
        if self.space.enumerable:
            valid = self.space.valid_indices()
            left = valid[[self.is_new(int(i)) for i in valid]]
            out = [int(i) for i in rng.choice(left, min(count, left.size), replace=False)] if left.size else []
        else:
            out = [i for i in self.space.sample(count + 16, rng) if self.is_new(i)][:count]
        self.proposed.update(out)
        return out
