"""Turns dequantize -> operator -> quantize patterns into integer operators.

One walk in topological order. Operators that only move elements (or take their maximum) commute with dequantize,
so it sinks below them; at a quantize the float operators above it, up to the dequantized operands, are replaced.
What does not match stays float between its dequantize and quantize, with the reason in `Node.reason`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compiler.errors import QuantizationError
from compiler.graph.ir import Graph, Node, QuantInfo, Rewriter, Value, rewrite
from compiler.ops.quantization import add_multipliers, pack_params, quantize_multiplier

_MOVES = {"max_pool2d", "reshape", "transpose", "identity", "concat", "pad"}
_INT32_MAX = (1 << 31) - 1


def convert_qdq(graph: Graph) -> Graph:
    """Convert every matching pattern to integer operators; float islands that do not match are left in place."""

    def visit(rewriter: Rewriter, node: Node, inputs: list[Value]) -> Value | None:
        if node.op in _MOVES:
            return _sink(rewriter.graph, node, inputs)
        if node.op != "quantize" or node.attrs["dtype"] != "int8" or np.ndim(node.attrs["scale"]):
            return None
        try:
            return _Match(rewriter.graph, node, inputs[0]).convert()
        except (_NoMatch, QuantizationError) as refusal:
            producer = inputs[0].producer
            if producer is not None:
                producer.reason = str(refusal)
            return None

    return rewrite(graph, visit)


class _NoMatch(Exception):
    """Why an operator has no integer form."""


def _dequantized(value: Value) -> tuple[Value, QuantInfo] | None:
    """The int8 tensor behind a per-tensor dequantize, with its parameters."""
    producer = value.producer
    if producer is None or producer.op != "dequantize" or np.ndim(producer.attrs["scale"]):
        return None
    source = producer.inputs[0]
    if source.dtype != "int8":
        return None
    offset = source.quant.offset if source.quant is not None else 0
    return source, QuantInfo(float(producer.attrs["scale"]), int(producer.attrs["zero_point"]), offset)


def _same(a: QuantInfo, b: QuantInfo) -> bool:
    return a.scale == b.scale and a.zero_point == b.zero_point


def _sink(graph: Graph, node: Node, inputs: Sequence[Value]) -> Value | None:
    """op(dequantize(x)) -> dequantize(op(x)), which holds exactly for operators that move or select elements."""
    found = [_dequantized(value) for value in inputs]
    sources = [entry for entry in found if entry is not None]
    if not sources or len(sources) < len(inputs):
        return _sink_weight(graph, node, inputs)
    info = sources[0][1]
    if any(not _same(info, other) for _, other in sources[1:]):
        return None
    node_attrs = dict(node.attrs)
    if node.op == "pad":
        fill = node.attrs["value"] / info.scale + info.zero_point
        if not -128 <= fill <= 127 or fill != round(fill):
            return None  # the padding is not one of the integers
        node_attrs["value"] = round(fill)
    integers = graph.op(
        node.op,
        [source for source, _ in sources],
        node_attrs,
        name=node.name,
        output=f"{node.output.name}.int8",
        origin=node.output.origin,
        quant=info,
    )
    attrs = {"scale": np.float32(info.scale), "zero_point": np.int64(info.zero_point)}
    return _dequantize(graph, node, integers, attrs)


def _sink_weight(graph: Graph, node: Node, inputs: Sequence[Value]) -> Value | None:
    """The same for a transposed weight that is quantised along an axis."""
    producer = inputs[0].producer
    if node.op != "transpose" or producer is None or producer.op != "dequantize" or producer.inputs[0].const is None:
        return None
    perm, attrs = tuple(node.attrs["perm"]), dict(producer.attrs)
    integers = graph.const(producer.inputs[0].const.transpose(perm), f"{node.output.name}.int8")
    if np.ndim(attrs["scale"]):
        attrs["axis"] = perm.index(attrs["axis"])
    return _dequantize(graph, node, integers, attrs)


def _dequantize(graph: Graph, node: Node, integers: Value, attrs: dict) -> Value:
    out = node.output
    return graph.op("dequantize", [integers], attrs, name=f"{node.name}.dequantize", output=out.name, origin=out.origin)


class _Match:
    """One quantize node and the float operators above it."""

    def __init__(self, graph: Graph, node: Node, x: Value) -> None:
        self.graph, self.node = graph, node
        self.out = QuantInfo(float(node.attrs["scale"]), int(node.attrs["zero_point"]))
        self.low, self.high = -128, 127
        self.x = x

    def convert(self) -> Value:
        """The integer value that replaces the quantize; _NoMatch with the reason when there is none."""
        while self.x.producer is not None and self.x.producer.op in ("relu", "clip"):
            self._absorb(self.x.producer)
            self.x = self.x.producer.inputs[0]
        if self.low > self.high:
            raise _NoMatch("its limits exclude every representable value")
        producer = self.x.producer
        if producer is None:
            raise _NoMatch("it is a graph input")
        if producer.op == "dequantize":
            return self._rescale_or_reuse(self.x, self.node.output)
        if producer.op in ("conv2d", "dense"):
            return self._linear(producer)
        if producer.op == "avg_pool2d":
            return self._average(producer)
        if producer.op == "add":
            return self._add(producer)
        if producer.op == "concat":
            return self._concat(producer)
        if producer.op in _MOVES:
            raise _NoMatch("its input is not quantised")
        raise _NoMatch(f"'{producer.op}' has no integer form")

    def _absorb(self, activation: Node) -> None:
        """Quantised limits of an activation: rounding is monotone, so clipping before or after it is the same."""
        low, high = (0.0, np.inf) if activation.op == "relu" else (activation.attrs["low"], activation.attrs["high"])
        if np.isfinite(low):
            self.low = max(self.low, self._integer(low))
        if np.isfinite(high):
            self.high = min(self.high, self._integer(high))

    def _integer(self, real: float) -> int:
        rounded = np.rint(np.float32(real) / np.float32(self.out.scale)) + self.out.zero_point
        return int(np.clip(rounded, -128, 127))

    def _clip_attrs(self) -> dict[str, int]:
        return {"zero_point": self.out.zero_point, "low": self.low, "high": self.high}

    def _result(self, op: str, inputs: Sequence[Value], attrs: dict, name: str) -> Value:
        old = self.node.output
        return self.graph.op(op, inputs, attrs, name=name, output=old.name, origin=old.origin, quant=old.quant)

    def _operand(self, value: Value) -> tuple[Value, QuantInfo]:
        found = _dequantized(value)
        if found is None:
            raise _NoMatch(f"its operand '{value.name}' is not int8 quantised per tensor")
        return found

    def _requantize(self, acc: Value, name: str, bias: np.ndarray, factors: np.ndarray) -> Value:
        """Append requantize with an int bias and a real factor per channel; QuantizationError beyond its range."""
        if np.abs(bias).max() > _INT32_MAX:
            raise _NoMatch("its bias exceeds int32 in units of input scale times weight scale")
        pairs = [quantize_multiplier(float(factor)) for factor in factors]
        mult, shift = np.array(pairs, dtype=np.int64).T
        params = self.graph.const(pack_params(bias, mult, shift), f"{name}.params")
        return self._result("requantize", [acc, params], self._clip_attrs(), f"{name}.requantize")

    def _linear(self, layer: Node) -> Value:
        x, x_info = self._operand(layer.inputs[0])
        weight = layer.inputs[1].producer
        if weight is None or weight.op != "dequantize" or weight.inputs[0].const is None:
            raise _NoMatch("its weight is not a quantised constant")
        w = weight.inputs[0]
        integers = w.const
        assert integers is not None
        if w.dtype != "int8" or np.any(weight.attrs["zero_point"]):
            raise _NoMatch("its weight is not symmetric int8 (zero point 0)")
        scale = np.asarray(weight.attrs["scale"], dtype=np.float64)
        if scale.ndim and weight.attrs["axis"] != 0:
            raise _NoMatch("its weight is not quantised along the output channels")
        channels = w.shape[0]
        unit = np.broadcast_to(x_info.scale * scale, (channels,))
        bias = np.zeros(channels)
        if len(layer.inputs) == 3:
            bias = np.rint(_real_constant(layer.inputs[2]) / unit)
        bias = bias - x_info.zero_point * integers.reshape(channels, -1).sum(axis=1, dtype=np.int64)
        attrs = dict(layer.attrs)
        if layer.op == "conv2d":
            attrs["pad_value"] = x_info.zero_point
        acc = self.graph.op(layer.op, [x, w], attrs, name=layer.name, output=f"{layer.output.name}.acc")
        return self._requantize(acc, layer.name, bias, unit / self.out.scale)

    def _average(self, pool: Node) -> Value:
        x, x_info = self._operand(pool.inputs[0])
        attrs = dict(pool.attrs)
        if any(attrs["pads"]) and not attrs["count_include_pad"]:
            raise _NoMatch("its divisor changes at the border (count_include_pad=0 with padding)")
        del attrs["count_include_pad"]
        return self._sum(x, x_info, pool.name, attrs)

    def _sum(self, x: Value, info: QuantInfo, name: str, attrs: dict) -> Value:
        area = attrs["kernel"][0] * attrs["kernel"][1]
        attrs = {**attrs, "pad_value": info.zero_point}
        acc = self.graph.op("avg_pool2d_sum", [x], attrs, name=name, output=f"{self.node.output.name}.acc")
        channels = x.shape[1]
        bias = np.full(channels, -info.zero_point * area)
        return self._requantize(acc, name, bias, np.full(channels, info.scale / self.out.scale / area))

    def _add(self, node: Node) -> Value:
        (a, a_info), (b, b_info) = (self._operand(value) for value in node.inputs)
        if a.shape != b.shape:
            raise _NoMatch(f"its operands {a.shape} and {b.shape} are broadcast")
        if b_info.scale > a_info.scale:
            a, a_info, b, b_info = b, b_info, a, a_info
        multipliers = add_multipliers(a_info.scale, b_info.scale, self.out.scale)
        attrs = {**self._clip_attrs(), "za": a_info.zero_point, "zb": b_info.zero_point, **multipliers}
        return self._result("qadd", [a, b], attrs, node.name)

    def _concat(self, node: Node) -> Value:
        parts = [self._rescale_or_reuse(value, value) for value in node.inputs]
        return self._result("concat", parts, dict(node.attrs), node.name)

    def _rescale_or_reuse(self, value: Value, named: Value) -> Value:
        """An int8 tensor in the output's parameters: itself, clipped, or brought there through int32."""
        x, info = self._operand(value)
        full = (self.low, self.high) == (-128, 127)
        if _same(info, self.out):
            if full:
                if named is self.node.output and x.producer is not None and x.producer.op in _MOVES:
                    # A moved tensor stands for the model's own quantised tensor.
                    x.origin, x.quant = named.origin, named.quant
                return x
            return self._result("clip", [x], {"low": self.low, "high": self.high}, self.node.name)
        name = f"{self.node.name}.rescale"
        if len(x.shape) == 4:
            return self._sum(x, info, name, {"kernel": (1, 1), "strides": (1, 1), "pads": (0, 0, 0, 0)})
        if len(x.shape) != 2:
            raise _NoMatch(f"a tensor of shape {x.shape} cannot be rescaled between two quantisations")
        wide = self.graph.op("reshape", [x], {"shape": (*x.shape, 1, 1)}, name=f"{name}.reshape", quant=info)
        scaled = self._sum(wide, info, name, {"kernel": (1, 1), "strides": (1, 1), "pads": (0, 0, 0, 0)})
        return self._result("reshape", [scaled], {"shape": x.shape}, f"{name}.flatten")


def _real_constant(value: Value) -> np.ndarray:
    """The reals of a constant, plain or behind dequantize; _NoMatch for a computed one."""
    if value.const is not None:
        return value.const.astype(np.float64)
    producer = value.producer
    if producer is None or producer.op != "dequantize" or producer.inputs[0].const is None:
        raise _NoMatch("its bias is not a constant")
    integers = producer.inputs[0].const.astype(np.float64)
    return (integers - producer.attrs["zero_point"]) * np.asarray(producer.attrs["scale"], dtype=np.float64)
