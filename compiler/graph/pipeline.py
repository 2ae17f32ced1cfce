"""The graph level's standard pipelines: from an imported float or QDQ graph to the integer graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from compiler.graph.ir import Graph
from compiler.graph.pass_manager import DumpHook, GraphPass, PassManager
from compiler.graph.passes.calibrate import calibrate, synthetic_inputs
from compiler.graph.passes.convert_qdq import convert_qdq
from compiler.graph.passes.fold_batch_norm import fold_batch_norm, fold_bias
from compiler.graph.passes.fold_constants import fold_constants
from compiler.graph.passes.insert_qdq import Scheme, insert_qdq
from compiler.graph.passes.simplify import fold_integer_clip, fold_pads, remove_identities
from compiler.graph.passes.sink_reshapes import sink_reshapes


@dataclass(frozen=True)
class Calibration:
    """What to calibrate on and how.

    samples: input arrays by name, one mapping a run; None makes `count` seeded sets up (without a count, more where
    the inputs are small). method: "minmax", "percentile" or "mse" (see calibrate).
    """

    samples: Iterable[Mapping[str, np.ndarray]] | None = None
    count: int | None = None
    seed: int = 0
    method: str = "minmax"
    percentile: float = 99.99
    scheme: Scheme = field(default_factory=Scheme)


def is_quantized(graph: Graph) -> bool:
    """Whether a graph came from a QDQ model."""
    return any(node.op in ("quantize", "dequantize") for node in graph.nodes)


def float_passes() -> list[GraphPass]:
    """Clean-up that keeps the graph's operators: for float graphs and as the start of the integer pipeline."""
    return [
        GraphPass("remove_identities", remove_identities),
        GraphPass("fold_constants", fold_constants),
        GraphPass("sink_reshapes", sink_reshapes),
        GraphPass("merge_reshapes", remove_identities),
        GraphPass("fold_batch_norm", fold_batch_norm),
        GraphPass("fold_bias", fold_bias),
        GraphPass("fold_pads", fold_pads),
    ]


def integer_passes(calibration: Calibration, *, quantized: bool) -> list[GraphPass]:
    """The passes to the integer graph; `quantized` says that the graph is a QDQ model already."""

    def quantize(graph: Graph) -> Graph:
        samples = calibration.samples
        if samples is None:
            samples = synthetic_inputs(graph, calibration.count, calibration.seed)
        ranges = calibrate(graph, samples, method=calibration.method, percentile=calibration.percentile)
        return insert_qdq(graph, ranges, calibration.scheme)

    return [
        *float_passes(),
        *([] if quantized else [GraphPass("quantize", quantize)]),
        GraphPass("convert_qdq", convert_qdq),
        GraphPass("fold_integer_clip", fold_integer_clip),
        GraphPass("fold_integer_pads", fold_pads),
        GraphPass("fold_dequantize", lambda graph: fold_constants(graph, through_dequantize=True)),
    ]


def to_integer(
    graph: Graph, calibration: Calibration | None = None, *, dump: DumpHook | None = None
) -> tuple[Graph, list[tuple[str, float]]]:
    """Make an imported graph integer: QDQ models are taken as they are, float models are calibrated.

    Returns the graph and (pass name, seconds) in order. Raises QuantizationError (calibration).
    """
    manager = PassManager(integer_passes(calibration or Calibration(), quantized=is_quantized(graph)), dump)
    return manager.run(graph), manager.timings
