"""Puts quantize/dequantize pairs on a float graph, as a QDQ model has them; convert_qdq then makes it integer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from compiler.errors import QuantizationError
from compiler.graph.ir import Graph, Node, QuantInfo, Rewriter, Value, rewrite
from compiler.graph.passes.calibrate import Range

# These compute on integers if their tensors are quantised.
QUANTIZABLE = {
    "conv2d",
    "dense",
    "add",
    "max_pool2d",
    "avg_pool2d",
    "relu",
    "clip",
    "reshape",
    "transpose",
    "concat",
    "pad",
}
# Output and inputs share one scale and zero point.
_SHARING = {"max_pool2d", "reshape", "transpose", "concat", "pad"}
_BIAS_LIMIT = 2.0**30
_WEIGHT_FLOOR = 2.0**-20
_SMALLEST_SCALE = 1e-8


@dataclass(frozen=True)
class Scheme:
    """How to quantise: activations per tensor, "asymmetric" (int8 with zero point) or "symmetric" (zero point 0);
    weights symmetric, per output channel or per tensor."""

    activations: str = "asymmetric"
    per_channel: bool = True

    def __post_init__(self) -> None:
        if self.activations not in ("asymmetric", "symmetric"):
            raise QuantizationError(f"activations must be 'asymmetric' or 'symmetric', got '{self.activations}'")

    def info(self, interval: Range) -> QuantInfo:
        """Scale and zero point that cover an interval with int8."""
        if self.activations == "symmetric":
            scale = np.float32(max(-interval.low, interval.high, 127 * _SMALLEST_SCALE) / 127)
            return QuantInfo(float(scale), 0)
        scale = np.float32(max(interval.high - interval.low, 255 * _SMALLEST_SCALE) / 255)
        return QuantInfo(float(scale), int(np.clip(np.rint(-128 - interval.low / scale), -128, 127)))


def _takes_integers(node: Node) -> bool:
    """Whether a float node has an integer form."""
    if node.op not in QUANTIZABLE:
        return False
    if node.op in ("conv2d", "dense"):
        return all(value.const is not None for value in node.inputs[1:])
    if node.op == "add":
        a, b = node.inputs
        return a.const is None and b.const is None and a.shape == b.shape
    if node.op == "pad" and node.attrs["value"] != 0:
        return False
    if node.op == "avg_pool2d":
        return not any(node.attrs["pads"]) or node.attrs["count_include_pad"]
    return all(value.const is None for value in node.inputs)


def _joins_activation(node: Node, users: list[Node]) -> bool:
    """Whether a node's output is only seen by an activation that will be its clip."""
    anchors = ("conv2d", "dense", "add", "avg_pool2d", "relu", "clip")
    return node.op in anchors and len(users) == 1 and users[0].op in ("relu", "clip")


def _shared_ranges(graph: Graph, quantized: set[Value], ranges: Mapping[str, Range]) -> dict[Value, Range]:
    """The range of every quantised value, equal for values that must share their scale."""
    root: dict[Value, Value] = {value: value for value in quantized}

    def find(value: Value) -> Value:
        while root[value] is not value:
            root[value] = root[root[value]]
            value = root[value]
        return value

    for node in graph.nodes:
        if node.op in _SHARING and node.output in quantized:
            for value in node.inputs:
                if value in quantized:
                    root[find(value)] = find(node.output)
    merged: dict[Value, Range] = {}
    for value in quantized:
        if value.name not in ranges:
            raise QuantizationError(f"tensor '{value.name}' was not calibrated")
        top = find(value)
        merged[top] = ranges[value.name].union(merged.get(top, ranges[value.name]))
    return {value: merged[find(value)] for value in quantized}


def insert_qdq(graph: Graph, ranges: Mapping[str, Range], scheme: Scheme | None = None) -> Graph:
    """Quantise the tensors around every operator that has an integer form, and the weights.

    Raises QuantizationError when `ranges` misses a tensor.
    """
    scheme = scheme or Scheme()
    users = graph.consumers()
    outputs = set(graph.outputs)
    quantized: set[Value] = set()
    for value, readers in users.items():
        if value.const is not None or value.dtype != "float32":
            continue
        producer = value.producer
        if producer is not None and value not in outputs and _joins_activation(producer, readers):
            continue
        if any(_takes_integers(reader) for reader in readers) or (producer is not None and _takes_integers(producer)):
            quantized.add(value)
    infos = {value: scheme.info(interval) for value, interval in _shared_ranges(graph, quantized, ranges).items()}

    def pair(new: Graph, value: Value, old: Value) -> Value:
        info = infos[old]
        attrs = {"scale": np.float32(info.scale), "zero_point": np.int64(info.zero_point)}
        q = new.op(
            "quantize",
            [value],
            attrs,
            name=f"{old.name}.quantize",
            output=f"{old.name}.q",
            origin=old.origin,
            quant=info,
        )
        name = f"{old.name}.dequantize"
        return new.op("dequantize", [q], attrs, name=name, output=f"{old.name}.dq", origin=old.origin)

    pending = [value for value in graph.inputs if value in infos]

    def visit(rewriter: Rewriter, node: Node, inputs: list[Value]) -> Value | None:
        for value in pending:
            rewriter.map[value] = pair(rewriter.graph, value, value)
        pending.clear()
        inputs = [rewriter.map[value] for value in node.inputs]
        if node.op in ("conv2d", "dense") and _takes_integers(node) and node.inputs[0] in infos:
            inputs[1] = _quantized_weight(rewriter.graph, node, infos[node.inputs[0]].scale, scheme)
        value = rewriter.copy(node, inputs)
        return pair(rewriter.graph, value, node.output) if node.output in infos else value

    return rewrite(graph, visit)


def _quantized_weight(graph: Graph, node: Node, input_scale: float, scheme: Scheme) -> Value:
    """The weight as int8 behind a dequantize along axis 0."""
    weight = node.inputs[1].const
    assert weight is not None
    peak = np.abs(weight.reshape(weight.shape[0], -1)).max(axis=1).astype(np.float64)
    if not scheme.per_channel:
        peak[:] = peak.max()
    scale = np.maximum(peak, peak.max() * _WEIGHT_FLOOR) / 127
    if not peak.max():
        scale[:] = 1.0
    if len(node.inputs) == 3 and node.inputs[2].const is not None:
        # The bias becomes an int32 in units of input scale * weight scale.
        scale = np.maximum(scale, np.abs(node.inputs[2].const) / (input_scale * _BIAS_LIMIT))
    scale = scale.astype(np.float32)
    shaped = scale.reshape(-1, *[1] * (weight.ndim - 1))
    integers = weight / shaped
    integers = np.clip(np.rint(integers, out=integers), -127, 127, out=integers).astype(np.int8)
    const = graph.const(integers, f"{node.inputs[1].name}.q")
    const.origin = node.inputs[1].origin
    attrs = {"scale": scale, "zero_point": np.zeros(scale.shape, dtype=np.int64), "axis": 0}
    return graph.op("dequantize", [const], attrs, name=f"{node.name}.weight.dequantize")
