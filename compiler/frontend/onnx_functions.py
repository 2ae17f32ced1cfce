"""Operators that a model or ONNX itself defines by other operators, replaced by their definition."""

from __future__ import annotations

from contextlib import suppress

import onnx
from google.protobuf.message import DecodeError
from onnx import inliner

from compiler.frontend.onnx_registry import REASONS, converter_of

# Defined by a loop; with constant operands it is computed at import.
_KEPT = frozenset({"Range", "SequenceMap", *REASONS})
_DEEPEST = 8
# What onnx raises for a model that is not as it should be.
_FAILURES = (RuntimeError, TypeError, ValueError, DecodeError, onnx.shape_inference.InferenceError)


def expand_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with every operator that has no converter, but a definition by other operators, replaced by it."""
    versions = {entry.domain: entry.version for entry in model.opset_import}
    for _ in range(_DEEPEST):
        local = {(function.domain, function.name) for function in model.functions}
        found = {
            (node.domain, node.op_type)
            for node in model.graph.node
            if isinstance(node.op_type, str)  # bytes, in a damaged file
            and isinstance(node.domain, str)
            and converter_of(node.op_type, node.domain) is None
            and ((node.domain, node.op_type) in local or _is_defined(node, versions))
        }
        if not found:
            break
        model = _with_defaults(model, found, versions)
        try:
            model = inliner.inline_selected_functions(model, sorted(found), False, True)
        except _FAILURES:
            break  # what is left is reported as not implemented
    return model


def _with_defaults(model: onnx.ModelProto, found: set[tuple[str, str]], versions: dict[str, int]) -> onnx.ModelProto:
    """A copy in which nodes to be replaced spell out the attributes that ONNX has defaults for, and tensors have types:
    some definitions depend on them."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    known = {entry.name for entry in (*result.graph.input, *result.graph.value_info)}
    result.graph.value_info.extend(
        onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        for tensor in result.graph.initializer
        if tensor.name not in known
    )
    with suppress(*_FAILURES):
        result = onnx.shape_inference.infer_shapes(result)
    for node in result.graph.node:
        if (node.domain, node.op_type) not in found or not _is_defined(node, versions):
            continue
        given = {attribute.name for attribute in node.attribute}
        for name, attribute in _schema(node, versions).attributes.items():
            if name not in given and attribute.default_value.name:
                node.attribute.append(attribute.default_value)
    return result


def _schema(node: onnx.NodeProto, versions: dict[str, int]) -> onnx.defs.OpSchema:
    domain = "" if node.domain == "ai.onnx" else node.domain
    return onnx.defs.get_schema(node.op_type, versions[domain], domain)


def _is_defined(node: onnx.NodeProto, versions: dict[str, int]) -> bool:
    """Whether ONNX defines a node's operator by others."""
    domain = "" if node.domain == "ai.onnx" else node.domain
    if node.op_type in _KEPT or domain not in versions:
        return False
    try:
        schema = _schema(node, versions)
    except onnx.defs.SchemaError:
        return False
    return bool(getattr(schema, "has_function", False) or getattr(schema, "has_context_dependent_function", False))
