"""What measurements of other workloads and machines say about a space: a start for the cost model.

Records are joined by the knobs' names: a template asks the same questions of every shape and machine.  A number counts
as it is and as a share of the greatest one measured there, so that "a whole row" is the same for every width.  Costs
are compared within a workload on a machine only; what they have in common is how they order schedules.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from compiler.tune.cost_model import XGBoostModel
from compiler.tune.database import Database, Key, Record
from compiler.tune.space import ConfigSpace, as_tuple

LEAST = 8
"""Measurements of a workload on a machine from which something is learnt."""

WORKLOADS, RECORDS = 48, 192
"""Workloads that are learnt from at most, the latest ones, and measurements of each."""


@dataclass(frozen=True)
class Source:
    """What was learnt from: so many records, of so many workloads on a machine."""

    workloads: int
    records: int


class Prior:
    """Scores of a space's points by what was measured elsewhere; higher is better.

    Args:
        groups: successful measurements, those of one workload on one machine each; of long ones some.

    ``source``: what it has learnt from.
    """

    def __init__(self, space: ConfigSpace, groups: Sequence[Sequence[Record]], seed: int = 0) -> None:
        groups = [_some(group) for group in groups]
        measured = [_Columns.of(record.knobs for record in group) for group in groups]
        names = sorted({name for table in measured for name in table.names})
        self.source = Source(len(groups), sum(map(len, groups)))
        self._model = XGBoostModel(seed=seed)
        costs = np.array([record.cost for group in groups for record in group], float)
        features = np.concatenate([table.features(names) for table in measured])
        self._model.fit(features, costs, [len(group) for group in groups])
        self._space, self._names = space, names
        points = space.valid_indices().tolist() if space.enumerable else space.sample(256, np.random.default_rng(seed))
        self._most = _Columns.of(map(space.values, points)).most

    def __call__(self, indices: Sequence[int]) -> np.ndarray:
        """Scores of the points, float32 [points]."""
        rows = _Columns([dict(_columns(self._space.values(int(i)))) for i in indices], self._most)
        return self._model.predict(rows.features(self._names)).astype(np.float32)

    @staticmethod
    def of(database: Database, key: Key, space: ConfigSpace, seed: int = 0) -> Prior | None:
        """What a database's records of the same target, other than those of ``key``, say; None when they are few.

        Only what is older than the first record of ``key`` counts, so that a tuning that goes on where it stopped
        starts from what it started from.
        """
        began = min((record.time for record in database.query(*key)), default=math.inf)
        groups: dict[Key, list[Record]] = {}
        for record in database.query(target=key[1]):
            if record.key != key and record.cost is not None and record.time < began:
                groups.setdefault(record.key, []).append(record)
        names = {knob.name for knob in space.knobs}
        known = [
            sorted(group, key=lambda r: r.time)
            for group in groups.values()
            if len(group) >= LEAST and not names.isdisjoint(group[0].knobs)
        ]
        if not known:
            return None
        known = sorted(known, key=lambda group: group[-1].time)[-WORKLOADS:]
        return Prior(space, known, seed)


class PriorFeatures:
    """Features of points with a prior's score as the last column, where :class:`PriorScores` finds it."""

    def __init__(self, features: Any, prior: Prior) -> None:
        self._features, self._prior = features, prior

    def __call__(self, indices: Sequence[int]) -> np.ndarray:
        return np.concatenate([self._features(indices), self._prior(indices)[:, None]], axis=1)


class PriorScores:
    """The model that a :class:`compiler.tune.cost_model.XGBoostModel` on PriorFeatures starts from."""

    trained = True

    def predict(self, features: np.ndarray) -> np.ndarray:
        """The last column."""
        return features[:, -1]


def _some(group: Sequence[Record]) -> list[Record]:
    """RECORDS of a group, spread over it."""
    chosen = np.unique(np.linspace(0, len(group) - 1, min(RECORDS, len(group))).astype(int))
    return [group[int(k)] for k in chosen]


@dataclass(frozen=True)
class _Columns:
    """Points as named numbers, and the greatest number of each name."""

    rows: list[dict[str, float]]
    most: dict[str, float]

    @staticmethod
    def of(points: Any) -> _Columns:
        rows = [dict(_columns(values)) for values in points]
        most: dict[str, float] = {}
        for row in rows:
            for name, value in row.items():
                most[name] = max(value, most.get(name, value))
        return _Columns(rows, most)

    @property
    def names(self) -> list[str]:
        return list(self.most)

    def features(self, names: Sequence[str]) -> np.ndarray:
        """Float32 [points, 2 * names]: each number, and its distance from the greatest; NaN where there is none."""
        values = np.array([[row.get(name, np.nan) for name in names] for row in self.rows], np.float32)
        most = np.array([self.most.get(name, np.nan) for name in names], np.float32)
        return np.concatenate([values, values - most], axis=1)


def _columns(values: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers of a point: logarithms of numbers, parts of tuples one by one, other values as names that hold."""
    for name, value in values.items():
        for part, item in enumerate(value if isinstance(value, list | tuple) else (value,)):
            if isinstance(item, int | float) and not isinstance(item, bool) and item >= 0:
                yield f"{name}.{part}", math.log2(1.0 + item)
            else:
                yield f"{name}.{part} {as_tuple(item)!r}", 1.0
