"""Sums of int8 products by a processor's instruction for them, whichever it has.

All of them add the products of a few neighbouring channels to each int32 lane; a tile's sums stay in registers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from compiler.backend.cpu import neon_dot, neon_pairs, pmaddwd, vnni
from compiler.backend.cpu.amx import LANES, weights_layout
from compiler.backend.cpu.processor import Processor
from compiler.te.intrin import TensorIntrin
from compiler.te.tensor import Tensor

_NAMES = ("vpdpbusd", "pmaddwd", "sdot", "smlal", "smull")
#: the tags of the stages that are for each of them: convolutions, dense layers
CONVOLUTIONS = tuple(f"cpu.int8.conv.{name}" for name in _NAMES)
DENSE = tuple(f"cpu.int8.dense.{name}" for name in _NAMES)


@dataclass(frozen=True)
class DotProduct:
    """One such instruction.

    intrinsic: its declaration, of `lane_sums`. sums: how many vectors of 16 sums a tile keeps in registers: enough to
    hide the instruction's latency, with its weights and inputs beside them. reduced: the channels that it reduces, as
    groups of neighbours. operand: the type that x has for it; uint8 is int8 with 128 added (see `vnni`). exact: for
    which weights it is.
    """

    name: str
    intrinsic: Callable[[], TensorIntrin]
    sums: int
    reduced: tuple[int, ...] = (vnni.QUAD,)
    operand: str = "int8"
    exact: Callable[[np.ndarray], bool] = lambda weights: True

    @property
    def conv_tag(self) -> str:
        """Of the convolutions that are for it."""
        return CONVOLUTIONS[_NAMES.index(self.name)]

    @property
    def dense_tag(self) -> str:
        """Of the dense layers that are for it."""
        return DENSE[_NAMES.index(self.name)]

    def prepared(self, x: Tensor) -> Tensor:
        """int8 as it takes it."""
        if self.operand == "uint8":
            return vnni.unsigned(x)
        return pmaddwd.wide(x) if self.operand == "int16" else x

    def excess(self, weights: np.ndarray) -> Tensor | None:
        """What the sums of weights [O,...] have too much: int32 [O]."""
        return vnni.excess(weights) if self.operand == "uint8" else None

    def weights_layout(self, block: int) -> str:
        """Of weights whose input channels lie in blocks of so many."""
        return weights_layout(block, self.reduced)

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


def dot_products(processor: Processor) -> Iterator[DotProduct]:
    """Those of a processor, the fastest first."""
    size = processor.vector_bytes
    if vnni.available(processor):
        yield DotProduct("vpdpbusd", partial(vnni.dot, size), _sums(processor, size), operand="uint8")
    size = pmaddwd.vector_bytes(processor)
    if size is not None:
        pair = (pmaddwd.PAIR,)
        yield DotProduct("pmaddwd", partial(pmaddwd.dot, size), _sums(processor, size), pair, operand="int16")
    if neon_dot.available(processor):
        yield DotProduct("sdot", neon_dot.dot, _sums(processor, neon_dot.BYTES))
    if neon_pairs.available(processor):
        # A tile's products lie in registers beside its sums.
        sums, arm64 = _sums(processor, neon_pairs.BYTES) * 2 // 3, processor.doubles
        pair = (neon_pairs.PAIR,)
        yield DotProduct("smlal", partial(neon_pairs.dot, 2, arm64=arm64), sums, (2, *pair), exact=neon_pairs.fits)
        yield DotProduct("smull", partial(neon_pairs.dot, 1, arm64=arm64), sums, pair)


def dot_product(processor: Processor, weights: np.ndarray) -> DotProduct | None:
    """The fastest one of a processor that is exact for these weights, if it has any."""
    return next((d for d in dot_products(processor) if d.exact(weights)), None)


def dot_product_of(tag: str, processor: Processor) -> DotProduct:
    """The one that a stage with this tag is for."""
    return next(d for d in dot_products(processor) if tag in (d.conv_tag, d.dense_tag))


def _sums(processor: Processor, vector_bytes: int) -> int:
    """Three quarters of the registers, in vectors of 16 sums."""
    return processor.registers * 3 // 4 // (4 * LANES // vector_bytes)
