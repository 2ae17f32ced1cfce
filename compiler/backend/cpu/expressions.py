"""The tensor expression of a graph node on a CPU: the general ones, and those for channels in blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from compiler.backend.cpu import int8, transposed, winograd
from compiler.backend.cpu.convolution import blocked_conv2d
from compiler.backend.cpu.dense import packed_dense
from compiler.backend.cpu.layouts import BLOCK_PRESERVING, phases_of
from compiler.backend.cpu.processor import Processor
from compiler.backend.cpu.recurrent import recurrent_layer
from compiler.backend.cpu.vector_convolution import vector_conv2d
from compiler.errors import CompileError
from compiler.graph.ir import Node, Value
from compiler.graph.layout import is_plain
from compiler.ops import get_op
from compiler.ops.compute import compute_of
from compiler.ops.compute.recurrent import LAYERS
from compiler.ops.registry import Attrs, TensorType
from compiler.te.tensor import ComputeOp, Tensor
from compiler.tune.space import Knobs

# Expressions of the same meaning that run faster here than the general ones.
_PREFERRED: Mapping[str, Callable[[Sequence[Tensor], Attrs, TensorType], Tensor]] = {"conv2d": vector_conv2d}


def expression(node: Node, tensors: Mapping[Value, Tensor], processor: Processor, knobs: Knobs) -> Tensor:
    """The tensor expression of one node; CompileError where layouts or a plug-in's compute do not fit.

    knobs: decide between expressions of the same meaning.
    """
    inputs = [tensors[value] for value in node.inputs]
    attrs = get_op(node.op).bind(node.attrs)
    stored = TensorType(node.output.storage_shape, node.output.dtype)
    integer = int8.expression(node, inputs, attrs, stored, processor)
    if integer is not None:
        result = integer
    elif node.op == "conv2d" and _blocked_convolution(node):
        result = _convolution(node, inputs, attrs, stored.shape, processor, knobs)
    elif node.op == "conv_transpose" and phases_of(node):
        assert node.inputs[1].const is not None
        result = transposed.transposed_conv2d(inputs, node.inputs[1].const, attrs, stored.shape, processor)
    elif node.op in LAYERS and node.inputs[1].const is not None:
        result = recurrent_layer(node.op, inputs, node.inputs[1].const, attrs, stored, processor)
    elif node.op == "dense" and not is_plain(node.inputs[1].layout) and is_plain(node.inputs[0].layout):
        result = packed_dense(inputs, stored.shape[1], processor.lanes)
    elif node.op in BLOCK_PRESERVING and _same_blocks(node):
        result = compute_of(node.op)(inputs, attrs, stored)
    else:
        if node.op != "layout_transform":
            _check_plain(node)
        result = _PREFERRED.get(node.op, compute_of(node.op))(inputs, attrs, node.output.type)
    if not isinstance(result.op, ComputeOp) or (result.shape, result.dtype) != (stored.shape, stored.dtype):
        raise CompileError(
            f"node '{node.name}': the tensor expression of '{node.op}' must be a te.compute of "
            f"{stored.dtype}{list(stored.shape)}, got {result!r}"
        )
    return result


def _convolution(
    node: Node, inputs: Sequence[Tensor], attrs: Attrs, shape: Sequence[int], processor: Processor, knobs: Knobs
) -> Tensor:
    x, w = node.inputs[0], node.inputs[1]
    if w.const is not None and not is_plain(x.layout) and winograd.applies(w.shape[2:], attrs):
        found = winograd.algorithms(x.shape, node.output.shape, processor)
        by_name = {"direct" if transform is None else transform.name: transform for transform in found}
        transform = by_name[knobs.alternative("algorithm", tuple(by_name))]
        if transform is not None:
            return winograd.winograd_conv2d(inputs, w.const, attrs, shape, transform)
    return blocked_conv2d(inputs, attrs, shape, processor)


def _blocked_convolution(node: Node) -> bool:
    return node.output.dtype == "float32" and not is_plain(node.output.layout)


def _same_blocks(node: Node) -> bool:
    """Whether all operands of full rank are stored as the output is, in blocks."""
    layout = node.output.layout
    return not is_plain(layout) and all(
        value.layout == layout if len(value.shape) == 4 else is_plain(value.layout) for value in node.inputs
    )


def _check_plain(node: Node) -> None:
    for value in (*node.inputs, node.output):
        if not is_plain(value.layout):
            raise CompileError(
                f"node '{node.name}': the CPU's {node.op} cannot use '{value.name}' in layout {value.layout}; "
                f"a layout_transform must convert it"
            )
