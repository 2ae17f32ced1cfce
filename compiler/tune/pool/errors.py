"""What can be wrong with a pool."""

from __future__ import annotations

from compiler.tune.errors import MeasureError


class PoolError(MeasureError):
    """No scheduler at the address, no keys, no device of the kind that is asked for."""
