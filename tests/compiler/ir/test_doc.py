"""The page about the loop IR runs."""

from __future__ import annotations

import doctest
from pathlib import Path


def test_page() -> None:
    page = Path(__file__).parents[3] / "docs" / "loop_ir.md"
    failed, tried = doctest.testfile(str(page), module_relative=False)
    assert tried > 5 and failed == 0
