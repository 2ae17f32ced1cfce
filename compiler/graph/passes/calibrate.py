"""Calibration: the range of every float tensor over sample inputs, found by the numpy interpreter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from compiler.errors import QuantizationError
from compiler.graph.interpreter import evaluate
from compiler.graph.ir import Graph, Value

METHODS = ("minmax", "percentile", "mse")
_SAMPLES = 1 << 15
_MSE_STEPS = 20


@dataclass(frozen=True)
class Range:
    """The interval of reals that a tensor's integers should cover; always holds 0."""

    low: float
    high: float

    def union(self, other: Range) -> Range:
        """The smallest range that covers both."""
        return Range(min(self.low, other.low), max(self.high, other.high))


# Made-up inputs hold about this many elements in all: one 224 x 224 image, or several small ones, so that a small
# network's ranges do not rest on a handful of numbers.
_ELEMENTS = 1 << 18
_MOST_SETS = 16


def synthetic_inputs(graph: Graph, count: int | None = None, seed: int = 0) -> list[dict[str, np.ndarray]]:
    """`count` seeded input sets of standard normal float32, what a normalised image looks like to a network.

    Without a count, 1 to 16 of them: more where the inputs are small.
    """
    if count is None:
        elements = sum(int(np.prod(value.shape)) for value in graph.inputs)
        count = max(1, min(_MOST_SETS, _ELEMENTS // max(elements, 1)))
    rng = np.random.default_rng(seed)
    for value in graph.inputs:
        if value.dtype != "float32":
            raise QuantizationError(f"input '{value.name}' is {value.dtype}; only float32 can be made up, give samples")
    return [
        {value.name: rng.standard_normal(value.shape, dtype=np.float32) for value in graph.inputs} for _ in range(count)
    ]


def calibrate(
    graph: Graph,
    samples: Iterable[Mapping[str, np.ndarray]],
    *,
    method: str = "minmax",
    percentile: float = 99.99,
) -> dict[str, Range]:
    """Ranges of all float32 inputs and computed values, by value name.

    method: "minmax" covers everything seen; "percentile" cuts off (100 - percentile)/2 % at either end; "mse"
    shrinks the range to the least mean squared error of int8. The latter two look at a strided subset of each
    tensor. QuantizationError when there is no sample, or a tensor is not finite.
    """
    if method not in METHODS:
        raise QuantizationError(f"no calibration method '{method}'; there are {', '.join(METHODS)}")
    ranges: dict[str, Range] = {}
    subsets: dict[str, list[np.ndarray]] = {}

    def observe(value: Value, array: np.ndarray) -> None:
        if array.dtype != np.float32:
            return
        seen = Range(min(0.0, float(array.min())), max(0.0, float(array.max())))
        if not np.isfinite([seen.low, seen.high]).all():
            raise QuantizationError(f"tensor '{value.name}' takes non-finite values on the calibration inputs")
        ranges[value.name] = seen.union(ranges.get(value.name, seen))
        if method != "minmax":
            flat = array.reshape(-1)
            subsets.setdefault(value.name, []).append(flat[:: max(1, flat.size // _SAMPLES)].copy())

    with np.errstate(over="ignore", invalid="ignore"):  # observe reports it with the tensor's name
        for sample in samples:
            evaluate(graph, sample, observe=observe)
    if not ranges:
        raise QuantizationError("calibration needs at least one set of inputs")
    for name, parts in subsets.items():
        values = np.concatenate(parts)
        ranges[name] = _percentile(values, percentile) if method == "percentile" else _least_error(values, ranges[name])
    return ranges


def _percentile(values: np.ndarray, percentile: float) -> Range:
    tail = (100.0 - percentile) / 2
    low, high = np.percentile(values, [tail, 100.0 - tail])
    return Range(min(0.0, float(low)), max(0.0, float(high)))


def _least_error(values: np.ndarray, full: Range) -> Range:
    best, least = full, np.inf
    for fraction in np.linspace(1.0, 0.4, _MSE_STEPS):
        candidate = Range(full.low * fraction, full.high * fraction)
        step = max(candidate.high - candidate.low, 1e-12) / 255
        rounded = np.rint(np.clip(values, candidate.low, candidate.high) / step) * step
        error = float(np.square(values - rounded).mean())
        if error < least:
            best, least = candidate, error
    return best
