"""The report of a tuning: a JSON document, and a picture of the best cost by trials."""

from __future__ import annotations

import io
import json
import math
from dataclasses import asdict, dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from vdla.tune.session import Session

DOCUMENT = "tune.json"
SCHEMA = "vdla.tune/1"

LEGEND_ROWS = 20
"""Operators of a network that the picture explains; the document has all of them."""


@dataclass(frozen=True)
class NetworkChoice:
    """What a network takes of what was found: its cost with default and with chosen schedules, and the operators (or
    workloads) that have another schedule now."""

    default: float
    best: float
    changed: tuple[str, ...]


def document(what: str, session: Session, chosen: NetworkChoice | None) -> dict[str, Any]:
    """What ``--json`` prints and ``tune.json`` holds."""
    unit = session.unit
    operators = []
    for state in session.states:
        found = state.outcome
        operators.append(
            {
                "name": state.operator.name,
                "uses": state.operator.uses,
                "space": len(state.space),
                "removed": state.space.removed(),
                "trials": found.trials,
                "measured": found.measured,
                "failed": found.failed,
                f"default_{unit}": _number(found.default_cost),
                f"best_{unit}": _number(found.best_cost),
                "best": None if found.best is None else state.space.values(found.best),
                f"floor_{unit}": state.floor,
                "prior": None if state.prior is None else asdict(state.prior.source),
                "curve": [_number(cost) for cost in found.curve],
            }
        )
    network = None
    if chosen is not None:
        network = {f"default_{unit}": chosen.default, f"best_{unit}": chosen.best, "changed": sorted(chosen.changed)}
    return {
        "schema": SCHEMA,
        "what": what,
        "config": dict(zip(("name", "fingerprint"), session.machine, strict=True)),
        "unit": unit,
        "version": session.version,
        "of_another_version": session.outdated,
        "database": str(session.database.path),
        "seconds": session.seconds,
        "operators": operators,
        "network": network,
    }


def _number(cost: float) -> float | None:
    return cost if math.isfinite(cost) else None


def picture(session: Session) -> bytes:
    """The default's cost over the best one's by trials, a line an operator; PNG."""
    matplotlib.use("Agg")
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    for number, state in enumerate(session.states):
        found = state.outcome
        if found.best is None or not math.isfinite(found.default_cost):
            continue
        label = state.operator.name if number < LEGEND_ROWS else None
        axes.step(np.arange(1, found.trials + 1), found.default_cost / np.array(found.curve), where="post", label=label)
    axes.set(xlabel="trials", ylabel="speed, default = 1", title=f"tuning on {session.machine[0]}")
    if axes.lines:
        figure.legend(loc="outside lower center", fontsize="x-small", ncols=1)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    return stream.getvalue()


def render_files(what: str, session: Session, chosen: NetworkChoice | None) -> dict[str, bytes]:
    """The files of a report folder."""
    text = json.dumps(document(what, session, chosen), indent=1)
    return {DOCUMENT: text.encode(), "curves.png": picture(session)}
