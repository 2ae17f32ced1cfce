"""Converters of LSTM, GRU and RNN: one matrix product for all inputs, then a recurrence a direction."""

from __future__ import annotations

from typing import Any

import numpy as np

from compiler.frontend.onnx_node import Context, NodeView, Reject, const_of, integers_of, need, optional
from compiler.frontend.onnx_registry import register_converter
from compiler.frontend.onnx_tensors import constant_or_zeros, optional_part, slice_attrs
from compiler.graph.ir import Value

Operands = list[Value | None]

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_DEFAULTS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
# Parameters of the activations that have some, as ONNX lists them.
_ALPHA_BETA = {
    "LeakyRelu": (0.01, 0.0), "ThresholdedRelu": (1.0, 0.0), "ScaledTanh": (1.0, 1.0), "HardSigmoid": (0.2, 0.5),
    "Elu": (1.0, 0.0), "Affine": (1.0, 0.0),
}  # fmt: skip
_TAKES_BETA = frozenset({"ScaledTanh", "HardSigmoid", "Affine"})


def _activations(node: NodeView, directions: int) -> list[list[tuple[str, float, float]]]:
    """(name, alpha, beta) of every activation, one list a direction."""
    names = [n.decode() if isinstance(n, bytes) else n for n in node.attrs.get("activations", ())]
    names = names or list(_DEFAULTS[node.op]) * directions
    alphas, betas = list(node.attrs.get("activation_alpha", ())), list(node.attrs.get("activation_beta", ()))
    if len(names) != len(_DEFAULTS[node.op]) * directions:
        raise Reject(f"activations {names} do not fit {directions} directions")
    known = {name.lower(): name for name in ("Sigmoid", "Tanh", "Relu", "Softsign", "Softplus", *_ALPHA_BETA)}
    result = []
    for given in names:
        name = known.get(given.lower())
        if name is None:
            raise Reject(f"activation '{given}' is not implemented")
        alpha, beta = _ALPHA_BETA.get(name, (0.0, 0.0))
        if name in _ALPHA_BETA and alphas:
            alpha = alphas.pop(0)
        if name in _TAKES_BETA and betas:
            beta = betas.pop(0)
        result.append((name, float(alpha), float(beta)))
    size = len(names) // directions
    return [result[i * size : (i + 1) * size] for i in range(directions)]


@register_converter("LSTM", "GRU", "RNN")
def _recurrent(context: Context, node: NodeView, operands: Operands) -> tuple[Value, ...]:
    x, w, r = (need(operands, i, what) for i, what in enumerate(("the input", "W", "R")))
    mode = node.text("direction", "forward")
    if mode not in ("forward", "reverse", "bidirectional"):
        raise Reject(f"direction '{mode}' is unknown")
    directions, gates, width = 2 if mode == "bidirectional" else 1, _GATES[node.op], r.shape[-1]
    if len(x.shape) != 3 or w.shape[:2] != (directions, gates * width) or r.shape != (directions, gates * width, width):
        raise Reject(f"input {x.shape}, W {w.shape}, R {r.shape} do not fit {directions} directions")
    by_batch = node.integer("layout") == 1
    if by_batch:
        x = context.emit(node, "transpose", [x], {"perm": (1, 0, 2)})
    steps, batch, features = x.shape
    lengths = integers_of(operands, 4, "the sequence lengths")
    if lengths is not None and any(length != steps for length in lengths):
        raise Reject(f"sequence lengths {lengths} that differ from {steps} are not implemented")
    flat = context.emit(node, "reshape", [x], {"shape": (steps * batch, features)})
    kinds = _activations(node, directions)
    parts = [
        _direction(context, node, operands, flat, (steps, batch, width), d, kinds[d], mode == "reverse" or d == 1)
        for d in range(directions)
    ]
    return _outputs(context, node, parts, mode, by_batch)


def _direction(
    context: Context,
    node: NodeView,
    operands: Operands,
    flat: Value,
    shape: tuple[int, int, int],
    d: int,
    activations: list[tuple[str, float, float]],
    reverse: bool,
) -> Value:
    """The hidden states of one direction after every step, [T,N,H]; of an LSTM with the cell's, [T,2,N,H]."""
    steps, batch, width = shape
    gates = _GATES[node.op]
    const_of(operands, 3, "the bias")  # it is added up at import
    w, r, b = (optional_part(context, node, operands, i, d) for i in (1, 2, 3))
    assert w is not None and r is not None
    attrs: dict[str, Any] = {"activations": tuple(activations), "reverse": reverse}
    if "clip" in node.attrs:
        attrs["clip"] = node.number("clip", 0.0)
    inputs = [flat, w]
    recurrent_bias = np.zeros(width, np.float32)
    if b is not None and b.const is not None:
        of_input, of_state = b.const[: gates * width], b.const[gates * width :].copy()
        if node.op == "GRU":  # that of the hidden gate may be inside the reset
            recurrent_bias = of_state[2 * width :].copy()
            of_state[2 * width :] = 0
        inputs.append(context.constant(of_input + of_state, f"{node.name}.bias{d}"))
    product = context.emit(node, "dense", inputs)
    projected = context.emit(node, "reshape", [product], {"shape": (steps, batch, gates * width)})

    def state(index: int, name: str) -> Value:
        if node.integer("layout") and optional(operands, index) is not None:
            raise Reject("initial states with layout 1 are not implemented")
        given = optional_part(context, node, operands, index, d)
        return constant_or_zeros(context, given, (batch, width), f"{node.name}.{name}{d}")

    operand = [projected, r, state(5, "h")]
    if node.op == "LSTM":
        operand.append(state(6, "c"))
        peepholes = optional_part(context, node, operands, 7, d)
        operand += [] if peepholes is None else [peepholes]
        attrs["input_forget"] = bool(node.integer("input_forget"))
    elif node.op == "GRU":
        operand.append(context.constant(recurrent_bias, f"{node.name}.recurrent_bias{d}"))
        attrs["linear_before_reset"] = bool(node.integer("linear_before_reset"))
    return context.emit(node, node.op.lower(), operand, attrs)


def _outputs(context: Context, node: NodeView, parts: list[Value], mode: str, by_batch: bool) -> tuple[Value, ...]:
    """Y [T,D,N,H], then the last states Y_h and Y_c [D,N,H]; those that the node leaves out stand for nothing."""
    lstm = node.op == "LSTM"

    def states(part: Value, which: int, steps: range) -> Value:
        """[len(steps), 1, N, H] of the hidden (0) or cell (1) states."""
        ranges = {0: steps, 1: range(which, which + 1)} if lstm else {0: steps}
        taken = context.emit(node, "slice", [part], slice_attrs(part.shape, ranges))
        return context.emit(node, "reshape", [taken], {"shape": (len(steps), 1, *part.shape[-2:])})

    def joined(values: list[Value], axis: int, output: int, shape: tuple[int, ...], perm: tuple[int, ...]) -> Value:
        whole = context.emit(node, "concat", values, {"axis": axis})
        whole = context.emit(node, "reshape", [whole], {"shape": shape})
        if by_batch:
            return context.finish(node, "transpose", [whole], {"perm": perm}, output=output)
        return context.finish(node, "identity", [whole], output=output)

    steps, (batch, width) = parts[0].shape[0], parts[0].shape[-2:]
    results: list[Value] = []
    for output, name in enumerate(node.outputs):
        if not name:
            results.append(parts[0])  # nobody reads it
        elif output == 0:
            values = [states(part, 0, range(steps)) for part in parts]
            results.append(joined(values, 1, 0, (steps, len(parts), batch, width), (2, 0, 1, 3)))
        else:
            lasts = [steps - 1 if mode != "reverse" and d == 0 else 0 for d in range(len(parts))]
            values = [states(p, output - 1, range(at, at + 1)) for p, at in zip(parts, lasts, strict=True)]
            results.append(joined(values, 0, output, (len(parts), batch, width), (1, 0, 2)))
    return tuple(results)
