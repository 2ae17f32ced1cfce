"""Exhaustive search, for spaces that are small."""

from __future__ import annotations

from collections.abc import Sequence

from compiler.tune.search.explorer import Seen
from compiler.tune.space import ConfigSpace


class ExhaustiveSearch:
    """Every point in order.  Raises SpaceError for a space too large to be listed."""

    def __init__(self, space: ConfigSpace) -> None:
        self._seen = Seen(space)
        self._left = iter(space.valid_indices().tolist())

    def propose(self, count: int) -> list[int]:
        """The next points that nobody measured."""
        out: list[int] = []
        for index in self._left:
            if self._seen.is_new(index):
                self._seen.proposed.add(index)
                out.append(index)
                if len(out) == count:
                    break
        return out

    def observe(self, indices: Sequence[int], costs: Sequence[float]) -> None:
        """Only remembers what need not be proposed again."""
        self._seen.observe(indices, costs)
