"""Loops of a wanted number of iterations."""

from __future__ import annotations

import math
from collections.abc import Sequence

from compiler.te.stage import Stage
from compiler.te.tensor import IterVar


def divisor(extent: int, limit: int) -> int:
    """The greatest divisor of `extent` that is at most `limit`: tiles without a rest need no guard."""
    return max(d for d in range(1, limit + 1) if extent % d == 0)


def fuse_leading(stage: Stage, axes: Sequence[IterVar], iterations: int) -> IterVar | None:
    """One loop of as many of the outermost loops `axes` (in loop order, leading ones) as give so many iterations; None
    where there is but one iteration."""
    chosen: list[IterVar] = []
    for axis in axes:
        chosen.append(axis)
        if math.prod(a.extent for a in chosen) >= iterations:
            break
    return None if math.prod(a.extent for a in chosen) == 1 else stage.fuse(*chosen)


def parallelize_leading(stage: Stage, axes: Sequence[IterVar], tasks: int) -> IterVar | None:
    """Run the outermost loops `axes` (in loop order, leading ones) in parallel, as many of them fused as give `tasks`;
    None where there is but one iteration."""
    fused = fuse_leading(stage, axes, tasks)
    if fused is not None:
        stage.parallel(fused)
    return fused
