"""Tuning some operators into one database: the operator with the most to gain is gone on with next."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from compiler.tune.cost_model import XGBoostModel
from compiler.tune.database import Database, Key
from compiler.tune.search import ExhaustiveSearch, Explorer, GeneticSearch, ModelGuidedSearch, RandomSearch
from compiler.tune.search.model_guided import Features
from compiler.tune.space import ConfigSpace
from compiler.tune.transfer import Prior, PriorFeatures, PriorScores
from compiler.tune.tuner import Outcome, Tuning
from vdla.errors import UsageError

SEARCHES = ("auto", "model", "genetic", "random", "exhaustive")


@dataclass(frozen=True)
class TuneOptions:
    """How to tune.

    Attributes:
        trials: schedules of each operator, the default's among them.
        seed: of every random choice.
        search: one of SEARCHES; ``auto``: everything where that is no more than ``trials``, else by a learned model.
        seconds: no operator is begun or gone on with after so many.
        batch: schedules measured together.
        transfer: whether a cost model starts from what the database says about other operators and machines.
    """

    trials: int = 64
    seed: int = 0
    search: str = "auto"
    seconds: float = math.inf
    batch: int = 8
    transfer: bool = True


def learned_search(
    options: TuneOptions,
    database: Database,
    key: Key,
    space: ConfigSpace,
    features: Features,
    start: Sequence[int] = (),
) -> tuple[Explorer, Prior | None]:
    """The explorer with a cost model for a workload, and what its model starts from.

    Args:
        features: of the points, for the model.
        start: points that are thought to be good, to begin with.
    """
    prior = Prior.of(database, key, space, options.seed) if options.transfer else None
    model = XGBoostModel(seed=options.seed, base=None if prior is None else PriorScores())
    if prior is not None:
        features = PriorFeatures(features, prior)
    return ModelGuidedSearch(space, features, model, options.seed, start=start, first=options.batch), prior


Learned = Callable[[], tuple[Explorer, Prior | None]]


def make_explorer(options: TuneOptions, space: ConfigSpace, learned: Learned) -> tuple[Explorer, Prior | None]:
    """The explorer that the options ask for, and what its model starts from.  ``learned``: makes the one with a model.

    Raises UsageError for an unknown search.
    """
    search, seed = options.search, options.seed
    if search == "auto":
        search = "exhaustive" if space.enumerable and len(space) <= options.trials else "model"
    if search == "exhaustive":
        return ExhaustiveSearch(space), None
    if search == "genetic":
        return GeneticSearch(space, seed), None
    if search == "random":
        return RandomSearch(space, seed), None
    if search != "model":
        raise UsageError(f"no search '{search}'; there are {', '.join(SEARCHES)}")
    return learned()


class Tunable(Protocol):
    """An operator to tune."""

    @property
    def name(self) -> str:
        """For people."""
        ...

    @property
    def uses(self) -> int:
        """In how many places of a network it stands."""
        ...


@dataclass
class OperatorState:
    """An operator, its tuning, and what the report says about it.

    ``floor``: what no schedule can undercut, in the unit of the costs; 0 where that is not known.  ``prior``: what the
    cost model starts from, if it starts from anything.
    """

    operator: Tunable
    space: ConfigSpace
    tuning: Tuning
    floor: float
    prior: Prior | None = None

    @property
    def outcome(self) -> Outcome:
        return self.tuning.outcome

    @property
    def expected_gain(self) -> float:
        """Cost of the network that a further batch may save: what is above the floor, over the batches spent."""
        if not self.outcome.trials:
            return math.inf
        return self.operator.uses * max(self.outcome.best_cost - self.floor, 0.0) / self.outcome.trials


class Session:
    """The tuning of some operators on one machine into one database.

    Args:
        states: the operators, nothing tried yet.
        machine: what they are tuned for: its name, and what tells it from others.
        unit: of the costs, in the plural.
    """

    def __init__(
        self,
        states: Sequence[OperatorState],
        database: Database,
        options: TuneOptions,
        machine: tuple[str, str],
        unit: str,
    ) -> None:
        self.states, self.database, self.options = list(states), database, options
        self.machine, self.unit = machine, unit
        self.started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.started

    @property
    def seconds_left(self) -> float | None:
        """At most: what is left of the time given, or of the trials at the pace so far; None before there is a pace."""
        given = max(0.0, self.options.seconds - self.seconds)
        tried = sum(state.outcome.trials for state in self.states)
        if not tried:
            return given if math.isfinite(given) else None
        open_trials = (self.options.trials - s.outcome.trials for s in self.states if not s.tuning.done)
        return min(given, self.seconds / tried * sum(open_trials))

    @property
    def version(self) -> str:
        """Of the records that this tuning makes and takes (:mod:`vdla.tune.versions`)."""
        return self.states[0].outcome.task.key[-1]

    @property
    def outdated(self) -> int:
        """Records of other versions of the same operators on the same machine."""
        return sum(len(self.database.of_other_versions(state.outcome.task.key)) for state in self.states)

    def run(self) -> Iterator[OperatorState]:
        """Tune; yields the operator that was gone on with, after each of its batches.

        Every operator's default is measured, whatever the time.
        """
        while True:
            open_states = [s for s in self.states if not s.tuning.done]
            if self.seconds >= self.options.seconds:
                open_states = [s for s in open_states if not s.outcome.trials]
            if not open_states:
                return
            state = max(open_states, key=lambda s: s.expected_gain)
            state.tuning.step()
            yield state
