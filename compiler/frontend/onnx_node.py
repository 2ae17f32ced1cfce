"""What the ONNX converters share: a typed view of a node, the context, checks that reject with a reason."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from compiler.graph.ir import Graph, QuantInfo, Value

# What onnx raises for a tensor whose bytes, type and shape do not fit together.
UNREADABLE = (OSError, LookupError, TypeError, ValueError, onnx.checker.ValidationError)


class Reject(Exception):
    """A converter's reason for not taking an operator; it becomes an entry of UnsupportedModelError.

    needs: the tensor that would have to be constant.
    """

    def __init__(self, reason: str, needs: str | None = None) -> None:
        super().__init__(reason)
        self.needs = needs


@dataclass(frozen=True)
class NodeView:
    """What a converter needs of a NodeProto."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Any]

    @staticmethod
    def read(proto: onnx.NodeProto, index: int) -> NodeView:
        """Read a NodeProto; a node without a name is called after its first output."""
        attrs = {}
        for attribute in proto.attribute:
            value = onnx.helper.get_attribute_value(attribute)
            attrs[attribute.name] = value.decode(errors="replace") if isinstance(value, bytes) else value
        name = proto.name or (proto.output[0] if proto.output else f"{proto.op_type}_{index}")
        return NodeView(proto.op_type, name, tuple(proto.input), tuple(proto.output), attrs)

    def integer(self, key: str, default: int = 0) -> int:
        """An integer attribute; Reject when it has another type."""
        value = self.attrs.get(key, default)
        if not isinstance(value, int):
            raise Reject(f"attribute '{key}' must be an integer")
        return value

    def number(self, key: str, default: float) -> float:
        """A float attribute; Reject when it has another type or is not a number."""
        value = self.attrs.get(key, default)
        if not isinstance(value, (int, float)) or math.isnan(value):
            raise Reject(f"attribute '{key}' must be a number")
        return float(value)

    def text(self, key: str, default: str) -> str:
        """A string attribute; Reject when it has another type."""
        value = self.attrs.get(key, default)
        if not isinstance(value, str):
            raise Reject(f"attribute '{key}' must be a string")
        return value

    def integers(self, key: str, default: Sequence[int], count: int | None = None) -> tuple[int, ...]:
        """A list of integers, of `count` entries if given; Reject when it is something else."""
        value = self.attrs.get(key, default)
        if not isinstance(value, Sequence) or any(not isinstance(entry, int) for entry in value):
            raise Reject(f"attribute '{key}' must be a list of integers")
        if count is not None and len(value) != count:
            raise Reject(f"attribute '{key}' must have {count} entries, got {len(value)}")
        return tuple(value)


@dataclass
class Context:
    """The state converters share: the graph under construction, the opset, the names of the model's outputs."""

    graph: Graph
    opset: int
    model_outputs: set[str]

    def emit(self, node: NodeView, op: str, inputs: Sequence[Value], attrs: Mapping[str, Any] | None = None) -> Value:
        """Append an inner step of a conversion."""
        return self.graph.op(op, inputs, attrs, name=node.name, output=f"{node.outputs[0]}.{op}")

    def finish(
        self,
        node: NodeView,
        op: str,
        inputs: Sequence[Value],
        attrs: Mapping[str, Any] | None = None,
        quant: QuantInfo | None = None,
        output: int = 0,
    ) -> Value:
        """Append the step that produces one of the ONNX node's own outputs (by default the first), under its name."""
        tensor = node.outputs[output]
        return self.graph.op(op, inputs, attrs, name=node.name, output=tensor, origin=tensor, quant=quant)

    def constant(self, array: np.ndarray, name: str) -> Value:
        """Add a constant that the conversion makes."""
        return self.graph.const(array, name)

    def number(self, node: NodeView, number: float, like: Value) -> Value:
        """A scalar constant of the element type of `like`."""
        return self.graph.const(np.array(number, dtype=like.dtype), f"{node.name}.{number:g}")

    def foldable(self, node: NodeView, operands: Sequence[Value | None], convertible: bool) -> bool:
        """Whether a node is shape arithmetic, to be computed at import rather than converted."""
        if node.op in ("Shape", "Size"):
            return bool(operands) and operands[0] is not None
        if node.op in ("QuantizeLinear", "DequantizeLinear", "Constant") or not node.inputs:
            return node.op in ("Constant", "ConstantOfShape") and bool(node.outputs)
        present = [operand for operand in operands if operand is not None]
        if not present or any(operand.const is None for operand in present):
            return False
        return not convertible or any(operand.dtype in ("int64", "int32", "bool") for operand in present[:1])

    def fold(self, proto: onnx.NodeProto, node: NodeView, operands: Sequence[Value | None]) -> list[np.ndarray]:
        """Compute the outputs of a node with constant operands (or of Shape, Constant)."""
        if node.op == "Shape":
            assert operands[0] is not None
            shape = operands[0].shape
            return [np.array(shape[node.integer("start") : node.integer("end", len(shape))], dtype=np.int64)]
        if node.op == "Size":
            assert operands[0] is not None
            return [np.array(math.prod(operands[0].shape), dtype=np.int64)]
        if node.op == "Constant":
            return [_constant(node)]
        from onnx.reference import ReferenceEvaluator  # slow to import, and few models need it

        feeds = {name: value.const for name, value in zip(node.inputs, operands, strict=True) if value is not None}
        signature = onnx.helper.make_graph(
            [proto],
            "fold",
            [
                onnx.helper.make_tensor_value_info(n, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
                for n, a in feeds.items()
                if a is not None
            ],
            [onnx.ValueInfoProto(name=output) for output in node.outputs],
        )
        model = onnx.helper.make_model(signature, opset_imports=[onnx.helper.make_opsetid("", self.opset)])
        try:
            return [np.asarray(array) for array in ReferenceEvaluator(model).run(None, feeds)]
        except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise Reject(f"cannot be computed at import ({error})") from None


def _constant(node: NodeView) -> np.ndarray:
    kinds = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
    for key, dtype in kinds.items():
        if key in node.attrs:
            return np.array(node.attrs[key], dtype=dtype)
    if "value" not in node.attrs:
        raise Reject(f"Constant with {sorted(node.attrs)} is not implemented")
    value = node.attrs["value"]
    if not isinstance(value, onnx.TensorProto):
        raise Reject("attribute 'value' must be a tensor")
    try:
        return numpy_helper.to_array(value)
    except UNREADABLE as error:
        raise Reject(f"attribute 'value' cannot be read ({error})") from None


def need(operands: Sequence[Value | None], index: int, what: str) -> Value:
    """The operand at an index; Reject when the node leaves it out."""
    value = operands[index] if index < len(operands) else None
    if value is None:
        raise Reject(f"{what} is missing")
    return value


def optional(operands: Sequence[Value | None], index: int) -> Value | None:
    """The operand at an index, None when it is left out."""
    return operands[index] if index < len(operands) else None


def const_of(operands: Sequence[Value | None], index: int, what: str) -> np.ndarray | None:
    """The constant at an index, None when left out; Reject when it is computed at run time."""
    value = optional(operands, index)
    if value is None:
        return None
    if value.const is None:
        raise Reject(f"{what} must be a constant, not computed at run time", value.origin or value.name)
    return value.const


def integers_of(operands: Sequence[Value | None], index: int, what: str) -> list[int] | None:
    """The integers of a constant operand, None when left out; Reject when they are something else."""
    array = const_of(operands, index, what)
    if array is None:
        return None
    if array.dtype.kind not in "iu":
        raise Reject(f"{what} must be integers, got {array.dtype}")
    return [int(entry) for entry in array.reshape(-1)]


def scalar_of(operands: Sequence[Value | None], index: int, what: str) -> float | None:
    """The number in a constant operand, None when left out; Reject when it holds several."""
    array = const_of(operands, index, what)
    if array is None:
        return None
    if array.size != 1:
        raise Reject(f"{what} must be one number, got shape {array.shape}")
    return float(array.reshape(-1)[0])


def axis_of(axis: int, rank: int) -> int:
    """Normalise a negative axis; Reject when it is outside the rank."""
    if not -rank <= axis < rank:
        raise Reject(f"axis {axis} is outside the rank {rank}")
    return axis % rank


def is_weight(value: Value) -> bool:
    """Whether a value is a constant, or a constant behind DequantizeLinear."""
    producer = value.producer
    return value.const is not None or (
        producer is not None and producer.op == "dequantize" and producer.inputs[0].const is not None
    )


def window_attrs(node: NodeView, x: Value, kernel: Sequence[int]) -> dict[str, Any]:
    """strides, pads (before each axis, behind each axis) and dilations of a window, auto_pad resolved."""
    rank = len(x.shape) - 2
    if rank < 1 or len(kernel) != rank:
        raise Reject(f"the kernel {tuple(kernel)} does not fit the input {x.shape}")
    ones = (1,) * rank
    strides, dilations = node.integers("strides", ones, rank), node.integers("dilations", ones, rank)
    if min(*kernel, *strides, *dilations) < 1:
        raise Reject(f"kernel {tuple(kernel)}, strides {strides} and dilations {dilations} must be positive")
    mode = node.text("auto_pad", "NOTSET")
    if mode == "NOTSET":
        pads = node.integers("pads", (0, 0) * rank, 2 * rank)
    elif mode == "VALID":
        pads = (0, 0) * rank
    elif mode not in ("SAME_UPPER", "SAME_LOWER"):
        raise Reject(f"auto_pad '{mode}' is unknown")
    else:
        begin, end = [], []
        for size, k, stride, dilation in zip(x.shape[2:], kernel, strides, dilations, strict=True):
            total = max(0, (-(-size // stride) - 1) * stride + (k - 1) * dilation + 1 - size)
            small, large = total // 2, total - total // 2
            begin.append(small if mode == "SAME_UPPER" else large)
            end.append(large if mode == "SAME_UPPER" else small)
        pads = (*begin, *end)
    if min(pads) < 0:
        raise Reject(f"negative pads {pads} are not implemented")
    return {"strides": strides, "pads": pads, "dilations": dilations}
