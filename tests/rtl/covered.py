"""What the random programs of a test run have met, in all its processes; tests/conftest.py prints it at the end."""

from __future__ import annotations

from typing import Any

from sim.rtl.coverage import Coverage

COVERED = Coverage()
"""Of this process, and on the one that collects the others' results, theirs."""


def report() -> list[str]:
    """One line a group of points, and one for each that was never met; none if no random program was run."""
    return str(COVERED).splitlines() if any(map(any, COVERED.to_dict().values())) else []


def add(counts: dict[str, list[Any]]) -> None:
    """Add what another process has met."""
    COVERED.update(Coverage.from_dict(counts))
