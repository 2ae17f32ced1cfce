"""The numpy interpreter: runs a graph through the operators' references. It defines what a graph means."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import numpy as np

from compiler.errors import GraphError
from compiler.graph.ir import Graph, Value
from compiler.ops import get_op


def evaluate(
    graph: Graph,
    inputs: Mapping[str, np.ndarray],
    *,
    keep: Collection[str] | bool = (),
    observe: Callable[[Value, np.ndarray], None] | None = None,
) -> dict[str, np.ndarray]:
    """Run a graph on arrays by input name; returns arrays (logical shapes) by value name.

    The result holds the graph's outputs and the values named in `keep` (True: all computed values). `observe` is
    called with every input and computed value as it becomes known, so that statistics need not keep them.
    GraphError for a missing input or one of another shape or element type.
    """
    arrays: dict[Value, np.ndarray] = {}
    for value in graph.inputs:
        if value.name not in inputs:
            raise GraphError(f"input '{value.name}' ({value.type}) is missing; given are {sorted(inputs)}")
        array = np.asarray(inputs[value.name])
        if tuple(array.shape) != value.shape or array.dtype.name != value.dtype:
            raise GraphError(f"input '{value.name}' must be {value.type}, got {array.dtype}{list(array.shape)}")
        arrays[value] = array
        if observe is not None:
            observe(value, array)

    remaining = {value: len(users) for value, users in graph.consumers().items()}
    for value in graph.outputs:
        remaining[value] += 1
    kept: dict[str, np.ndarray] = {}
    for node in graph.nodes:
        operands = [value.const if value.const is not None else arrays[value] for value in node.inputs]
        result = get_op(node.op).reference(operands, node.attrs)
        arrays[node.output] = result
        if observe is not None:
            observe(node.output, result)
        if keep is True or (keep is not False and node.output.name in keep):
            kept[node.output.name] = result
        for value in node.inputs:
            remaining[value] -= 1
            if not remaining[value] and value.const is None:
                del arrays[value]
    for name, value in zip(graph.output_names, graph.outputs, strict=True):
        kept[name] = value.const if value.const is not None else arrays[value]
    return kept
