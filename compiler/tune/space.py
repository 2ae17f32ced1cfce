"""Schedule spaces: the knobs that a template declares, and the points that they span.

A template asks for its decisions through a :class:`Knobs`.  Run with a :class:`Declaration` it declares the space; run
with a :class:`ConfigEntity`, a point of that space, it gets that point's decisions.  What a target cannot run is
excluded by rules over the knobs' values, before anything is lowered: such points are not part of the space, and
:meth:`ConfigSpace.removed` says how many each rule took out.

>>> from compiler.tune.declaration import declare
>>> def template(knobs: Knobs, n: int) -> tuple[int, ...]:
...     tile = knobs.split("tile", n, 2)
...     knobs.choice("order", ("ij", "ji"))
...     knobs.require("inner tile of at most 4", lambda at: at["tile"][1] <= 4)
...     return tile
>>> space = declare(template, 8)
>>> len(space), space.removed()
(6, {'inner tile of at most 4': 2})
>>> point = space.entity(space.valid_indices()[-1])
>>> point.values
{'tile': (8, 1), 'order': 'ji'}
>>> template(point, 8)
(8, 1)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from compiler.tune.errors import SpaceError
from compiler.tune.walk import Walk

ENUMERATION_LIMIT = 1 << 20
"""Spaces of up to this many points (before the rules) are enumerated; larger ones are drawn from by rejection, unless
their rules leave few enough to be found in WALK_LIMIT steps."""

WALK_LIMIT = 1 << 18

ANNOTATIONS = ("none", "unroll", "vectorize", "parallel")

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Knob:
    """One decision: its name, its kind and its values in order.

    Kinds are ``split``, ``choice``, ``annotation`` and ``alternative``.  Values are numbers, strings, booleans, None or
    tuples of them.
    """

    name: str
    kind: str
    values: tuple[Any, ...]

    @property
    def ordered(self) -> bool:
        """Whether neighbours in the order of the values are alike: numbers and splits, not names."""
        return self.kind == "split" or all(type(v) is int or type(v) is float for v in self.values)


@dataclass(frozen=True)
class Rule:
    """A condition on the values of all knobs; points that break it are not in the space."""

    name: str
    holds: Callable[[Values], bool]


class Knobs(Protocol):
    """What a template sees: every call names a knob and returns its value."""

    def split(self, name: str, extent: int, parts: int = 2) -> tuple[int, ...]:
        """Factors, outermost first, whose product is ``extent``."""
        ...

    def choice(self, name: str, values: Sequence[Any]) -> Any:
        """One of ``values``."""
        ...

    def alternative(self, name: str, values: Sequence[Any]) -> Any:
        """One of ``values``, on which it depends what else is asked, and from which values one may choose there."""
        ...

    def annotation(self, name: str, options: Sequence[str] = ANNOTATIONS) -> str:
        """How a loop is run."""
        ...

    def require(self, rule: str, holds: Callable[[Values], bool]) -> None:
        """Exclude the points at which ``holds(values)`` is false."""
        ...


def factorizations(extent: int, parts: int) -> list[tuple[int, ...]]:
    """All ordered factorizations of ``extent`` into ``parts`` factors, the first ones smallest first."""
    if parts == 1:
        return [(extent,)]
    divisors = [d for d in range(1, extent + 1) if extent % d == 0]
    return [(d, *rest) for d in divisors for rest in factorizations(extent // d, parts - 1)]


class ConfigSpace:
    """The product of the knobs' values less the points that a rule excludes.

    Points are numbered 0 .. ``size`` - 1 in mixed radix, the first knob fastest; the rules leave the numbers alone.
    """

    def __init__(self, knobs: Sequence[Knob], rules: Sequence[Rule] = ()) -> None:
        self.knobs = tuple(knobs)
        self.rules = tuple(rules)
        self.size = math.prod(len(knob.values) for knob in self.knobs)
        self._by_name = {knob.name: k for k, knob in enumerate(self.knobs)}
        self._verdicts: dict[int, str | None] = {}

    # ------------------------------------------------------------------ points

    def digits(self, index: int) -> tuple[int, ...]:
        """Which value of each knob the point has."""
        out = []
        for knob in self.knobs:
            index, digit = divmod(index, len(knob.values))
            out.append(digit)
        return tuple(out)

    def number(self, digits: Sequence[int]) -> int:
        """The point with these values: the inverse of :meth:`digits`."""
        index = 0
        for knob, digit in zip(reversed(self.knobs), reversed(digits), strict=True):
            index = index * len(knob.values) + digit
        return index

    def digit_matrix(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """The digits of many points, int64 [points, knobs]."""
        rest = np.asarray(indices, np.int64)
        out = np.empty((rest.size, len(self.knobs)), np.int64)
        for k, knob in enumerate(self.knobs):
            rest, out[:, k] = np.divmod(rest, len(knob.values))
        return out

    def values(self, index: int) -> dict[str, Any]:
        """Knob name -> value at a point."""
        return {k.name: k.values[d] for k, d in zip(self.knobs, self.digits(index), strict=True)}

    def entity(self, index: int) -> ConfigEntity:
        """The point.  Raises SpaceError when it is outside the space or excluded by a rule."""
        if not 0 <= index < self.size:
            raise SpaceError(f"point {index} is outside the space of {self.size} points")
        broken = self.broken_rule(index)
        if broken is not None:
            raise SpaceError(f"point {index} is not in the space: it breaks the rule '{broken}'")
        return ConfigEntity(self, int(index))

    def find(self, values: Values) -> ConfigEntity:
        """The point with these values, as a database holds them (lists stand for tuples).

        Raises SpaceError when there is none.
        """
        if set(values) != set(self._by_name):
            raise SpaceError(f"the knobs are {', '.join(self._by_name)}, not {', '.join(values)}")
        digits = []
        for knob in self.knobs:
            value = as_tuple(values[knob.name])
            if value not in knob.values:
                raise SpaceError(f"knob '{knob.name}' has no value {value!r}; it has {knob.values}")
            digits.append(knob.values.index(value))
        return self.entity(self.number(digits))

    def __contains__(self, index: int) -> bool:
        return 0 <= index < self.size and self.broken_rule(index) is None

    # ------------------------------------------------------------------ rules

    def broken_rule(self, index: int) -> str | None:
        """The first rule that excludes the point, or None."""
        index = int(index)
        if index not in self._verdicts:
            at = self.values(index)
            self._verdicts[index] = next((rule.name for rule in self.rules if not rule.holds(at)), None)
        return self._verdicts[index]

    @property
    def enumerable(self) -> bool:
        """Whether the space is small enough to be listed."""
        return self._listing is not None

    @cached_property
    def _listing(self) -> tuple[np.ndarray, dict[str, int]] | None:
        return Walk(self.knobs, self.rules, math.inf if self.size <= ENUMERATION_LIMIT else WALK_LIMIT).listing()

    @property
    def _enumeration(self) -> tuple[np.ndarray, dict[str, int]]:
        if self._listing is None:
            raise SpaceError(f"a space of {self.size} points is too large to be listed")
        return self._listing

    def valid_indices(self) -> np.ndarray:
        """The points of the space, int64, ascending.  Raises SpaceError when it is too large to be listed."""
        return self._enumeration[0]

    def removed(self) -> dict[str, int]:
        """Points that each rule excludes (a point counts for one of the rules that it breaks)."""
        return dict(self._enumeration[1])

    def __len__(self) -> int:
        """Points of the space, those excluded not counted."""
        return len(self.valid_indices())

    # ------------------------------------------------------------------ walking

    def sample(self, count: int, rng: np.random.Generator) -> list[int]:
        """``count`` different points drawn evenly (all of them, when there are fewer).

        Raises SpaceError when a space too large to be listed yields no point in 10,000 draws.
        """
        if self.enumerable:
            valid = self.valid_indices()
            return [int(i) for i in rng.choice(valid, min(count, len(valid)), replace=False)]
        found: dict[int, None] = {}
        misses = 0
        while len(found) < count and misses < 10_000:
            index = self.number([int(rng.integers(len(knob.values))) for knob in self.knobs])
            if index in found or index not in self:
                misses += 1
            else:
                found[index], misses = None, 0
        if not found:
            raise SpaceError("the rules exclude every point that was drawn")
        return list(found)

    def neighbours(self, index: int) -> list[int]:
        """The points one step away: one knob moved to the value beside it (any value, where values are names)."""
        digits = self.digits(index)
        out = []
        for k, knob in enumerate(self.knobs):
            here = digits[k]
            steps = (here - 1, here + 1) if knob.ordered else range(len(knob.values))
            for digit in steps:
                if digit != here and 0 <= digit < len(knob.values):
                    other = self.number([*digits[:k], digit, *digits[k + 1 :]])
                    if other in self:
                        out.append(other)
        return out

    def mutate(self, index: int, rng: np.random.Generator, tries: int = 16) -> int:
        """A point that differs in one knob, drawn at random; the point itself when none is found."""
        digits = list(self.digits(index))
        movable = [k for k, knob in enumerate(self.knobs) if len(knob.values) > 1]
        for _ in range(tries if movable else 0):
            k = movable[int(rng.integers(len(movable)))]
            shift = 1 + int(rng.integers(len(self.knobs[k].values) - 1))
            moved = (digits[k] + shift) % len(self.knobs[k].values)
            other = self.number([*digits[:k], moved, *digits[k + 1 :]])
            if other in self:
                return other
        return index

    def __iter__(self) -> Iterator[ConfigEntity]:
        return (ConfigEntity(self, int(i)) for i in self.valid_indices())


def as_tuple(value: Any) -> Any:
    """``value`` with lists, which JSON makes of tuples, turned back."""
    return tuple(as_tuple(v) for v in value) if isinstance(value, list | tuple) else value


@dataclass(frozen=True)
class ConfigEntity:
    """A point of a space: hands a template its decisions."""

    space: ConfigSpace = field(repr=False)
    index: int

    @cached_property
    def values(self) -> dict[str, Any]:
        """Knob name -> value."""
        return self.space.values(self.index)

    def _get(self, name: str) -> Any:
        if name not in self.values:
            raise SpaceError(f"the template asks for knob '{name}', which it did not declare")
        return self.values[name]

    def split(self, name: str, extent: int, parts: int = 2) -> tuple[int, ...]:
        """The factors of this point."""
        factors = self._get(name)
        if math.prod(factors) != extent or len(factors) != parts:
            raise SpaceError(f"knob '{name}' splits {math.prod(factors)} in {len(factors)}, not {extent} in {parts}")
        return factors

    def choice(self, name: str, values: Sequence[Any]) -> Any:
        """The value of this point."""
        return self._get(name)

    def alternative(self, name: str, values: Sequence[Any]) -> Any:
        """The value of this point."""
        return self._get(name)

    def annotation(self, name: str, options: Sequence[str] = ANNOTATIONS) -> str:
        """The annotation of this point."""
        return self._get(name)

    def require(self, rule: str, holds: Callable[[Values], bool]) -> None:
        """Nothing: a point of the space keeps all rules."""
