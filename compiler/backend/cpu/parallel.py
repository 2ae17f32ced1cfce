"""Which loops run on several threads."""

from __future__ import annotations

from collections.abc import Sequence

from compiler.te.stage import Stage
from compiler.te.tensor import IterVar
from compiler.te.tiling import parallelize_leading

#: so many tasks keep a few threads evenly busy, more only cost; and what tuning may try instead
TASKS = (64, 8, 512)


def parallelize(stage: Stage, axes: Sequence[IterVar], tasks: int = TASKS[0]) -> IterVar | None:
    """Run the outermost loops `axes` (in loop order, leading ones) as tasks, as many of them fused as give `tasks`."""
    return parallelize_leading(stage, axes, tasks)
