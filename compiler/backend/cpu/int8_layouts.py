"""Where integer networks keep channels in blocks: what a matrix or dot-product instruction reads lies together.

The sums of an int8 convolution, and what follows them window by window or element by element, are stored "NCHW64c"
(32 or 16 where the channels are no multiple); an input with few channels is stored "NCHW4c", its tail zero.
"""

from __future__ import annotations

from collections.abc import Callable

from compiler.backend.cpu import amx, int8_dense, int8_winograd
from compiler.backend.cpu.dot_product import dot_product, dot_products
from compiler.backend.cpu.layouts import is_depthwise
from compiler.backend.cpu.processor import Processor
from compiler.graph.ir import Node, Value
from compiler.graph.layout import DEFAULT_LAYOUT
from compiler.target import NodeLayouts

_BLOCKS = (64, 32, 16)
_FOLLOWS = frozenset({"requantize", "max_pool2d", "avg_pool2d_sum", "clip"})


def channel_block(channels: int) -> int | None:
    """How many channels lie together; None: too few, or no whole number of vectors."""
    return next((block for block in _BLOCKS if channels % block == 0), None)


class Int8Layouts:
    """The layouts of one CPU's integer operators, if it has instructions for them; `mine`: which nodes run there."""

    def __init__(self, processor: Processor, mine: Callable[[Node], bool]) -> None:
        able = amx.available(processor) or any(dot_products(processor))
        self._processor = processor
        self._mine = mine if able else lambda node: False
        self._known: dict[Value, bool] = {}

    def preferred(self, node: Node) -> NodeLayouts | None:
        """The layouts around a node of a graph in which nothing has been re-laid yet; None: the default ones."""
        if node.op == "dense":
            return self._dense(node)
        if not self._blocked(node):
            return None
        layout = f"NCHW{channel_block(node.output.shape[1])}c"
        if node.op != "conv2d":
            inputs = tuple(layout if len(value.shape) == 4 else DEFAULT_LAYOUT for value in node.inputs)
            return NodeLayouts(inputs, layout)
        if is_depthwise(node):
            return NodeLayouts((layout, f"OIHW{channel_block(node.output.shape[1])}o"), layout)
        block = channel_block(node.inputs[0].shape[1]) or amx.QUAD
        weights = node.inputs[1].const
        assert weights is not None
        if int8_winograd.transform_of(node, self._processor) is not None:
            return NodeLayouts((f"NCHW{block}c", DEFAULT_LAYOUT), layout)
        instruction = None if amx.available(self._processor) else dot_product(self._processor, weights)
        stored = amx.weights_layout(block) if instruction is None else instruction.weights_layout(block)
        return NodeLayouts((f"NCHW{block}c", stored), layout)

    def _dense(self, node: Node) -> NodeLayouts | None:
        x, w = node.inputs[:2]
        if not self._mine(node) or w.const is None or not x.dtype == w.dtype == "int8":
            return None
        instruction = dot_product(self._processor, w.const)
        stored = None if instruction is None else int8_dense.weights_layout(w.shape[0], instruction)
        return None if stored is None else NodeLayouts((DEFAULT_LAYOUT, stored), DEFAULT_LAYOUT)

    def _blocked(self, node: Node) -> bool:
        value = node.output
        if value not in self._known:
            self._known[value] = self._decide(node)
        return self._known[value]

    def _decide(self, node: Node) -> bool:
        if not self._mine(node) or len(node.output.shape) != 4 or channel_block(node.output.shape[1]) is None:
            return False
        x = node.inputs[0]
        if node.op == "conv2d":
            w = node.inputs[1]
            known = w.const is not None and x.dtype == w.dtype == "int8" and len(node.inputs) == 2
            return known and (node.attrs["groups"] == 1 or is_depthwise(node))
        if node.op in _FOLLOWS and x.dtype in ("int8", "int32"):
            return x.producer is not None and self._blocked(x.producer)
        return node.op == "qadd" and all(
            value.shape == node.output.shape and value.producer is not None and self._blocked(value.producer)
            for value in node.inputs
        )
