"""Sums of int8 products by x86's dot-product instruction (AVX-512 VNNI), declared as a tensor intrinsic.

VPDPBUSD multiplies unsigned by signed bytes, so inputs are stored with 128 added, and 128 times the weights' sum, which
is known beforehand, is taken off the result. Sums wrap around in int32, so that nothing is lost.
"""

from __future__ import annotations

import numpy as np

from compiler.backend.cpu.processor import Processor
from compiler.backend.llvm.intrinsics import invoke, repeated_load, vector_load, vector_store
from compiler.ir import Expr, Stmt
from compiler.ops.compute import constant
from compiler.te.intrin import TensorIntrin, TensorizeContext, decl_tensor_intrin
from compiler.te.tensor import Tensor, compute, placeholder, reduce_axis
from compiler.te.tensor import sum as te_sum

LANES, QUAD = 16, 4
_OFFSET = 128


def available(processor: Processor) -> bool:
    """Whether a processor has the instruction on whole vectors."""
    return processor.vector_bytes == 64 and "avx512vnni" in processor.features


def unsigned(x: Tensor) -> Tensor:
    """int8 with 128 added, as uint8."""
    return compute(x.shape, lambda *i: (x[i].astype("int32") + _OFFSET).astype("uint8"), f"{x.name}_unsigned")


def excess(w: np.ndarray) -> Tensor:
    """What the offset adds to each output of weights [O,...]: int32 [O]."""
    sums = w.reshape(w.shape[0], -1).sum(axis=1, dtype=np.int64) * _OFFSET
    return constant(sums.astype(np.int32), "excess")


def dot() -> TensorIntrin:
    """int32 [16] += uint8 [4] . int8 [16, 4]."""
    x, w = placeholder((QUAD,), "uint8", "x"), placeholder((LANES, QUAD), "int8", "w")
    i = reduce_axis(QUAD, "i")

    def element(lane: Expr) -> Expr:
        return te_sum(x[i].astype("int32") * w[lane, i].astype("int32"), axis=i)

    def lower(ctx: TensorizeContext) -> Stmt:
        data, weights = ctx.inputs
        added = invoke(
            "llvm.x86.avx512.vpdpbusd.512",
            vector_load("v16i32", ctx.output.address),
            repeated_load("v64i8", "i32", data.address),
            vector_load("v64i8", weights.address),
            returns="v16i32",
        )
        return vector_store(ctx.output.address, added)

    return decl_tensor_intrin(compute((LANES,), element, "sums"), "vpdpbusd", lower, init="separate", inputs=[x, w])
