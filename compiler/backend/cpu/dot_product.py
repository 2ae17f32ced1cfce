"""Sums of int8 products by a processor's instruction for them, whichever it has.

All of them add the products of a few neighbouring channels to each int32 lane; a tile's sums stay in registers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from compiler.backend.cpu import neon_dot, neon_lanes, neon_pairs, pmaddwd, vnni
from compiler.backend.cpu.amx import LANES, weights_layout
from compiler.backend.cpu.processor import Processor
from compiler.te.intrin import TensorIntrin
from compiler.te.tensor import Tensor

# Registers beside a tile's sums and weights: an input and a product.
_BESIDE = 2
_NAMES = ("vpdpbusd", "pmaddwd", "sdot", "smlal", "smull")
#: the tags of the stages that are for each of them: convolutions, dense layers
CONVOLUTIONS = tuple(f"cpu.int8.conv.{name}" for name in _NAMES)
DENSE = tuple(f"cpu.int8.dense.{name}" for name in _NAMES)


@dataclass(frozen=True)
class DotProduct:
    """One such instruction.

    intrinsic: its declaration, of `lane_sums`. registers: the processor's, of vector_bytes each. products: how many an
    instruction does, on average where it takes several. reduced: the channels that it reduces, as groups of neighbours.
    operand: the type that x has for it; uint8 is int8 with 128 added (see `vnni`). exact: for which weights it is.
    weight_bytes: of a weight in a register. inputs: instructions that load a pixel's inputs for a step; 0: as many as
    registers for its weights. fused: whether it adds to the sums by itself; if not, products lie in registers beside
    the weights that a tile's pixels share. share: of the registers, for sums.
    """

    name: str
    intrinsic: Callable[[], TensorIntrin]
    registers: int
    vector_bytes: int
    products: float
    reduced: tuple[int, ...] = (vnni.QUAD,)
    operand: str = "int8"
    exact: Callable[[np.ndarray], bool] = lambda weights: True
    weight_bytes: int = 1
    inputs: int = 0
    fused: bool = True
    share: float = 3 / 4

    @property
    def parts(self) -> int:
        """Registers of 16 sums."""
        return 4 * LANES // self.vector_bytes

    @property
    def weights(self) -> int:
        """Registers of a step's weights for 16 sums."""
        return LANES * math.prod(self.reduced) * self.weight_bytes // self.vector_bytes

    @property
    def sums(self) -> int:
        """How many vectors of 16 sums a tile may keep in registers: more than hide the instruction's latency."""
        return int(self.registers * self.share) // self.parts

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
            (v, c)
            for v in range(1, min(vectors, self.sums) + 1)
            for c in range(1, min(width, self.sums // v) + 1)
            if vectors % v == 0 and width % c == 0
        ]
        if not self.fused:
            sizes = [(v, c) for v, c in sizes if v * (self.parts * c + self.weights) + _BESIDE <= self.registers]
        return min(sizes, key=lambda size: self._cost(*size))

    def extent(self, vectors: int, height: int, width: int, padded: bool) -> tuple[int, int]:
        """Height and width to compute, not less than the output's."""

        def cost(columns: int) -> float:
            return columns * self._cost(*self.tile(vectors, height, columns))

        return height, min(range(width, width + (4 if padded else 1)), key=cost)

    def _cost(self, vectors: int, columns: int) -> float:
        """Loads of a tile's step for each of its vectors of sums."""
        return (self.weights * vectors + (self.inputs or self.weights) * columns) / (vectors * columns)


def dot_products(processor: Processor) -> Iterator[DotProduct]:
    """Those of a processor, the fastest first."""
    size, registers = processor.vector_bytes, processor.registers
    if vnni.available(processor):
        yield DotProduct("vpdpbusd", partial(vnni.dot, size), registers, size, size, operand="uint8")
    size = pmaddwd.vector_bytes(processor)
    if size is not None:
        yield _pmaddwd(processor, size, "int8")
    if neon_dot.available(processor):
        yield DotProduct("sdot", neon_dot.dot, registers, neon_dot.BYTES, neon_dot.BYTES)
    if neon_pairs.available(processor):
        # A tile's products lie in registers beside its sums.
        made = partial(DotProduct, registers=registers, vector_bytes=neon_pairs.BYTES, share=1 / 2)
        smlal, smull = (partial(neon_pairs.dot, pairs, arm64=processor.doubles) for pairs in (2, 1))
        pair = neon_pairs.PAIR
        yield made("smlal", smlal, products=16 / 3, reduced=(2, pair), exact=neon_pairs.fits)
        yield made("smull", smull, products=16 / 4, reduced=(pair,))


def dot_product(processor: Processor, weights: np.ndarray) -> DotProduct | None:
    """The fastest one of a processor that is exact for these weights, if it has any."""
    return next((d for d in dot_products(processor) if d.exact(weights)), None)


def dot_product_int16(processor: Processor) -> DotProduct | None:
    """The one whose weights are int16 as well, if a processor has any."""
    size = pmaddwd.vector_bytes(processor)
    if size is not None:
        return _pmaddwd(processor, size, "int16")
    if not neon_pairs.available(processor):
        return None
    intrinsic, reduced = partial(neon_lanes.dot, arm64=processor.doubles), (neon_lanes.CHANNELS, 1)
    made = partial(DotProduct, registers=processor.registers, vector_bytes=neon_lanes.BYTES, share=5 / 8)
    return made("smlal.s16", intrinsic, products=4, reduced=reduced, operand="int16", weight_bytes=2, inputs=1)


def dot_product_of(tag: str, processor: Processor) -> DotProduct:
    """The one that a stage with this tag is for."""
    return next(d for d in dot_products(processor) if tag in (d.conv_tag, d.dense_tag))


def _pmaddwd(processor: Processor, size: int, weights: str) -> DotProduct:
    """Two instructions for half as many products as a vector has bytes; sums of shorter vectors than the longest have a
    unit of their own beside the two that multiply."""
    intrinsic = partial(pmaddwd.dot, size, weights)
    made = partial(DotProduct, registers=processor.registers, vector_bytes=size, reduced=(pmaddwd.PAIR,), fused=False)
    return made(
        "pmaddwd",
        intrinsic,
        products=size / 4 if size == 64 else 3 * size / 8,
        operand="int16",
        weight_bytes=2,
        inputs=1,
    )
