"""Partition: gives every node to the first target of a priority list that takes it, and says why not the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from compiler.errors import TargetError
from compiler.graph.fuse import FusedGroup, fuse
from compiler.graph.ir import Graph, Node

if TYPE_CHECKING:
    from compiler.target import Target


def partition(graph: Graph, targets: Sequence[Target], *, fusion: bool = True) -> list[FusedGroup]:
    """Set `target` and `reason` of every node, and return the fused groups.

    `reason` collects why each target ahead of the chosen one refused; it stays None on the first target. A target
    may also refuse a fused group: its nodes then go to the next target, and fusion starts again. TargetError when
    no target takes a node.
    """
    refused: dict[Node, dict[str, str]] = {node: {} for node in graph.nodes}
    for node in graph.nodes:
        _assign(node, targets, refused[node])
    while True:
        groups = fuse(graph, enabled=fusion)
        by_name = {target.name: target for target in targets}
        moved = False
        for group in groups:
            reason = by_name[group.target].supports_group(group) if group.target is not None else None
            if reason is None:
                continue
            assert group.target is not None
            moved = True
            for node in group.nodes:
                refused[node][group.target] = reason
                _assign(node, targets, refused[node])
        if not moved:
            return groups


def _assign(node: Node, targets: Sequence[Target], refused: dict[str, str]) -> None:
    for target in targets:
        if target.name in refused:
            continue
        reason = target.supports(node)
        if reason is None:
            node.target = target.name
            # What the conversion to integers said about a float node explains the refusal best.
            said = "; ".join(f"{name}: {why}" for name, why in refused.items())
            node.reason = _join(node.reason, said)
            return
        refused[target.name] = reason
    listing = "; ".join(f"{name}: {why}" for name, why in refused.items())
    raise TargetError(f"no target takes {node.op} '{node.name}' ({listing or 'no target was given'})")


def _join(conversion: str | None, refusals: str) -> str | None:
    if not refusals:
        return conversion
    return refusals if conversion is None or conversion in refusals else f"{refusals} ({conversion})"
