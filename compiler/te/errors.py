"""Errors of tensor expressions and schedules.  Each names what is wrong, the stage, and the user's own line."""

from __future__ import annotations

import sys
from pathlib import Path

from compiler.errors import CompileError

_PACKAGE = str(Path(__file__).resolve().parents[1]) + "/"


def user_location() -> str:
    """``file:line`` of the innermost caller outside the ``compiler`` package (where the user wrote the call)."""
    frame = sys._getframe(1)
    while frame is not None:
        filename = frame.f_code.co_filename
        if not filename.startswith(_PACKAGE):
            return f"{filename}:{frame.f_lineno}"
        frame = frame.f_back
    return "<unknown>"


class TensorExprError(CompileError):
    """A tensor expression is malformed: a shape, an index, a reduction in the wrong place."""

    def __init__(self, message: str) -> None:
        super().__init__(f"{message} (at {user_location()})")


class ScheduleError(CompileError):
    """A schedule primitive cannot be applied.

    Args:
        primitive: its name (``split``).
        stage: name of the stage it was applied to (empty: the schedule).
        message: which argument is wrong and what would be right.
        location: ``file:line`` of the user's call; found by itself if not given.
    """

    def __init__(self, primitive: str, stage: str, message: str, location: str | None = None) -> None:
        self.primitive, self.stage = primitive, stage
        self.location = location or user_location()
        where = f"s[{stage}].{primitive}" if stage else primitive
        super().__init__(f"{where}: {message} (at {self.location})")


class TensorizeError(ScheduleError):
    """A sub-nest is not what the tensor intrinsic declares; names the subterm that differs.

    Attributes:
        expected: the intrinsic's subterm, as text.
        found: the stage's subterm, as text.
    """

    def __init__(
        self, stage: str, intrin: str, message: str, expected: str = "", found: str = "", location: str | None = None
    ) -> None:
        self.expected, self.found = expected, found
        detail = f"; expected {expected}, found {found}" if expected or found else ""
        super().__init__("tensorize", stage, f"'{intrin}' does not match: {message}{detail}", location)
