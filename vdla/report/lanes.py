"""The instruction trace as lanes: when each unit worked, on which layer."""

from __future__ import annotations

import numpy as np

from runtime.profile import UNITS, InstructionTrace


def lane(trace: InstructionTrace, unit: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Non-overlapping [start, end) intervals of one unit and the layer of each, in time order.

    A unit accepts its next instruction before the last one has retired. Units are in-order, so that time belongs to
    the earlier instruction: each interval starts no earlier than the one before it ended, and those which would be
    empty are left out.
    """
    chosen = trace.unit == unit
    start, end, layer = trace.start[chosen], trace.end[chosen], trace.layer[chosen]
    end = np.maximum.accumulate(end) if end.size else end
    start = np.maximum(start, np.concatenate(([0], end[:-1]))) if end.size else start
    kept = end > start
    return start[kept], end[kept], layer[kept]


def occupancy(start: np.ndarray, end: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Share of each bin [edges[i], edges[i+1]) that the sorted, disjoint intervals cover; float64[bins]."""
    if start.size == 0:
        return np.zeros(edges.size - 1)
    points = np.empty(2 * start.size)
    points[0::2], points[1::2] = start, end
    covered = np.zeros(points.size)
    covered[1::2] = np.cumsum(end - start)
    covered[2::2] = covered[1:-1:2]
    total = np.interp(edges, points, covered)
    return np.diff(total) / np.diff(edges)


def layer_spans(trace: InstructionTrace, count: int) -> list[tuple[int, int] | None]:
    """[first start, last end) of each of `count` layers over all units; None for one without instructions."""
    spans: list[tuple[int, int] | None] = []
    for index in range(count):
        chosen = trace.layer == index
        if chosen.any():
            spans.append((int(trace.start[chosen].min()), int(trace.end[chosen].max())))
        else:
            spans.append(None)
    return spans


__all__ = ["UNITS", "lane", "layer_spans", "occupancy"]
