"""Matrix products as tensor expressions."""

from __future__ import annotations

from collections.abc import Sequence

from compiler.ir import Expr
from compiler.ops.compute.indexing import broadcast
from compiler.ops.compute.registry import register_compute
from compiler.ops.registry import Attrs, TensorType
from compiler.te.tensor import Tensor, compute, reduce_axis
from compiler.te.tensor import sum as te_sum


@register_compute("dense")
def dense(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
    """x [N,K], w [O,K], optional bias [O] -> [N,O]."""
    x, w = inputs[0], inputs[1]
    k = reduce_axis(x.shape[1], "k")

    def element(n: Expr, o: Expr) -> Expr:
        return te_sum(x[n, k].astype(output.dtype) * w[o, k].astype(output.dtype), axis=k)

    result = compute(output.shape, element, "dense")
    if len(inputs) == 2:
        return result
    bias = inputs[2]
    return compute(output.shape, lambda n, o: result[n, o] + bias[o], "dense_bias")


@register_compute("matmul")
def matmul(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
    """[...,M,K] x [...,K,N] with broadcasting of the leading axes."""
    a, b = inputs
    k = reduce_axis(a.shape[-1], "k")

    def element(*indices: Expr) -> Expr:
        *lead, m, n = indices
        return te_sum(broadcast(a, (*lead, m, k)) * broadcast(b, (*lead, k, n)), axis=k)

    return compute(output.shape, element, "matmul")
