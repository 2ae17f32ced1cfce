"""The graph IR: a typed dataflow graph of operators on tensors, in single assignment and topological order.

Passes do not edit a graph in place: `rewrite` rebuilds it node by node in topological order and lets a visitor
replace some of them, so that order and single assignment hold by construction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from compiler.errors import GraphError, ShapeError
from compiler.graph.layout import DEFAULT_LAYOUT, pack, storage_shape
from compiler.ops import TensorType, get_op


@dataclass(frozen=True)
class QuantInfo:
    """How the integers of a value stand for reals: real = (integer - zero_point) * scale.

    `offset` is what was subtracted from the model's own integers at import (128 for uint8 tensors, else 0), so
    that the tensor `origin` of the ONNX model equals value + offset.
    """

    scale: float
    zero_point: int
    offset: int = 0


@dataclass(eq=False)
class Value:
    """A tensor: graph input, constant, or the output of `producer`.

    shape is logical, `layout` says how the elements are stored; `const` holds a constant's elements (logical
    shape). `origin` names the ONNX tensor that this value corresponds to.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    const: np.ndarray | None = None
    layout: str = DEFAULT_LAYOUT
    origin: str | None = None
    quant: QuantInfo | None = None
    producer: Node | None = field(default=None, repr=False)

    @property
    def type(self) -> TensorType:
        """Logical shape and element type."""
        return TensorType(self.shape, self.dtype)

    @property
    def storage_shape(self) -> tuple[int, ...]:
        """The shape as stored, in the value's layout."""
        return storage_shape(self.shape, self.layout)

    @property
    def nbytes(self) -> int:
        """Bytes the value occupies as stored."""
        return int(np.prod(self.storage_shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize

    def storage(self) -> np.ndarray:
        """A constant's elements as stored; GraphError for a value that is not constant."""
        if self.const is None:
            raise GraphError(f"value '{self.name}' is not constant")
        return pack(self.const, self.layout)


@dataclass(eq=False)
class Node:
    """One operator application. `target` and `reason` are set by the partition pass."""

    op: str
    inputs: list[Value]
    outputs: list[Value]
    attrs: dict[str, Any]
    name: str
    target: str | None = None
    reason: str | None = None

    @property
    def output(self) -> Value:
        """The only output."""
        return self.outputs[0]


class Graph:
    """A dataflow graph: inputs, nodes in topological order, outputs.

    `output_names` are the names the user knows the outputs by (a pass may replace the value behind one); outputs
    are added by `mark_output`.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.output_names: list[str] = []
        self.inputs: list[Value] = []
        self.outputs: list[Value] = []
        self.nodes: list[Node] = []
        self._names: set[str] = set()

    def _unique(self, name: str) -> str:
        candidate, count = name, 0
        while candidate in self._names:
            count += 1
            candidate = f"{name}.{count}"
        self._names.add(candidate)
        return candidate

    def input(self, name: str, shape: Sequence[int], dtype: str) -> Value:
        """Declare a graph input; GraphError when the name is taken."""
        if name in self._names:
            raise GraphError(f"two values are named '{name}'")
        value = Value(self._unique(name), tuple(shape), dtype, origin=name)
        self.inputs.append(value)
        return value

    def const(self, array: np.ndarray, name: str) -> Value:
        """A constant (made unique by name); it belongs to the graph once a node uses it."""
        array = np.asarray(array)
        return Value(self._unique(name), tuple(array.shape), array.dtype.name, const=array)

    def adopt(self, value: Value) -> Value:
        """Take an input or a constant of another graph over, keeping the object."""
        self._names.add(value.name)
        return value

    def op(
        self,
        op: str,
        inputs: Sequence[Value],
        attrs: Mapping[str, Any] | None = None,
        *,
        name: str | None = None,
        output: str | None = None,
        origin: str | None = None,
        quant: QuantInfo | None = None,
        layout: str = DEFAULT_LAYOUT,
    ) -> Value:
        """Append a node and return its output value.

        `name` names the node, `output` the value (default: the node's name). ShapeError when the inputs do not
        fit, naming the node.
        """
        definition = get_op(op)
        bound = definition.bind(attrs or {})
        label = name or op
        try:
            inferred = definition.output_type([value.type for value in inputs], bound)
        except ShapeError as error:
            raise ShapeError(f"node '{label}': {error}") from None
        value_name = self._unique(output or label)
        value = Value(
            value_name, inferred.shape, inferred.dtype, layout=layout, origin=origin or value_name, quant=quant
        )
        node = Node(op, list(inputs), [value], bound, label)
        value.producer = node
        self.nodes.append(node)
        return value

    def mark_output(self, value: Value, name: str | None = None) -> None:
        """Make a value a graph output, known to the user as `name` (default: the value's name)."""
        self.outputs.append(value)
        self.output_names.append(name or value.name)

    def rename(self, value: Value, name: str) -> None:
        """Give a value another name, made unique, and make it the value's origin."""
        self._names.discard(value.name)
        value.name = self._unique(name)
        value.origin = name

    def consumers(self) -> dict[Value, list[Node]]:
        """The nodes that read each value (a node once per use), in topological order."""
        users: dict[Value, list[Node]] = {value: [] for value in self.values()}
        for node in self.nodes:
            for value in node.inputs:
                users[value].append(node)
        return users

    def values(self) -> list[Value]:
        """All values: inputs, constants (at their first use) and outputs of nodes, in topological order."""
        seen: dict[Value, None] = dict.fromkeys(self.inputs)
        for node in self.nodes:
            for value in (*node.inputs, *node.outputs):
                seen[value] = None
        for value in self.outputs:
            seen[value] = None
        return list(seen)

    def constants(self) -> list[Value]:
        """All constants that a node or an output uses."""
        return [value for value in self.values() if value.const is not None]

    def __str__(self) -> str:
        from compiler.graph.printer import format_graph

        return format_graph(self)


Visitor = Callable[["Rewriter", Node, list[Value]], Value | None]


class Rewriter:
    """The state of one rewrite: the new graph, the map from old to new values, and the old graph's uses."""

    def __init__(self, old: Graph) -> None:
        self.old = old
        self.graph = Graph(old.name)
        self.map: dict[Value, Value] = {}
        self._users = old.consumers()
        self._outputs = set(old.outputs)
        for value in old.values():
            if value.producer is None:
                self.map[value] = self.graph.adopt(value)
        self.graph.inputs = list(old.inputs)

    def users(self, value: Value) -> list[Node]:
        """The nodes of the old graph that read an old value."""
        return self._users[value]

    def only_use(self, value: Value) -> Node | None:
        """The single reader of an old value; None when it has several, none, or is a graph output."""
        users = self._users[value]
        return users[0] if len(users) == 1 and value not in self._outputs else None

    def is_output(self, value: Value) -> bool:
        """Whether an old value is an output of the old graph."""
        return value in self._outputs

    def copy(self, node: Node, inputs: Sequence[Value]) -> Value:
        """Append a copy of an old node with new inputs."""
        old = node.output
        value = self.graph.op(
            node.op,
            inputs,
            node.attrs,
            name=node.name,
            output=old.name,
            origin=old.origin,
            quant=old.quant,
            layout=old.layout,
        )
        copied = self.graph.nodes[-1]
        copied.target, copied.reason = node.target, node.reason
        return value


def rewrite(graph: Graph, visit: Visitor) -> Graph:
    """Rebuild `graph`: visit(rewriter, old node, new inputs) returns the replacement value, or None to copy.

    The result keeps the graph's inputs and the number and order of its outputs; nodes nothing reads are dropped.
    """
    rewriter = Rewriter(graph)
    for node in graph.nodes:
        inputs = [rewriter.map[value] for value in node.inputs]
        replacement = visit(rewriter, node, inputs)
        rewriter.map[node.output] = rewriter.copy(node, inputs) if replacement is None else replacement
    new = rewriter.graph
    new.outputs = [rewriter.map[value] for value in graph.outputs]
    new.output_names = list(graph.output_names)
    remove_dead(new)
    return new


def remove_dead(graph: Graph) -> None:
    """Drop, in place, the nodes whose output reaches no graph output."""
    live: set[Value] = set(graph.outputs)
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if node.output in live:
            live.update(node.inputs)
            kept.append(node)
    graph.nodes = kept[::-1]


def ancestors(values: Iterable[Value]) -> set[Node]:
    """All nodes that the given values depend on."""
    found: set[Node] = set()
    stack = [value.producer for value in values if value.producer is not None]
    while stack:
        node = stack.pop()
        if node not in found:
            found.add(node)
            stack.extend(value.producer for value in node.inputs if value.producer is not None)
    return found
