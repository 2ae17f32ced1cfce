"""Runs named graph passes in order, verifies between them, times them, and shows the graph to a hook."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from compiler.errors import GraphError
from compiler.graph.ir import Graph
from compiler.graph.verify import verify

DumpHook = Callable[[str, str, Graph], None]


@dataclass(frozen=True)
class GraphPass:
    """A named function from graph to graph."""

    name: str
    run: Callable[[Graph], Graph]


@dataclass
class PassManager:
    """A flat list of passes. `dump(pass name, "before" | "after", graph)` is called around each of them.

    `timings` collects (pass name, seconds) of the last run.
    """

    passes: Sequence[GraphPass]
    dump: DumpHook | None = None
    timings: list[tuple[str, float]] = field(default_factory=list)

    def run(self, graph: Graph) -> Graph:
        """Run all passes; GraphError, naming the pass, when one leaves an invalid graph."""
        self.timings = []
        verify(graph)
        for graph_pass in self.passes:
            if self.dump is not None:
                self.dump(graph_pass.name, "before", graph)
            start = time.perf_counter()
            graph = graph_pass.run(graph)
            self.timings.append((graph_pass.name, time.perf_counter() - start))
            try:
                verify(graph)
            except GraphError as error:
                raise GraphError(f"after pass '{graph_pass.name}': {error}") from None
            if self.dump is not None:
                self.dump(graph_pass.name, "after", graph)
        return graph
