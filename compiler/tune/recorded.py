"""The decisions of a record, handed to a template and held against what it offers, without declaring its space."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from compiler.tune.errors import DatabaseError
from compiler.tune.space import ANNOTATIONS, Values, as_tuple


class RecordedKnobs:
    """Decisions that are known by name (see :class:`compiler.tune.space.Knobs`).

    Whether they are a point of the template's space shows while it asks: DatabaseError for a value that it does not
    offer, or a rule that they break.

    Args:
        knobs: knob name -> value, as a database holds it (lists stand for tuples).
        origin: what the error says they are.

    >>> knobs = RecordedKnobs({"tile": [2, 4]}, "t.jsonl: the record of a product")
    >>> knobs.split("tile", 8)
    (2, 4)
    >>> knobs.split("tile", 16)
    Traceback (most recent call last):
        ...
    compiler.tune.errors.DatabaseError: t.jsonl: the record of a product is not legal: knob 'tile' has no value (2, 4)
    """

    def __init__(self, knobs: Mapping[str, Any], origin: str) -> None:
        self.values: dict[str, Any] = {name: as_tuple(value) for name, value in knobs.items()}
        self._origin = origin

    def _refuse(self, why: str) -> DatabaseError:
        return DatabaseError(f"{self._origin} is not legal: {why}")

    def _get(self, name: str, offered: Callable[[Any], bool]) -> Any:
        if name not in self.values:
            raise self._refuse(f"it has no knob '{name}'")
        value = self.values[name]
        if not offered(value):
            raise self._refuse(f"knob '{name}' has no value {value!r}")
        return value

    def split(self, name: str, extent: int, parts: int = 2) -> tuple[int, ...]:
        """The recorded factors."""

        def factors(value: Any) -> bool:
            numbers = isinstance(value, tuple) and all(type(n) is int and n > 0 for n in value)
            return numbers and len(value) == parts and math.prod(value) == extent

        return self._get(name, factors)

    def choice(self, name: str, values: Sequence[Any]) -> Any:
        """The recorded value."""
        offered = [as_tuple(value) for value in values]
        return self._get(name, lambda value: value in offered)

    def alternative(self, name: str, values: Sequence[Any]) -> Any:
        """The recorded value."""
        return self.choice(name, values)

    def annotation(self, name: str, options: Sequence[str] = ANNOTATIONS) -> str:
        """The recorded annotation."""
        return self.choice(name, options)

    def require(self, rule: str, holds: Callable[[Values], bool]) -> None:
        """Hold the decisions against a rule."""
        try:
            kept = holds(self.values)
        except KeyError as missing:
            raise self._refuse(f"it has no knob {missing}") from missing
        if not kept:
            raise self._refuse(f"it breaks the rule '{rule}'")
