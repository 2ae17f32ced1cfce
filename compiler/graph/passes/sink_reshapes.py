"""Reshapes move behind element-wise operators, which then stay beside the layer whose result was reshaped."""

from __future__ import annotations

import numpy as np

from compiler.graph.ir import Graph, Node, Rewriter, Value, rewrite

_UNARY = frozenset("abs clip erf exp log neg reciprocal relu sigmoid sqrt tanh".split())
_BINARY = frozenset("add div maximum minimum mul pow sub".split())


def sink_reshapes(graph: Graph) -> Graph:
    """f(reshape(x), c) becomes reshape(f(x, c)): of one operand, of several reshaped alike, or with constants that go
    with the last axis where that stays what it was.

    A product [B,S,K] x [K,N] is a dense layer between two reshapes; its bias and activation join it this way.
    """

    def visit(rewriter: Rewriter, node: Node, inputs: list[Value]) -> Value | None:
        if node.op not in _UNARY | _BINARY:
            return None
        out = node.output
        before = {_before(value) for value in inputs if value.const is None}
        if len(before) != 1 or any(value.shape != out.shape for value in inputs if value.const is None):
            return None
        (shape,) = before
        if shape is None:
            return None
        flat: list[Value] = []
        for value in inputs:
            if value.const is None:
                assert value.producer is not None
                flat.append(value.producer.inputs[0])
                continue
            constant = _of_last_axis(value.const, out.shape[-1] if shape[-1:] == out.shape[-1:] else 1)
            if constant is None:
                return None
            flat.append(rewriter.graph.const(constant, value.name))
        result = rewriter.graph.op(node.op, flat, node.attrs, name=node.name, output=f"{out.name}.flat")
        return rewriter.graph.op(
            "reshape", [result], {"shape": out.shape}, name=f"{node.name}.reshape", output=out.name, origin=out.origin,
            quant=out.quant,
        )  # fmt: skip

    return rewrite(graph, visit)


def _before(value: Value) -> tuple[int, ...] | None:
    """The shape that a value was reshaped from; None for what is no reshape's result, or is one of quantised numbers:
    their integer forms are found around them."""
    reshape = value.producer
    if reshape is None or reshape.op != "reshape":
        return None
    source = reshape.inputs[0]
    quantized = source.producer is not None and source.producer.op == "dequantize"
    return None if quantized else source.shape


def _of_last_axis(constant: np.ndarray, extent: int) -> np.ndarray | None:
    """The constant as [extent] or [1] if it has no more elements than that, all of them on its last axis."""
    if constant.size == 1 or (constant.size == extent == constant.shape[-1]):
        return constant.reshape(constant.size)
    return None
