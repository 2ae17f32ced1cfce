"""Layout: stores values as their target prefers and converts where producer and consumer differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from compiler.graph.ir import Graph, Node, Rewriter, Value, rewrite
from compiler.graph.layout import DEFAULT_LAYOUT, storage_shape

if TYPE_CHECKING:
    from compiler.target import Target


def insert_layout_transforms(
    graph: Graph, targets: Mapping[str, Target], *, transform_target: str | None = None
) -> Graph:
    """Give every node's output the layout its target prefers, and put layout_transform where an input differs.

    Runs on a partitioned graph. A transform and its inverse cancel, one transform serves all readers, constants
    are re-laid at compile time, and graph inputs and outputs keep the default layout. The transforms get the
    target `transform_target` (default: that of the node that asked).
    """
    made: dict[tuple[Value, str], Value] = {}

    def convert(new: Graph, value: Value, layout: str, target: str | None) -> Value:
        if value.layout == layout:
            return value
        producer = value.producer
        if producer is not None and producer.op == "layout_transform" and producer.inputs[0].layout == layout:
            return producer.inputs[0]
        if (value, layout) not in made:
            storage_shape(value.shape, layout)  # refuses a layout that does not fit the rank
            if value.const is not None:
                relaid = new.const(value.const, f"{value.name}.{layout}")
                relaid.layout, relaid.origin, relaid.quant = layout, value.origin, value.quant
                made[value, layout] = relaid
            else:
                made[value, layout] = new.op(
                    "layout_transform",
                    [value],
                    {"source": value.layout, "target": layout},
                    name=f"{value.name}.to_{layout}",
                    origin=value.origin,
                    quant=value.quant,
                    layout=layout,
                )
                new.nodes[-1].target = transform_target or target
        return made[value, layout]

    def visit(rewriter: Rewriter, node: Node, inputs: list[Value]) -> Value | None:
        target = targets[node.target] if node.target is not None else None
        wanted = target.preferred_layouts(node) if target is not None else None
        layouts = wanted.inputs if wanted is not None else (DEFAULT_LAYOUT,) * len(inputs)
        new = rewriter.graph
        operands = [
            value if layout is None else convert(new, value, layout, node.target)
            for value, layout in zip(inputs, layouts, strict=True)
        ]
        value = rewriter.copy(node, operands)
        value.layout = wanted.output if wanted is not None else DEFAULT_LAYOUT
        if rewriter.is_output(node.output):
            # Readers inside the graph still get the packed value through the cancelling rule.
            return convert(new, value, DEFAULT_LAYOUT, node.target)
        return value

    return rewrite(graph, visit)
