"""Matrix products as tensor expressions."""

from __future__ import annotations

from collections.abc import Sequence

from compiler.ir import Expr
from compiler.ops.compute.indexing import broadcast
from compiler.ops.compute.registry import register_compute
from compiler.ops.dense import einsum_extents, parse_einsum
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


@register_compute("einsum")
def einsum(inputs: Sequence[Tensor], attrs: Attrs, output: TensorType) -> Tensor:
    """The product of all operands, summed over the letters that the result does not have."""
    operands, result = parse_einsum(attrs["equation"])
    extents = einsum_extents([TensorType(x.shape, x.dtype) for x in inputs], attrs["equation"])
    summed = {letter: reduce_axis(extent, letter) for letter, extent in extents.items() if letter not in result}

    def element(*indices: Expr) -> Expr:
        index = {**dict(zip(result, indices, strict=True)), **summed}
        product: Expr | None = None
        for tensor, letters in zip(inputs, operands, strict=True):
            factor = tensor[tuple(index[letter] for letter in letters)]
            product = factor if product is None else product * factor
        assert product is not None
        return te_sum(product, axis=list(summed.values())) if summed else product

    return compute(output.shape, element, "einsum")
