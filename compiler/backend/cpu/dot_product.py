"""Sums of int8 products by a processor's dot-product instruction, whichever it has.

All of them add four products of neighbouring bytes to each int32 lane; a tile's sums stay in registers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from compiler.backend.cpu import neon_dot, vnni
from compiler.backend.cpu.processor import Processor
from compiler.te.intrin import TensorIntrin


@dataclass(frozen=True)
class DotProduct:
    """One such instruction.

    intrinsic: its declaration: int32 [16] += x [4] . int8 [16, 4]. sums: how many of these sums a tile keeps in
    registers: enough to hide the instruction's latency, with its weights and inputs beside them. unsigned: whether x is
    uint8, which is int8 with 128 added (see `vnni.unsigned`).
    """

    intrinsic: Callable[[], TensorIntrin]
    sums: int
    unsigned: bool

    def tile(self, vectors: int, height: int, width: int) -> tuple[int, int]:
        """Vectors of outputs and pixels of a row whose sums stay in registers."""
        sizes = [
            (v, c) for v in range(1, vectors + 1) if vectors % v == 0 for c in range(1, width + 1) if width % c == 0
        ]
        return max((s for s in sizes if s[0] * s[1] <= self.sums), key=lambda s: s[0] * s[1] / (s[0] + s[1]))

    def extent(self, vectors: int, height: int, width: int, padded: bool) -> tuple[int, int]:
        """Height and width to compute, not less than the output's."""

        def cost(columns: int) -> float:
            v, c = self.tile(vectors, height, columns)
            return columns * (v + c) / (v * c)

        return height, min(range(width, width + (4 if padded else 1)), key=cost)


_VNNI = DotProduct(vnni.dot, 24, unsigned=True)
_NEON = DotProduct(neon_dot.dot, 6, unsigned=False)


def dot_product(processor: Processor) -> DotProduct | None:
    """The instruction of a processor, if it has one."""
    if vnni.available(processor):
        return _VNNI
    return _NEON if neon_dot.available(processor) else None
