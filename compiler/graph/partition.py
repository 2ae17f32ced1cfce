"""Partition: gives every node to the first target of a priority list that takes it, and says why not the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    verdict = _Verdict(by_name)

    def explanation(group: FusedGroup) -> str:
        """Why the group did not grow to what the target could have run, if that is what failed."""
        inside = set(group.nodes)
        for (target, nodes), why in verdict.known.items():
            if why is not None and target == group.target and len(nodes) > len(inside) and inside <= set(nodes):
                return why
        return verdict(group) or ""

    while True:
        groups = _fuse_within(graph, verdict, fusion)
        refusals = [group for group in groups if verdict(group) is not None]
        if not refusals:
            return groups
        for group in refusals:
            why = explanation(group)
            for node in group.nodes:
                assert group.target is not None
                refused[node][group.target] = why
                _assign(node, targets, refused[node], said[node])


def fuse_on_targets(graph: Graph, targets: Sequence[Target], *, fusion: bool = True) -> list[FusedGroup]:
    """Fuse a partitioned graph again, after passes that changed it, under the same vetoes of the targets."""
    return _fuse_within(graph, _Verdict({target.name: target for target in targets}), fusion)


class _Verdict:
    """What the targets say about groups, remembered: they may have to schedule one to know."""

    def __init__(self, targets: Mapping[str, Target]) -> None:
        self.targets = targets
        self.known: dict[tuple[str, tuple[Node, ...]], str | None] = {}

    def __call__(self, group: FusedGroup) -> str | None:
        """None when the group's target can run it, or it has none yet; else the reason."""
        if group.target is None:
            return None
        key = (group.target, tuple(group.nodes))
        if key not in self.known:
            self.known[key] = self.targets[group.target].supports_group(group)
        return self.known[key]

    def fuses_rows(self, group: FusedGroup) -> bool:
        """Whether the group's target runs a group of reductions along rows as one kernel."""
        return group.target is not None and self.targets[group.target].fuses_rows(group)


def _fuse_within(graph: Graph, verdict: _Verdict, fusion: bool) -> list[FusedGroup]:
    """Fuse so that every group of several nodes is one its target can run.

    The targets are asked about whole groups first. Only for nodes of a group that was refused are they asked at
    every step of its growth, since their answers cost time.
    """
    suspects: set[Node] = set()

    def allow(group: FusedGroup) -> bool:
        return suspects.isdisjoint(group.nodes) or verdict(group) is None

    while True:
        groups = fuse(graph, enabled=fusion, allow=allow, rows=verdict.fuses_rows)
        refused = {n for group in groups if len(group.nodes) > 1 and verdict(group) is not None for n in group.nodes}
        if refused <= suspects:
            return groups
        suspects |= refused


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
