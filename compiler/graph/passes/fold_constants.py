"""Constant folding: nodes whose operands are all constant are computed at compile time."""

from __future__ import annotations

from compiler.graph.ir import Graph, Node, Rewriter, Value, rewrite
from compiler.ops import get_op


def fold_constants(graph: Graph, *, through_dequantize: bool = False) -> Graph:
    """Fold constant nodes. DequantizeLinear of a weight is kept unless `through_dequantize`, since the QDQ
    conversion needs the integers behind it."""

    def visit(rewriter: Rewriter, node: Node, inputs: list[Value]) -> Value | None:
        if node.op == "dequantize" and not through_dequantize:
            return None
        operands = [value.const for value in inputs if value.const is not None]
        if len(operands) < len(inputs):
            return None
        folded = rewriter.graph.const(get_op(node.op).reference(operands, node.attrs), node.output.name)
        folded.origin, folded.quant, folded.layout = node.output.origin, node.output.quant, node.output.layout
        return folded

    return rewrite(graph, visit)
