"""Errors of the VDLA target: what a schedule or a network asks for that this machine cannot do."""

from __future__ import annotations

from hw.errors import VdlaError


class LoweringError(VdlaError):
    """A lowered program that has no translation to VDLA instructions; says which statement and why."""


class CapacityError(VdlaError):
    """A layer that needs more of a buffer than the configuration has; says which, how much and how much there is."""
