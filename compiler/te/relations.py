"""How the loops of a stage derive from its axes: splits and fusions, and extents and values along them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from compiler.te.tensor import IterVar


@dataclass(frozen=True)
class Split:
    """``parent = outer * extent(inner) + inner``; exactly one of ``factor`` (extent of inner) and ``nparts`` is set."""

    parent: IterVar
    outer: IterVar
    inner: IterVar
    factor: int | None
    nparts: int | None


@dataclass(frozen=True)
class Fuse:
    """``fused = outer * extent(inner) + inner``."""

    outer: IterVar
    inner: IterVar
    fused: IterVar


Relation = Split | Fuse


def split_extents(extent: int, factor: int | None, nparts: int | None) -> tuple[int, int]:
    """Extents of outer and inner loop of a split axis; their product is at least ``extent``."""
    inner = min(factor, extent) if factor is not None else -(-extent // (nparts or 1))
    return -(-extent // inner), inner


def pass_down(relations: Iterable[Relation], extents: dict[IterVar, int]) -> None:
    """Extend ``extents`` (given for the axes) to every derived loop."""
    for r in relations:
        if isinstance(r, Split):
            extents[r.outer], extents[r.inner] = split_extents(extents[r.parent], r.factor, r.nparts)
        else:
            extents[r.fused] = extents[r.outer] * extents[r.inner]
