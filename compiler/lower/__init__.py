"""From schedules to loops: a flat list of passes (see :mod:`compiler.lower.pipeline`)."""

from compiler.lower.pipeline import PASSES, Pass, PassContext, lower

__all__ = ["PASSES", "Pass", "PassContext", "lower"]
