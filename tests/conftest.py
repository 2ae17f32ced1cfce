"""Prints what the random programs of tests/rtl have covered, from all processes, before pytest's own last line."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

_COVERED = "tests.rtl.covered"
_KEY = "rtl_coverage"


def _covered() -> ModuleType | None:
    """The module with the counts, if a test that has some was imported."""
    return sys.modules.get(_COVERED)


@pytest.hookimpl
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of pytest-xdist sends its counts home."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    covered = _covered()
    if output is not None and covered is not None:
        output[_KEY] = covered.COVERED.to_dict()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object | None) -> None:
    """They arrive here."""
    counts = getattr(node, "workeroutput", {}).get(_KEY)
    if counts is not None:
        # Only now: most runs of tests need none of what this imports.
        from tests.rtl import covered

        covered.add(counts)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    covered = _covered()
    lines = covered.report() if covered is not None else []
    if lines:
        terminalreporter.section("coverage of the random programs, RTL against cycle simulator")
        for line in lines:
            terminalreporter.write_line(line)
