"""Measuring in processes: candidates that hang, crash, run out of memory or fail, and workers that are killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from compiler.tune.errors import MeasureError
from compiler.tune.measure import Cost, InlineMeasurer, ProcessMeasurer
from tests.compiler.tune.faults import GIB, measure


def test_whatever_a_candidate_does_the_others_are_measured(tmp_path: Path) -> None:
    jobs = [
        ("cost", "3"), ("hang", ""), ("fail", ""), ("crash", ""), ("cost", "4"), ("memory", ""),
        ("die once", str(tmp_path / "died")), ("cost", "5"),
    ]  # fmt: skip
    with ProcessMeasurer(measure, workers=2, timeout=5.0, memory=16 * GIB) as measurer:
        results = measurer.measure(jobs)
        assert [r.cost for r in results] == [3.0, None, None, None, 4.0, None, 1.0, 5.0]
        assert results[0].trace == "trace"
        assert results[1].error == "took longer than 5 s"
        assert results[2].error == "ValueError: no such schedule"
        assert results[3].error == f"its process died (exit code {-signal.SIGSEGV})"
        assert results[5].error == "out of memory"
        assert [r.cost for r in measurer.measure([("cost", "7")])] == [7.0]
        processes = [worker.process for worker in measurer._workers]
    assert not any(process.is_alive() for process in processes)


def test_inline() -> None:
    results = InlineMeasurer(measure).measure([("cost", "2"), ("fail", "")])
    assert [r.cost for r in results] == [2.0, None]
    assert results[1].error == "ValueError: no such schedule"


class DeadlyToUnpickle:
    """A measure function whose process ends before it serves."""

    def __reduce__(self) -> tuple[object, ...]:
        return os._exit, (3,)

    def __call__(self, job: object) -> Cost:
        return Cost(1.0)


def test_no_worker_comes_up() -> None:
    with ProcessMeasurer(DeadlyToUnpickle(), workers=2) as measurer:
        with pytest.raises(MeasureError, match=r"did not start \(exit code 3\)"):
            measurer.measure([1, 2])
