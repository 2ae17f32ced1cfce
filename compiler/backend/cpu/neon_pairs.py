"""Sums of int8 products on ARM processors without a dot product, by NEON's long products: tensor intrinsics.

Eight products of bytes are int16 (SMULL); two such vectors are added (SMLAL) before neighbours are added to int32 sums
(SADALP): three instructions for 16 products. The addition overflows for a pair of weights that both are -128 only, so
that weights with a -128 take the other form, without it: four instructions for 16 products.
"""

from __future__ import annotations

import numpy as np

from compiler.backend.cpu.lane_sums import lane_sums
from compiler.backend.cpu.processor import Processor
from compiler.backend.llvm.intrinsics import combine, invoke, lanes_of, repeated_load, vector_load
from compiler.ir import Expr
from compiler.te.intrin import Region, TensorIntrin

PAIR = 2
#: of a vector
BYTES = 16


def available(processor: Processor) -> bool:
    """Whether a processor has the instructions."""
    return "neon" in processor.features


def fits(weights: np.ndarray) -> bool:
    """Whether two products with these weights fit int16, whatever they are multiplied by."""
    return int(weights.min(initial=0)) > -128


def dot(pairs: int, *, arm64: bool) -> TensorIntrin:
    """int32 [16] += int8 [2 pairs] . int8 [pairs, 16, 2] ([16, 2] for one pair); at most two pairs."""
    reduced = (pairs, PAIR) if pairs > 1 else (PAIR,)
    multiply = "llvm.aarch64.neon.smull.v8i16" if arm64 else "llvm.arm.neon.vmulls.v8i16"

    def step(acc: Expr, x: Region, w: Region, lane: int) -> Expr:
        def product(pair: int) -> Expr:
            # ARMv7 loads whole vectors for twice as many sums; AArch64 loads two halves at once by itself.
            size = BYTES // 2 if arm64 else BYTES
            first = lane - lane % (size // PAIR)
            loaded = vector_load(f"v{size}i8", w.at(pair, first, 0) if pairs > 1 else w.at(first, 0))
            weights = lanes_of(loaded, PAIR * (lane - first), BYTES // 2)
            return invoke(multiply, repeated_load("v8i8", "i16", x.at(PAIR * pair)), weights, returns="v8i16")

        products = combine("add", product(0), product(1)) if pairs > 1 else product(0)
        if arm64:
            added = invoke("llvm.aarch64.neon.saddlp.v4i32.v8i16", products, returns="v4i32")
            return combine("add", acc, added)
        return invoke("llvm.arm.neon.vpadals.v4i32.v8i16", acc, products, returns="v4i32")

    return lane_sums("sadalp", "int8", reduced, BYTES // 4, step)
