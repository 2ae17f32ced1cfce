"""Records of other versions: no longer valid, but the first guess at what is good now."""

from __future__ import annotations

from compiler.tune.database import Database, Key
from compiler.tune.errors import SpaceError
from compiler.tune.space import ConfigSpace

COUNT = 8
"""Points that a tuning tries first because of them."""


def warm_start(database: Database, key: Key, space: ConfigSpace, confirmed: str, count: int = COUNT) -> list[int]:
    """The points that are worth a try before any other: those that other versions took in the end, the latest first,
    then those that they found cheapest, of one version after the other, the latest first.

    Points that the space no longer has are left out.  ``confirmed``: target of the records of what was taken.
    """
    workload, _, machine, version = key
    taken = database.of_other_versions((workload, confirmed, machine, version))
    measured = [r for r in database.of_other_versions(key) if r.cost is not None]
    latest: dict[str, float] = {}
    for record in measured:
        latest[record.kit] = max(record.time, latest.get(record.kit, record.time))
    taken.sort(key=lambda r: -r.time)
    measured.sort(key=lambda r: (-latest[r.kit], r.kit, r.cost, r.time))
    points: list[int] = []
    for record in (*taken, *measured):
        if len(points) == count:
            break
        try:
            point = space.find(record.knobs).index
        except SpaceError:
            continue
        if point not in points:
            points.append(point)
    return points
