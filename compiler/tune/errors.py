"""Mistakes in tuning: a template, a database file, a request that cannot be met."""

from __future__ import annotations

from compiler.errors import CompileError


class TuneError(CompileError):
    """Base of every error of the tuner."""


class SpaceError(TuneError):
    """A schedule template declares its knobs inconsistently, or a point is not in its space."""


class DatabaseError(TuneError):
    """A tuning database that cannot be read or written."""


class MeasureError(TuneError):
    """Measuring cannot start: no worker process comes up."""
