"""Mistakes a user of the command line or the Python API can make, beyond those of the packages below."""

from __future__ import annotations

from hw.errors import VdlaError


class ReportError(VdlaError):
    """A report folder that cannot be written or read."""


class UsageError(VdlaError):
    """Arguments that contradict each other or name something that does not exist."""
