"""Operator fusion by the paper's four classes (section 3).

A node is fused towards its immediate post-dominator: the first node through which all of its uses pass. Every node
on the paths in between must be fusable too, so a group has one output, which alone leaves it, and no path leaves a
group and returns to it. Groups never span targets.

Three walks, one a class: complex-out-fusable operators take the injective operators that follow them, injective
operators join each other, and reductions take the injective operators that feed them.
"""

from __future__ import annotations

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


class _Partition:
    """Union-find over nodes, with the highest class of each set."""

    def __init__(self, graph: Graph) -> None:
        self.root = {node: node for node in graph.nodes}
        self.rank = {node: _RANK[pattern_of(node)] for node in graph.nodes}

    def find(self, node: Node) -> Node:
        while self.root[node] is not node:
            self.root[node] = self.root[self.root[node]]
            node = self.root[node]
        return node

    def rank_of(self, node: Node) -> int:
        return self.rank[self.find(node)]

    def merge(self, a: Node, b: Node) -> None:
        a, b = self.find(a), self.find(b)
        if a is not b:
            self.root[a] = b
            self.rank[b] = max(self.rank[a], self.rank[b])


def fuse(graph: Graph, *, enabled: bool = True) -> list[FusedGroup]:
    """Group the nodes of a graph; the groups come in an order in which each follows the groups it reads.

    With enabled=False every node is its own group.
    """
    sets = _Partition(graph)
    if enabled:
        users = graph.consumers()
        dominators = post_dominators(graph)
        for lower, upper in (("complex", "injective"), ("injective", "injective"), ("injective", "reduction")):
            for node in graph.nodes:
                _try(node, dominators[node], users, sets, _RANKS[lower], _RANKS[upper])
    return _groups(graph, sets)


_RANKS = {"injective": 0, "reduction": 1, "complex": 2}


def _try(
    node: Node, end: Node | None, users: dict[Value, list[Node]], sets: _Partition, kind: int, sink: int
) -> None:
    """Merge `node` and everything up to its post-dominator, if the classes allow it."""
    if end is None or sets.rank_of(node) != kind or sets.find(node) is sets.find(end):
        return
    if node.target != end.target:
        return
    # The end's set may already hold an anchor; only a free injective set can join a complex one.
    if sets.rank_of(end) != sink:
        return
    between: list[Node] = []
    stack, seen = list(users[node.output]), set()
    while stack:
        current = stack.pop()
        if current is end or current in seen:
            continue
        seen.add(current)
        if sets.rank_of(current) != _RANKS["injective"] or current.target != node.target:
            return
        between.append(current)
        stack.extend(users[current.output])
    # A shape-changing injective operator cannot follow in the registers of a complex one's tile.
    if kind == _RANKS["complex"] and any(not _elementwise(node, other) for other in (*between, end)):
        return
    for other in (*between, end):
        sets.merge(node, other)


def _elementwise(anchor: Node, node: Node) -> bool:
    """Whether a node maps the anchor's output element by element: it keeps the shape and moves nothing."""
    moves = node.op in ("reshape", "transpose", "concat", "pad", "layout_transform")
    return not moves and node.output.shape == anchor.output.shape


def _groups(graph: Graph, sets: _Partition) -> list[FusedGroup]:
    members: dict[Node, list[Node]] = {}
    for node in graph.nodes:
        members.setdefault(sets.find(node), []).append(node)
    users = graph.consumers()
    outputs = set(graph.outputs)
    # A group is complete at its last node: everything it reads was complete before.
    position = {node: index for index, node in enumerate(graph.nodes)}
    ordered = sorted(members.values(), key=lambda nodes: position[nodes[-1]])
    groups = []
    for nodes in ordered:
        inside = set(nodes)
        inputs = dict.fromkeys(v for node in nodes for v in node.inputs if v.producer not in inside)
        leaving = [
            node.output
            for node in nodes
            if node.output in outputs or any(user not in inside for user in users[node.output])
        ]
        anchor = max(nodes, key=lambda node: _RANK[pattern_of(node)])
        groups.append(FusedGroup(nodes, list(inputs), leaving, anchor, pattern_of(anchor), anchor.target))
    return groups
