"""What the instructions for sums of int8 products have in common, as tensor intrinsics."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from compiler.backend.cpu.amx import LANES
from compiler.backend.llvm.intrinsics import vector_load, vector_store
from compiler.ir import Expr, Seq, Stmt
from compiler.te.intrin import Region, TensorIntrin, TensorizeContext, decl_tensor_intrin
from compiler.te.tensor import compute, placeholder, reduce_axis
from compiler.te.tensor import sum as te_sum

Step = Callable[[Expr, Region, Region, int], Expr]
"""(sums, x, w, lane) -> a vector's sums of outputs from `lane` on, with their products added."""


def lane_sums(
    name: str, operand: str, reduced: Sequence[int], lanes: int, step: Step, weights: str = "int8"
) -> TensorIntrin:
    """int32 [16] += x . w, of instructions with `lanes` sums each.

    Args:
        operand: the type of x [reduced channels], all of which lie together.
        reduced: the channels as groups of neighbours: (4,) or (2, 2); w is [16, 4] or [2, 16, 2].
        weights: the type of w.
    """
    *groups, last = reduced
    count = groups[0] if groups else 1
    x = placeholder((count * last,), operand, "x")
    w = placeholder((*groups, LANES, last), weights, "w")
    outer = [reduce_axis(extent, "rp") for extent in groups]
    i = reduce_axis(last, "ri")

    def element(lane: Expr) -> Expr:
        channel = outer[0] * last + i if outer else i
        return te_sum(x[channel].astype("int32") * w[(*outer, lane, i)].astype("int32"), axis=(*outer, i))

    def lower(ctx: TensorizeContext) -> Stmt:
        data, packed = ctx.inputs
        steps: list[Stmt] = []
        for lane in range(0, LANES, lanes):
            sums = ctx.output.at(lane)
            steps.append(vector_store(sums, step(vector_load(f"v{lanes}i32", sums), data, packed, lane)))
        return Seq(steps) if len(steps) > 1 else steps[0]

    return decl_tensor_intrin(compute((LANES,), element, "sums"), name, lower, init="separate", inputs=[x, w])
