"""Where channels are stored in blocks of a vector, so that one load is one vector of neighbouring channels.

A float convolution wants blocks ("NCHW16c"); what follows it element by element or window by window keeps them; so the
choice runs down the graph from each convolution.
"""

from __future__ import annotations

from collections.abc import Callable

from compiler.backend.cpu.dense import dense_block
from compiler.backend.cpu.processor import Processor
from compiler.graph.ir import Node, Value
from compiler.graph.layout import DEFAULT_LAYOUT, parse_layout
from compiler.target import NodeLayouts

_UNARY = frozenset({"relu", "sigmoid", "tanh", "exp", "sqrt", "neg", "abs", "clip"})
_BINARY = frozenset({"add", "sub", "mul", "div"})
_POOLS = frozenset({"max_pool2d", "avg_pool2d"})
#: operators that compute each channel from the same channel, so that blocks of channels pass through them
BLOCK_PRESERVING = _UNARY | _BINARY | _POOLS


def block_of(layout: str) -> int:
    """How many channels a block of "NCHW16c" or of a weight "OIHW16i16o" has; 0 for a layout without blocks."""
    _, blocks = parse_layout(layout)
    return blocks[-1][1] if blocks else 0


def is_depthwise(node: Node) -> bool:
    """Whether a convolution has one input channel for each output channel."""
    x, w = node.inputs[0], node.inputs[1]
    return node.attrs["groups"] == x.shape[1] == w.shape[0] > 1


def phases_of(node: Node) -> bool:
    """Whether a transposed convolution is computed by phases (see `transposed`)."""
    w = node.inputs[1]
    plain = node.attrs["groups"] == 1 and tuple(node.attrs["dilations"]) == (1, 1)
    return plain and w.const is not None and len(w.shape) == 4 and w.dtype == "float32"


class BlockedLayouts:
    """The layouts that one CPU wants."""

    def __init__(self, processor: Processor, mine: Callable[[Node], bool]) -> None:
        self.processor = processor
        self._mine = mine
        self._known: dict[Value, str] = {}

    def preferred(self, node: Node) -> NodeLayouts | None:
        """The layouts around a node of a graph in which nothing has been re-laid yet; None: the default ones."""
        if node.op == "dense":
            return self._dense(node)
        layout = self._output(node)
        if node.op == "conv_transpose":
            return self._transposed(node, layout or DEFAULT_LAYOUT)
        if layout is None:
            return None
        if node.op == "conv2d":
            return self._convolution(node, layout)
        inputs = tuple(layout if len(value.shape) == 4 else DEFAULT_LAYOUT for value in node.inputs)
        return NodeLayouts(inputs, layout)

    def _dense(self, node: Node) -> NodeLayouts | None:
        w = node.inputs[1]
        block = dense_block(w.shape, node.inputs[0].shape[0], self.processor)
        if not self._mine(node) or w.const is None or w.dtype != "float32" or block is None:
            return None
        bias = (DEFAULT_LAYOUT,) * (len(node.inputs) - 2)
        return NodeLayouts((DEFAULT_LAYOUT, f"OI{block}o", *bias), DEFAULT_LAYOUT)

    def _channels(self, channels: int) -> str | None:
        block = next(
            (b for b in (self.processor.lanes, self.processor.lanes // 2) if b >= 4 and channels % b == 0), None
        )
        return None if block is None else f"NCHW{block}c"

    def _output(self, node: Node) -> str | None:
        value = node.output
        if value not in self._known:
            self._known[value] = self._decide(node) or DEFAULT_LAYOUT
        known = self._known[value]
        return None if known == DEFAULT_LAYOUT else known

    def _decide(self, node: Node) -> str | None:
        value = node.output
        if not self._mine(node) or len(value.shape) != 4 or value.dtype != "float32":
            return None
        if node.op == "conv2d":
            plain = node.attrs["groups"] == 1 or is_depthwise(node)
            return self._channels(value.shape[1]) if plain else None
        if node.op == "conv_transpose":
            return self._channels(value.shape[1]) if phases_of(node) else None
        if node.op in _POOLS or node.op in _UNARY:
            return self._of(node.inputs[0])
        if node.op in _BINARY:
            whole = [v for v in node.inputs if v.shape == value.shape]
            rest = [v for v in node.inputs if v.shape != value.shape]
            channel = (1, value.shape[1], 1, 1)
            if any(v.const is None or v.shape not in (channel, (), (1,)) for v in rest):
                return None
            return next(filter(None, map(self._of, whole)), None)
        return None

    def _of(self, value: Value) -> str | None:
        return None if value.producer is None else self._output(value.producer)

    def _transposed(self, node: Node, layout: str) -> NodeLayouts | None:
        if not self._mine(node) or not phases_of(node):
            return None
        source = self._channels(node.inputs[0].shape[1]) or DEFAULT_LAYOUT
        return NodeLayouts((source, *(DEFAULT_LAYOUT,) * (len(node.inputs) - 1)), layout)

    def _convolution(self, node: Node, layout: str) -> NodeLayouts:
        block = block_of(layout)
        source = layout if is_depthwise(node) else self._channels(node.inputs[0].shape[1]) or DEFAULT_LAYOUT
        inner = f"{block_of(source)}i" if block_of(source) and not is_depthwise(node) else ""
        bias = (DEFAULT_LAYOUT,) * (len(node.inputs) - 2)
        return NodeLayouts((source, f"OIHW{inner}{block}o", *bias), layout)
