"""Converters from single ONNX operators to graph operators, and what they share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from compiler.errors import ModelError
from compiler.graph.ir import Graph, QuantInfo, Value


class Reject(Exception):
    """A converter's reason for not taking an operator; it becomes an entry of UnsupportedModelError."""


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
            attrs[attribute.name] = value.decode() if isinstance(value, bytes) else value
        name = proto.name or (proto.output[0] if proto.output else f"{proto.op_type}_{index}")
        return NodeView(proto.op_type, name, tuple(proto.input), tuple(proto.output), attrs)


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
    ) -> Value:
        """Append the step that produces the ONNX node's own output, under its name."""
        tensor = node.outputs[0]
        return self.graph.op(op, inputs, attrs, name=node.name, output=tensor, origin=tensor, quant=quant)

    def constant(self, array: np.ndarray, name: str) -> Value:
        """Add a constant that the conversion makes."""
        return self.graph.const(array, name)

    def foldable(self, node: NodeView, operands: Sequence[Value | None], convertible: bool) -> bool:
        """Whether a node is shape arithmetic, to be computed at import rather than converted."""
        if node.op == "Shape":
            return operands[0] is not None
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
            start, end = node.attrs.get("start", 0), node.attrs.get("end")
            return [np.array(operands[0].shape[start:end], dtype=np.int64)]
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
        except (NotImplementedError, RuntimeError, TypeError, ValueError) as error:
            raise Reject(f"cannot be computed at import ({error})") from None


Converter = Callable[[Context, NodeView, list[Value | None]], Value]
CONVERTERS: dict[str, Converter] = {}
REASONS: dict[str, str] = dict.fromkeys(
    ("QLinearConv", "QLinearMatMul", "QLinearAdd", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear"),
    "QOperator format is not imported; export the model in QDQ format",
)


def _converter(*names: str) -> Callable[[Converter], Converter]:
    def add(function: Converter) -> Converter:
        for name in names:
            CONVERTERS[name] = function
        return function

    return add


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
        raise Reject(f"{what} must be a constant, not computed at run time")
    return value.const


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


def _constant(node: NodeView) -> np.ndarray:
    kinds = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
    for key, dtype in kinds.items():
        if key in node.attrs:
            return np.array(node.attrs[key], dtype=dtype)
    if "value" not in node.attrs:
        raise Reject(f"Constant with {sorted(node.attrs)} is not implemented")
    return numpy_helper.to_array(node.attrs["value"])


def window_attrs(node: NodeView, x: Value, kernel: Sequence[int]) -> dict[str, Any]:
    """strides, pads (top, left, bottom, right) and dilations of a two-dimensional window, auto_pad resolved."""
    if len(x.shape) != 4 or len(kernel) != 2:
        raise Reject(f"only two-dimensional windows on [N,C,H,W] are implemented, the input is {x.shape}")
    strides = tuple(node.attrs.get("strides", (1, 1)))
    dilations = tuple(node.attrs.get("dilations", (1, 1)))
    mode = node.attrs.get("auto_pad", "NOTSET")
    if mode == "NOTSET":
        pads = tuple(node.attrs.get("pads", (0, 0, 0, 0)))
    elif mode == "VALID":
        pads = (0, 0, 0, 0)
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


@_converter("Conv")
def _conv(context: Context, node: NodeView, operands: list[Value | None]) -> Value:
    x, w = need(operands, 0, "the input"), need(operands, 1, "the weight")
    attrs = window_attrs(node, x, w.shape[2:])
    bias = optional(operands, 2)
    inputs = [x, w] if bias is None else [x, w, bias]
    return context.finish(node, "conv2d", inputs, {**attrs, "groups": node.attrs.get("group", 1)})


@_converter("BatchNormalization")
def _batch_norm(context: Context, node: NodeView, operands: list[Value | None]) -> Value:
    if node.attrs.get("training_mode", 0):
        raise Reject("training mode is not implemented; export the model for inference")
    inputs = [need(operands, i, "an operand") for i in range(5)]
    return context.finish(node, "batch_norm", inputs, {"epsilon": node.attrs.get("epsilon", 1e-5)})


@_converter("Gemm")
def _gemm(context: Context, node: NodeView, operands: list[Value | None]) -> Value:
    a, b, c = need(operands, 0, "A"), need(operands, 1, "B"), optional(operands, 2)
    alpha, beta = node.attrs.get("alpha", 1.0), node.attrs.get("beta", 1.0)
    if node.attrs.get("transA", 0):
        a = context.emit(node, "transpose", [a], {"perm": (1, 0)})
    if not node.attrs.get("transB", 0):
        b = context.emit(node, "transpose", [b], {"perm": (1, 0)})
    if alpha != 1.0:
        b = context.emit(node, "mul", [b, context.constant(np.array(alpha, dtype=np.float32), f"{node.name}.alpha")])
    if c is None or beta == 0.0:
        return context.finish(node, "dense", [a, b])
    if beta != 1.0:
        c = context.emit(node, "mul", [c, context.constant(np.array(beta, dtype=np.float32), f"{node.name}.beta")])
    if math.prod(c.shape) == b.shape[0] == c.shape[-1] if c.shape else False:
        if len(c.shape) != 1:
            c = context.emit(node, "reshape", [c], {"shape": (b.shape[0],)})
        return context.finish(node, "dense", [a, b, c])
    return context.finish(node, "add", [context.emit(node, "dense", [a, b]), c])


@_converter("MatMul")
def _matmul(context: Context, node: NodeView, operands: list[Value | None]) -> Value:
    a, b = need(operands, 0, "A"), need(operands, 1, "B")
    if len(a.shape) == 2 and len(b.shape) == 2 and is_weight(b):
        return context.finish(node, "dense", [a, context.emit(node, "transpose", [b], {"perm": (1, 0)})])
    return context.finish(node, "matmul", [a, b])


def _elementwise(onnx_name: str, op: str, arity: int) -> None:
    @_converter(onnx_name)
    def convert(context: Context, node: NodeView, operands: list[Value | None]) -> Value:
        return context.finish(node, op, [need(operands, i, "an operand") for i in range(arity)])


for _name, _op in (("Relu", "relu"), ("Sigmoid", "sigmoid"), ("Tanh", "tanh"), ("Exp", "exp"), ("Sqrt", "sqrt")):
    _elementwise(_name, _op, 1)
for _name, _op in (("Neg", "neg"), ("Abs", "abs"), ("Identity", "identity")):
    _elementwise(_name, _op, 1)
for _name, _op in (("Add", "add"), ("Sub", "sub"), ("Mul", "mul"), ("Div", "div")):
    _elementwise(_name, _op, 2)


@_converter("Dropout")
def _dropout(context: Context, node: NodeView, operands: list[Value | None]) -> Value:
    training = const_of(operands, 2, "training_mode")
    if training is not None and bool(training):
        raise Reject("training mode is not implemented; export the model for inference")
    return context.finish(node, "identity", [need(operands, 0, "the input")])


@_converter("Clip")
def _clip(context: Context, node: NodeView, operands: list[Value | None]) -> Value:
    bounds = []
    for index, key, default in ((1, "min", -np.inf), (2, "max", np.inf)):
        given = const_of(operands, index, key)
        bounds.append(float(node.attrs.get(key, default)) if given is None else given.item())
    low, high = bounds
    if low > high:
        raise Reject(f"min {low:g} exceeds max {high:g}")
    if (low, high) == (0.0, np.inf):
        return context.finish(node, "relu", [need(operands, 0, "the input")])
    return context.finish(node, "clip", [need(operands, 0, "the input")], {"low": low, "high": high})


def _ceil_pads(x: Value, kernel: Sequence[int], strides: Sequence[int], pads: Sequence[int]) -> tuple[int, ...]:
    """The pads with which floor division gives ceil_mode's extent (a window never starts behind the input)."""
    result = list(pads)
    for i in range(2):
        size, before, after = x.shape[2 + i], pads[i], pads[2 + i]
        count = -(-(size + before + after - kernel[i]) // strides[i]) + 1
        if (count - 1) * strides[i] >= size + before:
            count -= 1
        result[2 + i] = max(after, (count - 1) * strides[i] + kernel[i] - size - before)
    return tuple(result)


@_converter("MaxPool", "AveragePool")
def _pool(context: Context, node: NodeView, operands: list[Value | None]) -> Value:
    x = need(operands, 0, "the input")
    if any(node.outputs[1:]):
        raise Reject("the Indices output is not implemented")
    kernel = tuple(node.attrs["kernel_shape"])
    attrs = window_attrs(node, x, kernel)
    if attrs.pop("dilations") != (1, 1):
        raise Reject("dilated pooling is not implemented")
    attrs["kernel"] = kernel
    ceil_mode = bool(node.attrs.get("ceil_mode", 0))
    pads = _ceil_pads(x, kernel, attrs["strides"], attrs["pads"]) if ceil_mode else attrs["pads"]
    if node.op == "MaxPool":
        return context.finish(node, "max_pool2d", [x], {**attrs, "pads": pads})
    if pads != attrs["pads"]:
        raise Reject("ceil_mode that adds a partial window is not implemented for averages")
    return context.finish(
        node, "avg_pool2d", [x], {**attrs, "count_include_pad": bool(node.attrs.get("count_include_pad", 0))}
    )


@_converter("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(context: Context, node: NodeView, operands: list[Value | None]) -> Value:
    x = need(operands, 0, "the input")
    if len(x.shape) != 4:
        raise Reject(f"only [N,C,H,W] is implemented, the input is {x.shape}")
    op = "avg_pool2d" if node.op == "GlobalAveragePool" else "max_pool2d"
    return context.finish(node, op, [x], {"kernel": x.shape[2:], "strides": (1, 1)})


@_converter("ReduceMean", "ReduceSum", "ReduceMax")
def _reduce(context: Context, node: NodeView, operands: list[Value | None]) -> Value:
    x = need(operands, 0, "the input")
    given = const_of(operands, 1, "axes")
    listed = node.attrs.get("axes") if given is None else given.tolist()
    if not listed and node.attrs.get("noop_with_empty_axes", 0):
        return context.finish(node, "identity", [x])
    rank = len(x.shape)
    axes = tuple(sorted(axis_of(axis, rank) for axis in (listed or range(rank))))
    keepdims = bool(node.attrs.get("keepdims", 1))
    if node.op == "ReduceMean" and rank == 4 and axes == (2, 3):
        window = {"kernel": x.shape[2:], "strides": (1, 1)}
        if keepdims:
            return context.finish(node, "avg_pool2d", [x], window)
        pooled = context.emit(node, "avg_pool2d", [x], window)
        return context.finish(node, "reshape", [pooled], {"shape": x.shape[:2]})
    op = {"ReduceMean": "reduce_mean", "ReduceSum": "reduce_sum", "ReduceMax": "reduce_max"}[node.op]
    return context.finish(node, op, [x], {"axes": axes, "keepdims": keepdims})


@_converter("Softmax")
def _softmax(context: Context, node: NodeView, operands: list[Value | None]) -> Value:
    x = need(operands, 0, "the input")
    rank = len(x.shape)
    axis = axis_of(node.attrs.get("axis", -1 if context.opset >= 13 else 1), rank)
    if context.opset >= 13 or axis == rank - 1:
        return context.finish(node, "softmax", [x], {"axis": axis})
    # Before opset 13 the axes from `axis` on are one flattened axis.
    flat = context.emit(node, "reshape", [x], {"shape": (math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))})
    return context.finish(node, "reshape", [context.emit(node, "softmax", [flat], {"axis": 1})], {"shape": x.shape})


@_converter("Flatten")
def _flatten(context: Context, node: NodeView, operands: list[Value | None]) -> Value:
    x = need(operands, 0, "the input")
    rank, axis = len(x.shape), node.attrs.get("axis", 1)
    axis = axis if axis == rank else axis_of(axis, rank)
    shape = (math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))
    return context.finish(node, "reshape", [x], {"shape": shape})


@_converter("Reshape")
def _reshape(context: Context, node: NodeView, operands: list[Value | None]) -> Value:
    x = need(operands, 0, "the input")
    given = const_of(operands, 1, "the shape")
    if given is None:
        raise Reject("the shape is missing")
    wanted = [int(extent) for extent in given.reshape(-1)]
    if not node.attrs.get("allowzero", 0):
        if any(extent == 0 and i >= len(x.shape) for i, extent in enumerate(wanted)):
            raise Reject(f"shape {wanted} copies an axis that {x.shape} does not have")
        wanted = [x.shape[i] if extent == 0 else extent for i, extent in enumerate(wanted)]
    if wanted.count(-1) > 1:
        raise Reject(f"shape {wanted} leaves more than one extent open")
    if -1 in wanted:
        known = math.prod(extent for extent in wanted if extent != -1)
        if known == 0 or math.prod(x.shape) % known:
            raise Reject(f"{x.shape} cannot be reshaped to {wanted}")
        wanted[wanted.index(-1)] = math.prod(x.shape) // known
    return context.finish(node, "reshape", [x], {"shape": tuple(wanted)})


@_converter("Squeeze", "Unsqueeze")
def _squeeze(context: Context, node: NodeView, operands: list[Value | None]) -> Value:
    x = need(operands, 0, "the input")
    given = const_of(operands, 1, "axes")
    listed = node.attrs.get("axes") if given is None else given.reshape(-1).tolist()
    shape = list(x.shape)
    if node.op == "Squeeze":
        if listed is None:
            listed = [i for i, extent in enumerate(shape) if extent == 1]
        axes = [axis_of(axis, len(shape)) for axis in listed]
        if any(shape[axis] != 1 for axis in axes):
            raise Reject(f"axes {axes} of {x.shape} are not all of extent 1")
        shape = [extent for i, extent in enumerate(shape) if i not in axes]
    else:
        if listed is None:
            raise Reject("axes are missing")
        for axis in sorted(axis_of(a, len(shape) + len(listed)) for a in listed):
            shape.insert(axis, 1)
    return context.finish(node, "reshape", [x], {"shape": tuple(shape)})


@_converter("Transpose")
def _transpose(context: Context, node: NodeView, operands: list[Value | None]) -> Value:
    x = need(operands, 0, "the input")
    perm = tuple(node.attrs.get("perm", reversed(range(len(x.shape)))))
    return context.finish(node, "transpose", [x], {"perm": perm})


@_converter("Concat")
def _concat(context: Context, node: NodeView, operands: list[Value | None]) -> Value:
    values = [need(operands, i, "an operand") for i in range(len(operands))]
    return context.finish(node, "concat", values, {"axis": axis_of(node.attrs["axis"], len(values[0].shape))})


@_converter("Pad")
def _pad(context: Context, node: NodeView, operands: list[Value | None]) -> Value:
    x = need(operands, 0, "the input")
    if node.attrs.get("mode", "constant") != "constant":
        raise Reject(f"mode '{node.attrs['mode']}' is not implemented, only constant")
    given, value, axes = (const_of(operands, i, what) for i, what in ((1, "pads"), (2, "the value"), (3, "axes")))
    pads = node.attrs.get("pads") if given is None else given.tolist()
    if pads is None:
        raise Reject("pads are missing")
    fill = node.attrs.get("value", 0.0) if value is None else value.reshape(-1)[0].item()
    rank = len(x.shape)
    listed = list(range(rank)) if axes is None else [axis_of(int(axis), rank) for axis in axes]
    before, after = [0] * rank, [0] * rank
    for i, axis in enumerate(listed):
        before[axis], after[axis] = int(pads[i]), int(pads[len(listed) + i])
    return context.finish(node, "pad", [x], {"before": tuple(before), "after": tuple(after), "value": fill})


def _scale_and_zero_point(node: NodeView, operands: list[Value | None]) -> tuple[np.ndarray, np.ndarray]:
    scale, zero_point = const_of(operands, 1, "the scale"), const_of(operands, 2, "the zero point")
    if scale is None:
        raise Reject("the scale is missing")
    if scale.dtype != np.float32:
        raise Reject(f"a {scale.dtype} scale is not implemented, only float32")
    if not (scale > 0).all():
        raise ModelError(f"{node.op} '{node.name}': the scale must be positive, got {scale.min():g}")
    if node.attrs.get("block_size", 0):
        raise Reject("blocked quantisation is not implemented")
    if zero_point is None:
        zero_point = np.zeros(scale.shape, dtype=np.uint8)
    if scale.shape == (1,):
        scale, zero_point = scale.reshape(()), zero_point.reshape(())
    return scale, zero_point


@_converter("QuantizeLinear")
def _quantize(context: Context, node: NodeView, operands: list[Value | None]) -> Value:
    x = need(operands, 0, "the input")
    scale, zero_point = _scale_and_zero_point(node, operands)
    kind = zero_point.dtype.name
    if kind not in ("int8", "uint8"):
        raise Reject(f"{kind} quantisation is not implemented, only int8 and uint8")
    # The graph computes on int8: a uint8 tensor is shifted, unless the model hands it out as it is.
    shifted = kind == "uint8" and node.outputs[0] not in context.model_outputs
    offset = 128 if shifted else 0
    zero = zero_point.astype(np.int64) - offset
    quant = QuantInfo(float(scale), int(zero), offset) if scale.ndim == 0 else None
    attrs = {
        "scale": scale,
        "zero_point": zero,
        "axis": axis_of(node.attrs.get("axis", 1), len(x.shape)) if scale.ndim else 1,
        "dtype": "int8" if shifted else kind,
    }
    return context.finish(node, "quantize", [x], attrs, quant)


@_converter("DequantizeLinear")
def _dequantize(context: Context, node: NodeView, operands: list[Value | None]) -> Value:
    x = need(operands, 0, "the input")
    scale, zero_point = _scale_and_zero_point(node, operands)
    zero = zero_point.astype(np.int64)
    if optional(operands, 2) is None:  # the zero point is 0 in the element type of x
        shifted = x.quant is not None and x.quant.offset != 0
        zero_point = zero_point.astype(np.uint8 if shifted else x.dtype)
    if x.const is not None and x.dtype == "uint8":
        x = context.constant((x.const.astype(np.int16) - 128).astype(np.int8), f"{x.name}.shifted")
        zero = zero - 128
    elif zero_point.dtype == np.uint8 and x.dtype == "int8":
        zero = zero - 128
    axis = axis_of(node.attrs.get("axis", 1), len(x.shape)) if scale.ndim else 1
    return context.finish(node, "dequantize", [x], {"scale": scale, "zero_point": zero, "axis": axis})
