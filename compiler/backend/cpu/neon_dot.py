"""Sums of int8 products by AArch64's dot-product instruction (SDOT, an extension of ARMv8.2), a tensor intrinsic."""

from __future__ import annotations

from compiler.backend.cpu.lane_sums import lane_sums
from compiler.backend.cpu.processor import Processor
from compiler.backend.llvm.intrinsics import invoke, repeated_load, vector_load
from compiler.ir import Expr
from compiler.te.intrin import Region, TensorIntrin

#: of a vector
BYTES = 16


def available(processor: Processor) -> bool:
    """Whether a processor has the instruction."""
    return "dotprod" in processor.features


def dot() -> TensorIntrin:
    """int32 [16] += int8 [4] . int8 [16, 4]: four instructions."""

    def step(acc: Expr, x: Region, w: Region, lane: int) -> Expr:
        operands = repeated_load("v16i8", "i32", x.address), vector_load("v16i8", w.at(lane, 0))
        return invoke("llvm.aarch64.neon.sdot.v4i32.v16i8", acc, *operands, returns="v4i32")

    return lane_sums("sdot", "int8", (4,), BYTES // 4, step)
