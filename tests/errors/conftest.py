"""What a mistake on the command line must look like."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vdla.cli import run_cli

Refused = Callable[..., str]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    """Runs a command that must fail as a user's mistake, and returns its message."""

    def run(*arguments: str) -> str:
        assert run_cli(list(arguments)) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("error: ") and captured.err.count("\n") == 1, captured.err
        assert "Traceback" not in captured.err
        return captured.err.removeprefix("error: ").strip()

    return run
