"""Sums of int8 products by x86's products of int16 (PMADDWD, of every x86-64), declared as a tensor intrinsic.

Two neighbouring products are added in int32, so that nothing saturates, as it does in VPMADDUBSW. Inputs are stored as
int16; weights stay int8 and are widened when they are loaded, once for all pixels of a tile.
"""

from __future__ import annotations

from compiler.backend.cpu.lane_sums import lane_sums
from compiler.backend.cpu.processor import Processor
from compiler.backend.llvm.intrinsics import combine, invoke, repeated_load, vector_load, widen
from compiler.ir import Expr
from compiler.te.intrin import Region, TensorIntrin
from compiler.te.tensor import Tensor, compute

PAIR = 2
# Least bytes of a vector, the feature that it takes, what LLVM calls the instruction.
_FORMS = ((64, "avx512bw", "avx512.pmaddw.d.512"), (32, "avx2", "avx2.pmadd.wd"), (16, "sse2", "sse2.pmadd.wd"))
_NAMES = {size: name for size, _, name in _FORMS}


def vector_bytes(processor: Processor) -> int | None:
    """The longest vectors for which a processor has the instruction; None: it has none."""
    forms = (size for size, feature, _ in _FORMS if size <= processor.vector_bytes and feature in processor.features)
    return next(forms, None)


def wide(x: Tensor) -> Tensor:
    """int8 as int16."""
    return compute(x.shape, lambda *i: x[i].astype("int16"), f"{x.name}_wide")


def dot(size: int, weights: str = "int8") -> TensorIntrin:
    """int32 [16] += int16 [2] . int8 (or int16, as `weights` says) [16, 2], on vectors of `size` bytes."""
    lanes = size // 4
    kind, sums = f"v{PAIR * lanes}i16", f"v{lanes}i32"

    def step(acc: Expr, x: Region, w: Region, lane: int) -> Expr:
        if weights == "int8":
            loaded = widen(kind, vector_load(f"v{PAIR * lanes}i8", w.at(lane, 0)), signed=True)
        else:
            loaded = vector_load(kind, w.at(lane, 0))
        pairs = invoke(f"llvm.x86.{_NAMES[size]}", repeated_load(kind, "i32", x.address), loaded, returns=sums)
        return combine("add", acc, pairs)

    return lane_sums("pmaddwd", "int16", (PAIR,), lanes, step, weights)
