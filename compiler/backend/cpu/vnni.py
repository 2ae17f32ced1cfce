"""Sums of int8 products by x86's dot-product instruction (AVX-512 VNNI, AVX-VNNI), declared as a tensor intrinsic.

VPDPBUSD multiplies unsigned by signed bytes, so inputs are stored with 128 added, and 128 times the weights' sum, which
is known beforehand, is taken off the result. Sums wrap around in int32, so that nothing is lost.
"""

from __future__ import annotations

import numpy as np

from compiler.backend.cpu.lane_sums import lane_sums
from compiler.backend.cpu.processor import Processor
from compiler.backend.llvm.intrinsics import invoke, repeated_load, vector_load
from compiler.ir import Expr
from compiler.ops.compute import constant
from compiler.te.intrin import Region, TensorIntrin
from compiler.te.tensor import Tensor, compute

QUAD = 4
_OFFSET = 128
_FEATURE = {64: "avx512vnni", 32: "avxvnni"}


def available(processor: Processor) -> bool:
    """Whether a processor has the instruction on whole vectors."""
    return _FEATURE.get(processor.vector_bytes) in processor.features


def unsigned(x: Tensor) -> Tensor:
    """int8 with 128 added, as uint8."""
    return compute(x.shape, lambda *i: (x[i].astype("int32") + _OFFSET).astype("uint8"), f"{x.name}_unsigned")


def excess(w: np.ndarray) -> Tensor:
    """What the offset adds to each output of weights [O,...]: int32 [O]."""
    sums = w.reshape(w.shape[0], -1).sum(axis=1, dtype=np.int64) * _OFFSET
    return constant(sums.astype(np.int32), "excess")


def dot(vector_bytes: int) -> TensorIntrin:
    """int32 [16] += uint8 [4] . int8 [16, 4], on vectors of 64 or 32 bytes."""
    lanes = vector_bytes // 4
    kind, sums = f"v{vector_bytes}i8", f"v{lanes}i32"

    def step(acc: Expr, x: Region, w: Region, lane: int) -> Expr:
        operands = repeated_load(kind, "i32", x.address), vector_load(kind, w.at(lane, 0))
        return invoke(f"llvm.x86.avx512.vpdpbusd.{8 * vector_bytes}", acc, *operands, returns=sums)

    return lane_sums("vpdpbusd", "uint8", (QUAD,), lanes, step)
