"""Importers of trained models."""

from compiler.frontend.onnx_import import from_onnx
from compiler.frontend.onnx_node import Context, NodeView, Reject
from compiler.frontend.onnx_registry import converter_names, register_converter

__all__ = ["Context", "NodeView", "Reject", "converter_names", "from_onnx", "register_converter"]
