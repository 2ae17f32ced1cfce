"""Sums of int8 products by AArch64's dot-product instruction (SDOT, an extension of ARMv8.2), a tensor intrinsic."""

from __future__ import annotations

from compiler.backend.cpu.processor import Processor
from compiler.backend.cpu.vnni import LANES, QUAD
from compiler.backend.llvm.intrinsics import invoke, repeated_load, vector_load, vector_store
from compiler.ir import Call, Expr, Load, Seq, Stmt
from compiler.te.intrin import Region, TensorIntrin, TensorizeContext, decl_tensor_intrin
from compiler.te.tensor import compute, placeholder, reduce_axis
from compiler.te.tensor import sum as te_sum

# int32 lanes of a vector.
_LANES = 4


def available(processor: Processor) -> bool:
    """Whether a processor has the instruction."""
    return processor.vector_bytes == 16 and "dotprod" in processor.features


def dot() -> TensorIntrin:
    """int32 [16] += int8 [4] . int8 [16, 4]: four instructions."""
    x, w = placeholder((QUAD,), "int8", "x"), placeholder((LANES, QUAD), "int8", "w")
    i = reduce_axis(QUAD, "i")

    def element(lane: Expr) -> Expr:
        return te_sum(x[i].astype("int32") * w[lane, i].astype("int32"), axis=i)

    def lower(ctx: TensorizeContext) -> Stmt:
        data, weights = ctx.inputs
        steps: list[Stmt] = []
        for lane in range(0, LANES, _LANES):
            sums = _at(ctx.output, lane)
            added = invoke(
                "llvm.aarch64.neon.sdot.v4i32.v16i8",
                vector_load("v4i32", sums),
                repeated_load("v16i8", "i32", data.address),
                vector_load("v16i8", _at(weights, lane * QUAD)),
                returns="v4i32",
            )
            steps.append(vector_store(sums, added))
        return Seq(steps)

    return decl_tensor_intrin(compute((LANES,), element, "sums"), "sdot", lower, init="separate", inputs=[x, w])


def _at(region: Region, offset: int) -> Expr:
    """The address `offset` elements behind a region's first; a block's memory is dense."""
    *outer, last = region.indices
    return Call("address_of", (Load(region.buffer, (*outer, last + offset)),), "handle")
