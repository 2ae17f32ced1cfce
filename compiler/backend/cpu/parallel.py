"""Which loops run on several threads."""

from __future__ import annotations

import math
from collections.abc import Sequence

from compiler.te.stage import Stage
from compiler.te.tensor import IterVar

#: so many tasks keep a few threads evenly busy, more only cost; and what tuning may try instead
TASKS = (64, 8, 512)


def parallelize(stage: Stage, axes: Sequence[IterVar], tasks: int = TASKS[0]) -> IterVar | None:
    """Run the outermost loops `axes` (in loop order, leading ones) as tasks, as many of them fused as give `tasks`."""
    fused = fuse_leading(stage, axes, tasks)
    if fused is not None:
        stage.parallel(fused)
    return fused


def fuse_leading(stage: Stage, axes: Sequence[IterVar], iterations: int) -> IterVar | None:
    """One loop of as many of the outermost loops `axes` (in loop order, leading ones) as give so many iterations; None
    where there is but one iteration."""
    chosen: list[IterVar] = []
    for axis in axes:
        chosen.append(axis)
        if math.prod(a.extent for a in chosen) >= iterations:
            break
    return None if math.prod(a.extent for a in chosen) == 1 else stage.fuse(*chosen)
