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
    may veto that a group grows, and refuse a finished group: its nodes then go to the next target, and fusion starts
    again. TargetError when no target takes a node.
    """
    by_name = {target.name: target for target in targets}
    refused: dict[Node, dict[str, str]] = {node: {} for node in graph.nodes}
    said = {node: node.reason for node in graph.nodes}
    for node in graph.nodes:
        _assign(node, targets, refused[node], said[node])
    # By target and nodes: verdicts stay valid when other nodes move.
    verdicts: dict[tuple[str, tuple[Node, ...]], str | None] = {}

    def verdict(group: FusedGroup) -> str | None:
        assert group.target is not None
        key = (group.target, tuple(group.nodes))
        if key not in verdicts:
            verdicts[key] = by_name[group.target].supports_group(group)
        return verdicts[key]

    def explanation(group: FusedGroup, reason: str) -> str:
        """Why the group did not grow to what the target could have run, if that is what failed; else `reason`."""
        inside = set(group.nodes)
        for (target, nodes), why in verdicts.items():
            if why is not None and target == group.target and len(nodes) > len(inside) and inside <= set(nodes):
                return why
        return reason

    while True:
        groups = fuse(graph, enabled=fusion, allow=lambda group: verdict(group) is None)
        refusals = [(group, reason) for group in groups if (reason := verdict(group)) is not None]
        if not refusals:
            return groups
        for group, reason in refusals:
            why = explanation(group, reason)
            for node in group.nodes:
                assert group.target is not None
                refused[node][group.target] = why
                _assign(node, targets, refused[node], said[node])


def fuse_on_targets(graph: Graph, targets: Sequence[Target], *, fusion: bool = True) -> list[FusedGroup]:
    """Fuse a partitioned graph again, after passes that changed it, under the same vetoes of the targets."""
    by_name = {target.name: target for target in targets}

    def allow(group: FusedGroup) -> bool:
        return group.target is None or by_name[group.target].supports_group(group) is None

    return fuse(graph, enabled=fusion, allow=allow)


def _assign(node: Node, targets: Sequence[Target], refused: dict[str, str], conversion: str | None) -> None:
    """Give a node to the first target that takes it; `conversion` is why it has no integer form, if it has none."""
    for target in targets:
        if target.name in refused:
            continue
        reason = target.supports(node)
        if reason is None:
            node.target = target.name
            said = "; ".join(f"{name}: {why}" for name, why in refused.items())
            node.reason = f"{said} ({conversion})" if said and conversion else said or conversion
            return
        refused[target.name] = reason
    listing = "; ".join(f"{name}: {why}" for name, why in refused.items())
    raise TargetError(f"no target takes {node.op} '{node.name}' ({listing or 'no target was given'})")
