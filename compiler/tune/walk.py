"""Listing the points of a schedule space that its rules leave, without trying every one of them."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from compiler.tune.space import Knob, Rule


class _Undecided(Exception):
    """A rule asks for a knob that has no value yet."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class _Partial(dict[str, Any]):
    """The values of some knobs; asking for another's raises :class:`_Undecided`."""

    def __init__(self, names: Collection[str]) -> None:
        super().__init__()
        self._names = names

    def __missing__(self, name: str) -> Any:
        raise _Undecided(name) if name in self._names else KeyError(name)

    def get(self, name: str, default: Any = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self[name] if name in self._names else default


class Walk:
    """Lists the points of a space, knob by knob: what a rule says of the first knobs it says of all points with them.

    Args:
        limit: points to be listed and values of knobs to be tried for it, together.
    """

    def __init__(self, knobs: Sequence[Knob], rules: Sequence[Rule], limit: float) -> None:
        places, place = {}, 1
        for knob in knobs:
            places[knob.name] = place
            place *= len(knob.values)
        # What others depend on first; the order of the points is that of their numbers all the same.
        self._knobs = sorted(knobs, key=lambda knob: knob.kind != "alternative")
        self._offsets = [places[k.name] * np.arange(len(k.values), dtype=np.int64) for k in self._knobs]
        self._below = [math.prod(len(k.values) for k in self._knobs[d:]) for d in range(len(self._knobs) + 1)]
        self._at = _Partial({knob.name for knob in knobs})
        self._rules = rules
        self._removed = dict.fromkeys((rule.name for rule in rules), 0)
        self._found: list[np.ndarray] = []
        self._left = limit

    def listing(self) -> tuple[np.ndarray, dict[str, int]] | None:
        """The points, ascending, and how many each rule excludes; None when there are too many."""
        if not self._visit(0, 0, [(rule, None) for rule in self._rules]):
            return None
        return np.sort(np.concatenate([np.empty(0, np.int64), *self._found])), self._removed

    def _visit(self, depth: int, index: int, waiting: list[tuple[Rule, str | None]]) -> bool:
        if not waiting:  # whatever the other knobs say
            self._left -= self._below[depth]
            if self._left >= 0:
                points = np.array([index], np.int64)
                for offsets in self._offsets[depth:]:
                    points = (points[:, None] + offsets).ravel()
                self._found.append(points)
            return self._left >= 0
        knob = self._knobs[depth]
        for value, offset in zip(knob.values, self._offsets[depth].tolist(), strict=True):
            self._left -= 1
            self._at[knob.name] = value
            left = self._undecided(waiting, self._below[depth + 1])
            if self._left < 0 or (left is not None and not self._visit(depth + 1, index + offset, left)):
                return False
        del self._at[knob.name]
        return True

    def _undecided(self, waiting: list[tuple[Rule, str | None]], points: int) -> list[tuple[Rule, str | None]] | None:
        """The rules that need more knobs, with the one they need next; None when one of the others is broken."""
        out: list[tuple[Rule, str | None]] = []
        for rule, needed in waiting:
            if needed is not None and needed not in self._at:
                out.append((rule, needed))
                continue
            try:
                holds = rule.holds(self._at)
            except _Undecided as open_question:
                out.append((rule, open_question.name))
                continue
            if not holds:
                self._removed[rule.name] += points
                return None
        return out
