"""Operator fusion by the paper's four classes (section 3).

A node is fused towards its immediate post-dominator: the first node through which all of its uses pass. Every node
on the paths in between must be fusable too, so a group has one output, which alone leaves it, and no path leaves a
group and returns to it. Groups never span targets.

Three walks, one a class: complex-out-fusable operators take the injective operators that follow them, injective
operators join each other, and reductions take the injective operators that feed them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from compiler.graph.ir import Graph, Node, Value
from compiler.ops import Pattern, get_op

_RANK = {Pattern.INJECTIVE: 0, Pattern.REDUCTION: 1, Pattern.COMPLEX: 2, Pattern.OPAQUE: 3}


@dataclass(eq=False)
class FusedGroup:
    """Nodes that become one kernel, in topological order.

    inputs: values read from outside, constants included, in order of first use. anchor: the node that decides the
    schedule, that of the highest class. pattern: the anchor's class. The name is the anchor's.
    """

    nodes: list[Node]
    inputs: list[Value]
    outputs: list[Value]
    anchor: Node
    pattern: Pattern
    target: str | None
    name: str = field(init=False)

    def __post_init__(self) -> None:
        self.name = self.anchor.name

    @property
    def output(self) -> Value:
        """The only value that leaves the group."""
        return self.outputs[0]

    def __str__(self) -> str:
        return f"{self.name}: {' + '.join(node.op for node in self.nodes)}"


def pattern_of(node: Node) -> Pattern:
    """The fusion class of a node."""
    return get_op(node.op).pattern


def post_dominators(graph: Graph) -> dict[Node, Node | None]:
    """The immediate post-dominator of every node; None when uses part for good or reach a graph output."""
    users = graph.consumers()
    outputs = set(graph.outputs)
    position = {node: index for index, node in enumerate(graph.nodes)}
    found: dict[Node, Node | None] = {}
    for node in reversed(graph.nodes):
        if node.output in outputs:
            found[node] = None
            continue
        common: Node | None = None
        for index, user in enumerate(users[node.output]):
            common = user if index == 0 else _meet(common, user, found, position)
            if common is None:
                break
        found[node] = common
    return found


def _meet(a: Node | None, b: Node | None, parent: dict[Node, Node | None], position: dict[Node, int]) -> Node | None:
    """The first node that post-dominates both, by walking up the tree built so far."""
    while a is not b:
        if a is None or b is None:
            return None
        if position[a] < position[b]:
            a = parent[a]
        else:
            b = parent[b]
    return a


Allow = Callable[[FusedGroup], bool]


def fuse(
    graph: Graph, *, enabled: bool = True, allow: Allow | None = None, rows: Allow | None = None
) -> list[FusedGroup]:
    """Group the nodes of a graph; the groups come in an order in which each follows the groups it reads.

    With enabled=False every node is its own group. `allow` may veto a group that is about to grow to its argument,
    for what a target cannot run as one kernel. `rows` says of a group of injective operators and reductions, one at
    least, whether it works row by row and shall be one kernel; without it reductions end their groups, as in the paper.
    """
    fusion = _Fusion(graph, allow)
    if enabled:
        dominators = post_dominators(graph)
        for lower, upper in ((_COMPLEX, _INJECTIVE), (_INJECTIVE, _INJECTIVE), (_INJECTIVE, _REDUCTION)):
            for node in graph.nodes:
                fusion.attempt(node, dominators[node], lower, upper)
        if rows is not None:
            for node in graph.nodes:
                fusion.attempt_rows(node, dominators[node], rows)
    return fusion.groups()


_INJECTIVE, _REDUCTION, _COMPLEX = (_RANK[p] for p in (Pattern.INJECTIVE, Pattern.REDUCTION, Pattern.COMPLEX))


class _Fusion:
    """The sets of nodes found so far: a union-find with the members and the highest class of each set."""

    def __init__(self, graph: Graph, allow: Allow | None) -> None:
        self.allow = allow
        self.users = graph.consumers()
        self.outputs = set(graph.outputs)
        self.position = {node: index for index, node in enumerate(graph.nodes)}
        self.root = {node: node for node in graph.nodes}
        self.members = {node: [node] for node in graph.nodes}
        self.rank = {node: _RANK[pattern_of(node)] for node in graph.nodes}

    def find(self, node: Node) -> Node:
        """The representative of a node's set."""
        while self.root[node] is not node:
            self.root[node] = self.root[self.root[node]]
            node = self.root[node]
        return node

    def attempt(self, node: Node, end: Node | None, lower: int, upper: int) -> None:
        """Merge `node`, of class `lower`, and everything up to its post-dominator, of class `upper`, if allowed."""
        if end is None or node.target != end.target or self.find(node) is self.find(end):
            return
        if self.rank[self.find(node)] != lower or self.rank[self.find(end)] != upper:
            return
        path = self._path(node, end, _INJECTIVE)
        if path is None:
            return
        # A shape-changing injective operator cannot follow in the registers of a complex one's tile.
        if lower == _COMPLEX and any(
            not is_elementwise(other) or other.output.shape != node.output.shape for other in path
        ):
            return
        self._merge([node, *path])

    def attempt_rows(self, node: Node, end: Node | None, rows: Allow) -> None:
        """Merge `node` and everything up to its post-dominator, reductions included, if that is one of rows."""
        if end is None or node.target != end.target or self.find(node) is self.find(end):
            return
        path = self._path(node, end, _REDUCTION)
        ranks = [self.rank[self.find(other)] for other in (node, *(path or ()))]
        if path is not None and max(ranks) == _REDUCTION:
            self._merge([node, *path], rows)

    def _merge(self, nodes: list[Node], *vetoes: Allow) -> None:
        """Make one set of the sets of `nodes`, the last of which post-dominates the others, unless that is vetoed."""
        roots = dict.fromkeys(map(self.find, nodes))
        merged = sorted((n for root in roots for n in self.members[root]), key=lambda n: self.position[n])
        asked = [*vetoes, self.allow] if self.allow is not None else vetoes
        if not all(allow(self.group(merged)) for allow in asked):
            return
        top = self.find(nodes[-1])
        for root in roots:
            self.root[root] = top
            self.rank[top] = max(self.rank[top], self.rank[root])
        self.members[top] = merged

    def _path(self, node: Node, end: Node, highest: int) -> list[Node] | None:
        """The nodes after `node` up to `end`; None when one in between is above a class or has another target."""
        found: dict[Node, None] = {}
        stack = list(self.users[node.output])
        while stack:
            current = stack.pop()
            if current is end or current in found:
                continue
            if self.rank[self.find(current)] > highest or current.target != node.target:
                return None
            found[current] = None
            stack.extend(self.users[current.output])
        return [*found, end]

    def group(self, nodes: list[Node]) -> FusedGroup:
        """The group of nodes given in topological order."""
        inside = set(nodes)
        inputs = dict.fromkeys(v for node in nodes for v in node.inputs if v.producer not in inside)
        leaving = [
            node.output
            for node in nodes
            if node.output in self.outputs or any(user not in inside for user in self.users[node.output])
        ]
        anchor = max(nodes, key=lambda node: _RANK[pattern_of(node)])
        return FusedGroup(nodes, list(inputs), leaving, anchor, pattern_of(anchor), anchor.target)

    def groups(self) -> list[FusedGroup]:
        """All groups. One is complete at its last node, and everything it reads was complete before."""
        roots = dict.fromkeys(self.find(node) for node in self.position)
        ordered = sorted((self.members[root] for root in roots), key=lambda nodes: self.position[nodes[-1]])
        return [self.group(nodes) for nodes in ordered]


_MOVING = frozenset("concat gather gather_elements gather_nd layout_transform pad reshape slice tile transpose".split())


def is_elementwise(node: Node) -> bool:
    """Whether a node is injective and moves nothing: each element comes from those at the same place, or broadcast."""
    return pattern_of(node) is Pattern.INJECTIVE and node.op not in _MOVING
