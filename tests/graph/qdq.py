"""Quantised networks layer by layer: ONNX Runtime's own tensors as each layer's inputs, and as what it should give.

A rounding that falls the other way in one value moves many values of the next layer a little, whoever computes them, so
that whole networks can only be compared by their outputs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from compiler.frontend.onnx_import import from_onnx
from compiler.graph.fuse import FusedGroup
from compiler.graph.ir import Graph, Node, Value
from compiler.graph.pass_manager import PassManager
from compiler.graph.pipeline import Calibration, integer_passes
from compiler.ops import get_op
from tests.graph.helpers import run_ort


@dataclass
class Comparison:
    """One tensor: the greatest difference from ONNX Runtime's in LSB, and the share of equal values."""

    name: str
    worst: int
    equal: float

    @classmethod
    def of(cls, name: str, got: np.ndarray, expected: np.ndarray) -> Comparison:
        difference = np.abs(got.astype(np.int32) - expected.astype(np.int32))
        return cls(name, int(difference.max()), float((difference == 0).mean()))

    def __str__(self) -> str:
        return f"{self.name}: at most {self.worst} LSB, {self.equal:.3%} equal"


def ort_tensors(model: onnx.ModelProto, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every quantised tensor of a QDQ model, in the model's own integers, by its name."""
    return run_ort(model, inputs, [n.output[0] for n in model.graph.node if n.op_type == "QuantizeLinear"])


def calibrated(model: onnx.ModelProto) -> tuple[onnx.ModelProto, Graph]:
    """The QDQ model that the kit's own quantisation makes of a float model, and the integer graph that it becomes.

    A value of the graph has for its `origin` the name of the model's quantised tensor.
    """
    passes = integer_passes(Calibration(), quantized=False)
    split = [step.name for step in passes].index("quantize") + 1
    graph = PassManager(passes[:split]).run(from_onnx(model))
    for node in graph.nodes:
        node.output.origin = node.output.name
    return _qdq_model(graph), PassManager(passes[split:]).run(graph)


def expected_values(
    graph: Graph, inputs: Mapping[str, np.ndarray], tensors: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], set[str]]:
    """What every value of an integer graph should be, by name, and which of them are ONNX Runtime's own tensors; others
    are computed from those, as the graph means it.

    tensors: ONNX Runtime's, by the values' `origin`.
    """
    values = dict(inputs)
    known: set[str] = set()
    origins = {v.name: v.origin for v in graph.values()}
    # A layer's result may lie behind a reshape that a target's own pass made.
    for node in graph.nodes:
        if node.op == "reshape" and node.output.origin in tensors and origins[node.inputs[0].name] not in tensors:
            origins[node.inputs[0].name] = node.output.origin
    for node in graph.nodes:
        value = node.output
        given = tensors.get(origins[value.name] or "") if value.dtype == "int8" else None
        if given is not None and given.size == np.prod(value.shape):
            values[value.name] = (given.astype(np.int32) - offset(value)).astype(np.int8).reshape(value.shape)
            known.add(value.name)
        else:
            values[value.name] = _computed(node, values)
    return values, known


def parts(group: FusedGroup, known: Collection[str]) -> list[FusedGroup]:
    """A group cut behind each of the values that are known; what follows the last of them is left out."""
    out: list[FusedGroup] = []
    nodes: list[Node] = []
    for node in group.nodes:
        nodes.append(node)
        if node.output.name in known:
            inside = {n.output for n in nodes}
            read = dict.fromkeys(v for n in nodes for v in n.inputs if v not in inside)
            out.append(FusedGroup(nodes, list(read), [node.output], nodes[0], group.pattern, group.target))
            nodes = []
    return out


def recomputed(group: FusedGroup, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The values with those inside a group computed from its inputs, as the graph means it."""
    exact = dict(values)
    for node in group.nodes:
        exact[node.output.name] = _computed(node, exact)
    return exact


def offset(value: Value) -> int:
    """What uint8 tensors were shifted by at import."""
    return value.quant.offset if value.quant is not None else 0


def _computed(node: Node, values: Mapping[str, np.ndarray]) -> np.ndarray:
    operands = [v.const if v.const is not None else values[v.name] for v in node.inputs]
    return get_op(node.op).reference(operands, node.attrs)


def _qdq_model(graph: Graph) -> onnx.ModelProto:
    """A float graph with quantize/dequantize pairs as an ONNX model, whose tensors have the values' names."""
    constants = {v.name: v.const for node in graph.nodes for v in node.inputs if v.const is not None}
    nodes: list[onnx.NodeProto] = []

    def constant(label: str, array: np.ndarray) -> str:
        constants[label] = array
        return label

    for node in graph.nodes:
        attrs = node.attrs
        operands = [value.name for value in node.inputs]
        attributes: dict[str, Any] = {}
        if node.op in ("quantize", "dequantize"):
            scale, zero = np.asarray(attrs["scale"], np.float32), np.asarray(attrs["zero_point"]).astype(np.int8)
            operands += [constant(f"{node.name}.scale", scale), constant(f"{node.name}.zero_point", zero)]
            attributes = {"axis": attrs["axis"]} if scale.ndim else {}
        elif node.op == "conv2d":
            attributes = {key: list(attrs[key]) for key in ("strides", "pads", "dilations")}
            attributes["group"] = attrs["groups"]
        elif node.op in ("max_pool2d", "avg_pool2d"):
            attributes = {"kernel_shape": list(attrs["kernel"]), "strides": list(attrs["strides"])}
            attributes["pads"] = list(attrs["pads"])
        elif node.op == "dense":
            attributes = {"transB": 1}
        elif node.op == "clip":
            limits = {key: np.asarray(attrs[key], np.float32) for key in ("low", "high")}
            operands += [constant(f"{node.name}.{key}", limit) for key, limit in limits.items()]
        elif node.op == "reshape":
            operands.append(constant(f"{node.name}.shape", np.asarray(node.output.shape, np.int64)))
        nodes.append(helper.make_node(_OPERATORS[node.op], operands, [node.output.name], name=node.name, **attributes))
    model = helper.make_graph(
        nodes,
        graph.name,
        [helper.make_tensor_value_info(v.name, TensorProto.FLOAT, v.shape) for v in graph.inputs],
        [helper.make_tensor_value_info(v.name, TensorProto.FLOAT, v.shape) for v in graph.outputs],
        [numpy_helper.from_array(array, label) for label, array in constants.items()],
    )
    return helper.make_model(model, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


_OPERATORS = {
    "quantize": "QuantizeLinear",
    "dequantize": "DequantizeLinear",
    "conv2d": "Conv",
    "dense": "Gemm",
    "add": "Add",
    "relu": "Relu",
    "clip": "Clip",
    "reshape": "Reshape",
    "max_pool2d": "MaxPool",
    "avg_pool2d": "AveragePool",
}
