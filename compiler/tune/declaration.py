"""How a template's decisions become a space: it is run with a :class:`Declaration`, which notes what it asks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compiler.te.schedule import Schedule
from compiler.te.tensor import Tensor
from compiler.tune.errors import SpaceError
from compiler.tune.space import (
    ANNOTATIONS,
    ConfigEntity,
    ConfigSpace,
    Knob,
    Rule,
    Values,
    as_tuple,
    factorizations,
)


class Declaration:
    """Collects the knobs and rules of a template; every knob has its first value meanwhile.

    ``chosen``: values of knobs that have those instead.
    """

    def __init__(self, chosen: Values | None = None) -> None:
        self.knobs: dict[str, Knob] = {}
        self.rules: list[Rule] = []
        self.chosen = dict(chosen or {})

    def _add(self, name: str, kind: str, values: Sequence[Any]) -> Any:
        knob = Knob(name, kind, tuple(as_tuple(v) for v in values))
        if not knob.values:
            raise SpaceError(f"knob '{name}' has no values")
        if len(set(map(repr, knob.values))) != len(knob.values):
            raise SpaceError(f"knob '{name}' has a value twice: {knob.values}")
        if self.knobs.setdefault(name, knob) != knob:
            raise SpaceError(f"knob '{name}' is declared twice, with different values")
        return self.chosen.get(name, knob.values[0])

    def split(self, name: str, extent: int, parts: int = 2) -> tuple[int, ...]:
        """Declare the ways to split a loop of ``extent`` iterations."""
        if extent < 1 or parts < 1:
            raise SpaceError(f"knob '{name}' splits {extent} iterations into {parts} loops; both must be at least 1")
        return self._add(name, "split", factorizations(extent, parts))

    def choice(self, name: str, values: Sequence[Any]) -> Any:
        """Declare a plain choice."""
        return self._add(name, "choice", values)

    def alternative(self, name: str, values: Sequence[Any]) -> Any:
        """Declare a choice on which other knobs depend."""
        return self._add(name, "alternative", values)

    def annotation(self, name: str, options: Sequence[str] = ANNOTATIONS) -> str:
        """Declare the ways to run a loop."""
        unknown = [option for option in options if option not in ANNOTATIONS]
        if unknown:
            raise SpaceError(f"knob '{name}': no annotation {', '.join(unknown)}; there are {', '.join(ANNOTATIONS)}")
        return self._add(name, "annotation", options)

    def require(self, rule: str, holds: Callable[[Values], bool]) -> None:
        """Declare a rule."""
        self.rules.append(Rule(rule, holds))

    def space(self) -> ConfigSpace:
        """The space declared so far, of one knob or more."""
        return ConfigSpace(list(self.knobs.values()), self.rules)


def declare(template: Callable[..., Any], *args: Any) -> ConfigSpace:
    """The space of a template, by running it with the arguments it will be given, for every value of an alternative.

    A knob has the values that it has in any of the alternatives, those of the first ones first.  A point that has
    another alternative's value, or anything but the first value of a knob that its own does not ask for, is excluded.

    >>> def template(knobs: Knobs) -> None:
    ...     if knobs.alternative("algorithm", ("plain", "tiled")) == "tiled":
    ...         knobs.choice("tile", (4, 8))
    ...     knobs.choice("unroll", (1, 2))
    >>> space = declare(template)
    >>> len(space), space.removed()
    (6, {'plain: without tile': 2})
    """
    space = declare_choices(template, *args)
    if space is None:
        raise SpaceError("the template declares no knobs")
    return space


def declare_choices(template: Callable[..., Any], *args: Any) -> ConfigSpace | None:
    """The space as of :func:`declare`, or None of a template that asks nothing."""
    runs = list(_runs(template, args, {}))
    if not any(run.knobs for run in runs):
        return None
    if len(runs) == 1:
        return runs[0].space()
    knobs: dict[str, Knob] = {}
    for knob in (knob for run in runs for knob in run.knobs.values()):
        known = knobs.get(knob.name, knob)
        if known.kind != knob.kind:
            raise SpaceError(f"knob '{knob.name}' is a {known.kind} in one alternative and a {knob.kind} in another")
        knobs[knob.name] = Knob(knob.name, knob.kind, tuple(dict.fromkeys((*known.values, *knob.values))))
    rules = [rule for run in runs for rule in _rules_of(run, knobs)]
    return ConfigSpace(list(knobs.values()), rules)


def _runs(template: Callable[..., Any], args: Sequence[Any], chosen: Values) -> Iterator[Declaration]:
    """What the template declares with each value of the alternatives that it comes across."""
    run = Declaration(chosen)
    template(run, *args)
    knob = next((k for k in run.knobs.values() if k.kind == "alternative" and k.name not in chosen), None)
    if knob is None:
        yield run
        return
    for value in knob.values:
        yield from _runs(template, args, {**chosen, knob.name: value})


def _rules_of(run: Declaration, knobs: Mapping[str, Knob]) -> Iterator[Rule]:
    """The rules of the points that take the alternatives of ``run``."""
    chosen = run.chosen

    def of_this_run(holds: Callable[[Values], bool]) -> Callable[[Values], bool]:
        return lambda at: any(at[name] != value for name, value in chosen.items()) or holds(at)

    def values_of(name: str, allowed: Collection[Any]) -> Callable[[Values], bool]:
        return lambda at: at[name] in allowed

    what = ", ".join(map(str, chosen.values()))
    for name, knob in knobs.items():
        own = run.knobs.get(name)
        if own is None and len(knob.values) > 1:
            yield Rule(f"{what}: without {name}", of_this_run(values_of(name, knob.values[:1])))
        elif own is not None and len(own.values) < len(knob.values):
            yield Rule(f"{what}: another {name}", of_this_run(values_of(name, frozenset(own.values))))
    yield from (Rule(rule.name, of_this_run(rule.holds)) for rule in run.rules)


@dataclass(frozen=True)
class Template:
    """A schedule template: ``build(knobs, *args)`` returns a schedule and its arguments."""

    name: str
    build: Callable[..., tuple[Schedule, Sequence[Tensor]]]

    def space(self, *args: Any) -> ConfigSpace:
        """The schedules it can make of these arguments."""
        return declare(self.build, *args)

    def instantiate(self, point: ConfigEntity, *args: Any) -> tuple[Schedule, Sequence[Tensor]]:
        """The schedule of one point, and the program's arguments."""
        return self.build(point, *args)


def annotate(schedule: Schedule, tensor: Tensor, axis: Any, annotation: str) -> None:
    """Apply the value of an annotation knob to a loop of a stage."""
    if annotation == "none":
        return
    if annotation not in ANNOTATIONS:
        raise SpaceError(f"no annotation {annotation!r}; there are {', '.join(ANNOTATIONS)}")
    getattr(schedule[tensor], annotation)(axis)
