"""Text of a graph, one line a node."""

from __future__ import annotations

from typing import Any

import numpy as np

from compiler.graph.ir import Graph, Node, Value
from compiler.graph.layout import DEFAULT_LAYOUT


def _type(value: Value) -> str:
    layout = "" if value.layout == DEFAULT_LAYOUT else f"@{value.layout}"
    return f"{value.type}{layout}"


def _operand(value: Value) -> str:
    return f"%{value.name}" if value.const is None else f"const({value.name}: {_type(value)})"


def _attribute(value: Any) -> str:
    if isinstance(value, np.ndarray) and value.ndim:
        return f"<{value.shape[0]} values>"
    if isinstance(value, (float, np.floating)):
        return f"{float(value):g}"
    return str(value).replace(" ", "")


def format_node(node: Node) -> str:
    """One line: outputs, operator, operands, attributes, target."""
    attrs = " ".join(f"{key}={_attribute(value)}" for key, value in node.attrs.items())
    operands = ", ".join(_operand(value) for value in node.inputs)
    target = f"  # {node.target}" if node.target else ""
    return f"%{node.output.name}: {_type(node.output)} = {node.op}({operands}) {attrs}".rstrip() + target


def format_graph(graph: Graph) -> str:
    """The whole graph: header with inputs, the nodes in topological order, the outputs."""
    inputs = ", ".join(f"%{value.name}: {_type(value)}" for value in graph.inputs)
    lines = [f"graph {graph.name}({inputs}) {{"]
    lines += [f"  {format_node(node)}" for node in graph.nodes]
    lines.append(f"  return {', '.join(_operand(value) for value in graph.outputs)}")
    return "\n".join([*lines, "}"])
