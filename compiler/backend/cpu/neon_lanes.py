"""Sums of int16 products by NEON's long multiplication by one lane (SMLAL, VMLAL.S16), declared as a tensor intrinsic.

Four channels of a pixel are loaded at once, and each of them is multiplied with sixteen outputs' weights.
"""

from __future__ import annotations

from compiler.backend.cpu.lane_sums import lane_sums
from compiler.backend.llvm.intrinsics import combine, invoke, lanes_of, vector_load
from compiler.ir import Expr
from compiler.te.intrin import Region, TensorIntrin

#: of a vector
BYTES = 16
#: that a step takes
CHANNELS = 4
_LANES = BYTES // 4


def dot(*, arm64: bool) -> TensorIntrin:
    """int32 [16] += int16 [4] . int16 [4, 16, 1]."""
    multiply = f"llvm.{'aarch64.neon.smull' if arm64 else 'arm.neon.vmulls'}.v4i32"

    def step(acc: Expr, x: Region, w: Region, lane: int) -> Expr:
        pixel, first = vector_load("v4i16", x.address), lane - lane % (2 * _LANES)
        for channel in range(CHANNELS):
            # A load of a whole vector serves two vectors of sums.
            weights = lanes_of(vector_load("v8i16", w.at(channel, first, 0)), lane - first, _LANES)
            product = invoke(multiply, weights, lanes_of(pixel, channel, _LANES, step=0), returns="v4i32")
            acc = combine("add", acc, product)
        return acc

    return lane_sums("smlal.s16", "int16", (CHANNELS, 1), _LANES, step, "int16")
