"""The counts of coverage that a test run adds up, and what the random programs meet when there are some more."""

from __future__ import annotations

import pytest

from sim.rtl.campaign import Plan, State, sweep
from sim.rtl.cases import SMALL
from sim.rtl.coverage import Coverage
from tests.rtl import covered


def test_counts_of_processes_are_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(covered, "COVERED", Coverage())
    assert not covered.report()
    counts = Coverage().to_dict()
    counts["flag"][0] = 3
    for _ in range(2):
        covered.add(counts)
    assert covered.COVERED.to_dict()["flag"][0] == 6
    lines = covered.report()
    assert lines[0].startswith("coverage flag") and any(line.startswith("never met: ") for line in lines)


@pytest.mark.slow
def test_more_programs_leave_nothing_out() -> None:
    """Every legal point: the normal tests' programs leave out a few of the widest cross (test_random.py)."""
    plan = Plan(machines=len(SMALL), programs=150, profiles=2, length=30, seed=0)
    state = State(None, plan)
    assert sweep(plan, state, 2, lambda _: None, lambda _: None) is None
    assert not state.total.coverage.missing, str(state.total.coverage)
