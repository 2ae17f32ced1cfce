"""Recurrent layers with a constant weight: packed, so that a step reads it once, front to back, in whole vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from compiler.backend.cpu.dense import dense_block
from compiler.backend.cpu.processor import Processor
from compiler.graph.layout import pack
from compiler.ir import Expr
from compiler.ops.compute import constant
from compiler.ops.compute.recurrent import LAYERS, Layer
from compiler.ops.registry import Attrs, TensorType
from compiler.te.tensor import Tensor, compute, reduce_axis
from compiler.te.tensor import sum as te_sum


def recurrent_layer(
    op: str, inputs: Sequence[Tensor], weight: np.ndarray, attrs: Attrs, output: TensorType, processor: Processor
) -> Tensor:
    """As the layer's general expression.

    Args:
        op: "lstm", "gru" or "rnn".
        inputs: of the graph's operator; its recurrent weight (unused: `weight` is packed instead) among them.
        weight: [G*H,H].
    """
    lanes = processor.lanes

    class Packed(Layer):
        def product(self, source: Callable[[Expr, Expr, Expr], Expr], first: int, count: int, name: str) -> Tensor:
            block = dense_block((count, self.width), self.shape[1], processor)
            if block is None:
                return super().product(source, first, count, name)
            table = constant(pack(weight[first : first + count], f"OI{block}o"), f"{name}_weight")
            k = reduce_axis(self.width, "k")

            def element(t: Expr, n: Expr, o: Expr, v: Expr, lane: Expr) -> Expr:
                return te_sum(source(t, n, k) * table[o, k, v * lanes + lane], axis=k)

            shape = (*self.shape[:2], table.shape[0], block // lanes, lanes)
            sums = compute(shape, element, f"{name}_blocks")

            def row(t: Expr, n: Expr, j: Expr) -> Expr:
                return sums[t, n, j // block, j % block // lanes, j % lanes]

            return compute((*self.shape[:2], count), row, name)

    return LAYERS[op](inputs, attrs, output, Packed)
