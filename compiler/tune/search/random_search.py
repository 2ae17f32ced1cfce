"""Random search: points drawn evenly, none twice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compiler.tune.search.explorer import Seen
from compiler.tune.space import ConfigSpace


class RandomSearch:
    """The blind explorer that the others are compared with."""

    def __init__(self, space: ConfigSpace, seed: int = 0) -> None:
        self._seen = Seen(space)
        self._rng = np.random.default_rng(seed)

    def propose(self, count: int) -> list[int]:
        """New points, drawn evenly."""
        return self._seen.draw(count, self._rng)

    def observe(self, indices: Sequence[int], costs: Sequence[float]) -> None:
        """Only remembers what need not be proposed again."""
        self._seen.observe(indices, costs)
