"""The graph verifier, run between passes: single assignment, topological order, inferred types, constants."""

from __future__ import annotations

from compiler.errors import GraphError
from compiler.graph.ir import Graph, Value
from compiler.ops import get_op


def verify(graph: Graph) -> None:
    """Raise GraphError at the first invariant that does not hold, naming the node or the value."""
    defined: set[Value] = set()
    names: dict[str, Value] = {}

    def define(value: Value) -> None:
        if value in defined:
            raise GraphError(f"value '{value.name}' is assigned twice")
        defined.add(value)
        claim(value)

    def claim(value: Value) -> None:
        if names.setdefault(value.name, value) is not value:
            raise GraphError(f"two values are named '{value.name}'")

    for value in graph.inputs:
        if value.const is not None or value.producer is not None:
            raise GraphError(f"graph input '{value.name}' is a constant or has a producer")
        define(value)
    for node in graph.nodes:
        for value in node.inputs:
            if value.const is not None:
                claim(value)
                if tuple(value.const.shape) != value.shape or value.const.dtype.name != value.dtype:
                    raise GraphError(f"constant '{value.name}' is declared {value.type}, holds another type")
            elif value not in defined:
                raise GraphError(f"node '{node.name}' reads '{value.name}' before it is assigned")
        if len(node.outputs) != 1 or node.output.producer is not node:
            raise GraphError(f"node '{node.name}' is not the producer of exactly one output")
        definition = get_op(node.op)
        inferred = definition.output_type([value.type for value in node.inputs], definition.bind(node.attrs))
        if inferred != node.output.type:
            raise GraphError(f"node '{node.name}' declares {node.output.type}, inferred is {inferred}")
        define(node.output)
    for value in graph.outputs:
        if value.const is None and value not in defined:
            raise GraphError(f"graph output '{value.name}' is never assigned")
