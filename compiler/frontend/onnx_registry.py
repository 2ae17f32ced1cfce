"""Which converter imports an ONNX operator, and how users add their own."""

from __future__ import annotations

from collections.abc import Callable

from compiler.errors import GraphError
from compiler.frontend.onnx_node import Context, NodeView
from compiler.graph.ir import Value

#: operands as the node lists them (None: left out) -> the first output, or all of them in order
Converter = Callable[[Context, NodeView, list[Value | None]], Value | tuple[Value, ...]]

_CONVERTERS: dict[tuple[str, str], Converter] = {}
REASONS: dict[str, str] = {
    **dict.fromkeys(
        ("QLinearConv", "QLinearMatMul", "QLinearAdd"),
        "QOperator format is not imported; export the model in QDQ format",
    ),
    **dict.fromkeys(("If", "Loop", "Scan"), "control flow is not imported; export the model unrolled"),
    **dict.fromkeys(("NonZero", "Unique", "Compress", "NonMaxSuppression"), "its output's shape depends on its data"),
    **dict.fromkeys(("Bernoulli", "RandomUniformLike", "RandomNormalLike"), "random numbers are not implemented"),
}


def register_converter(*names: str, domain: str = "", replace: bool = False) -> Callable[[Converter], Converter]:
    """Decorator: the function imports the ONNX operators `names` of `domain` (default: ONNX's own).

    It is called with the context, the node and its operands; it appends graph operators with `context.emit` and
    `context.finish` and returns the value of the node's first output, or a tuple with all. It raises
    `compiler.frontend.Reject` with a reason for a node that it does not take. GraphError when an operator has a
    converter already and `replace` is not given.
    """

    def add(function: Converter) -> Converter:
        for name in names:
            key = _key(name, domain)
            if key in _CONVERTERS and not replace:
                raise GraphError(f"ONNX operator '{name}' already has a converter; replace=True replaces it")
            _CONVERTERS[key] = function
        return function

    return add


def converter_of(name: str, domain: str = "") -> Converter | None:
    """The converter of an ONNX operator, None when it has none."""
    return _CONVERTERS.get(_key(name, domain))


def converter_names() -> tuple[str, ...]:
    """The operators of ONNX's own domain that have a converter, sorted."""
    return tuple(sorted(name for domain, name in _CONVERTERS if not domain))


def _key(name: str, domain: str) -> tuple[str, str]:
    return ("" if domain == "ai.onnx" else domain), name
