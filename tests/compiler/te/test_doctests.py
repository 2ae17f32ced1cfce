"""The loop nests shown in the primitives' docstrings are what the primitives make."""

from __future__ import annotations

import doctest
import importlib

import pytest

from compiler import ir, te
from compiler.lower import lower

MODULES = ["tensor", "stage", "schedule", "intrin", "default_schedule", "scan", "extern"]


@pytest.mark.parametrize("name", MODULES)
def test_docstrings_show_what_happens(name: str) -> None:
    module = importlib.import_module(f"compiler.te.{name}")
    failed, _ = doctest.testmod(module, extraglobs={"te": te, "ir": ir, "lower": lower})
    assert failed == 0
