"""Builds small QDQ graphs directly in the graph IR."""

from __future__ import annotations

import numpy as np

from compiler.graph.ir import Graph, Value


class QdqBuilder:
    """A graph of quantize/dequantize pairs around float operators, as an imported QDQ model has it."""

    def __init__(self) -> None:
        self.graph = Graph("qdq")

    def q(self, x: Value, scale: float, zero_point: int) -> Value:
        """A quantize and dequantize pair; returns the dequantised float value."""
        attrs = {"scale": np.float32(scale), "zero_point": np.int64(zero_point)}
        return self.graph.op("dequantize", [self.graph.op("quantize", [x], attrs)], attrs)

    def weight(self, array: np.ndarray, scale: np.ndarray) -> Value:
        """An int8 constant behind a dequantize along axis 0."""
        const = self.graph.const(array.astype(np.int8), "w")
        attrs = {"scale": scale.astype(np.float32), "zero_point": np.zeros(scale.shape, np.int64), "axis": 0}
        return self.graph.op("dequantize", [const], attrs)

    def done(self, *outputs: Value) -> Graph:
        """Mark the outputs and return the graph."""
        for index, value in enumerate(outputs):
            self.graph.mark_output(value, f"y{index}")
        return self.graph
