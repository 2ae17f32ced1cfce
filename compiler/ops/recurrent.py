"""Recurrent layers: one direction over time, from inputs that were already multiplied by their weights.

Gates are in ONNX's order: LSTM i, o, f, c; GRU z, r, h.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from compiler.errors import ShapeError
from compiler.ops.registry import REQUIRED, Attrs, OpDef, Pattern, TensorType, expect_dtype, register

#: name in a node's `activations` -> function of (x, alpha, beta)
ACTIVATIONS: dict[str, Callable[[np.ndarray, float, float], np.ndarray]] = {
    "Sigmoid": lambda x, alpha, beta: 1 / (1 + np.exp(-x)),
    "Tanh": lambda x, alpha, beta: np.tanh(x),
    "Relu": lambda x, alpha, beta: np.maximum(x, 0),
    "Affine": lambda x, alpha, beta: alpha * x + beta,
    "LeakyRelu": lambda x, alpha, beta: np.where(x < 0, alpha * x, x),
    "ThresholdedRelu": lambda x, alpha, beta: np.where(x > alpha, x, 0),
    "ScaledTanh": lambda x, alpha, beta: alpha * np.tanh(beta * x),
    "HardSigmoid": lambda x, alpha, beta: np.clip(alpha * x + beta, 0, 1),
    "Elu": lambda x, alpha, beta: np.where(x < 0, alpha * np.expm1(x), x),
    "Softsign": lambda x, alpha, beta: x / (1 + np.abs(x)),
    "Softplus": lambda x, alpha, beta: np.log1p(np.exp(x)),
}


def _check(name: str, gates: int, types: Sequence[TensorType], attrs: Attrs) -> tuple[int, int, int]:
    """Steps, batch and width; ShapeError when operands do not fit."""
    x, r = types[:2]
    for tensor in types:
        expect_dtype(name, "an operand", tensor, "float32")
    width = r.shape[-1]
    if len(x.shape) != 3 or x.shape[2] != gates * width or r.shape != (gates * width, width):
        raise ShapeError(f"{name}: projected input {x.shape} and recurrent weight {r.shape} do not fit")
    if any(state.shape != (x.shape[1], width) for state in types[2 : 4 if name == "lstm" else 3]):
        raise ShapeError(f"{name}: the initial states must be {(x.shape[1], width)}")
    unknown = [kind for kind, _, _ in attrs["activations"] if kind not in ACTIVATIONS]
    if unknown:
        raise ShapeError(f"{name}: activation {unknown[0]} is none of {', '.join(ACTIVATIONS)}")
    return x.shape[0], x.shape[1], width


def _infer_lstm(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    steps, batch, width = _check("lstm", 4, types, attrs)
    if len(types) == 5 and types[4].shape != (3 * width,):
        raise ShapeError(f"lstm: peepholes must be ({3 * width},), got {types[4].shape}")
    return TensorType((steps, 2, batch, width), "float32")


def _infer_gru(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    steps, batch, width = _check("gru", 3, types, attrs)
    if types[3].shape != (width,):
        raise ShapeError(f"gru: the recurrent bias must be ({width},), got {types[3].shape}")
    return TensorType((steps, batch, width), "float32")


def _infer_rnn(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    return TensorType(_check("rnn", 1, types, attrs), "float32")


def _functions(attrs: Attrs) -> list[Callable[[np.ndarray], np.ndarray]]:
    def bound(kind: str, alpha: float, beta: float) -> Callable[[np.ndarray], np.ndarray]:
        return lambda x: ACTIVATIONS[kind](x, alpha, beta)

    return [bound(*entry) for entry in attrs["activations"]]


def _clipper(attrs: Attrs) -> Callable[[np.ndarray], np.ndarray]:
    limit = attrs["clip"]
    return (lambda x: x) if limit is None else (lambda x: np.clip(x, -limit, limit))


def _order(x: np.ndarray, attrs: Attrs) -> Sequence[int]:
    return range(len(x) - 1, -1, -1) if attrs["reverse"] else range(len(x))


def _lstm(arrays: Sequence[np.ndarray], attrs: Attrs) -> np.ndarray:
    x, r, h, c = arrays[:4]
    f, g, last = _functions(attrs)
    clip = _clipper(attrs)
    width = r.shape[1]
    peep_i, peep_o, peep_f = np.split(arrays[4], 3) if len(arrays) == 5 else (np.float32(0),) * 3
    out = np.empty((len(x), 2, *h.shape), np.float32)
    for t in _order(x, attrs):
        gates = x[t] + h @ r.T
        i, o, forget, new = (gates[:, n * width : (n + 1) * width] for n in range(4))
        i = f(clip(i + peep_i * c))
        forget = 1 - i if attrs["input_forget"] else f(clip(forget + peep_f * c))
        c = forget * c + i * g(clip(new))
        h = f(clip(o + peep_o * c)) * last(c)
        out[t] = h, c
    return out


def _gru(arrays: Sequence[np.ndarray], attrs: Attrs) -> np.ndarray:
    x, r, h, bias = arrays
    f, g = _functions(attrs)
    clip = _clipper(attrs)
    width = r.shape[1]
    out = np.empty((len(x), *h.shape), np.float32)
    for t in _order(x, attrs):
        gates = f(clip(x[t, :, : 2 * width] + h @ r[: 2 * width].T))
        z, reset = gates[:, :width], gates[:, width:]
        if attrs["linear_before_reset"]:
            hidden = reset * (h @ r[2 * width :].T + bias)
        else:
            hidden = (reset * h) @ r[2 * width :].T + bias
        h = (1 - z) * g(clip(x[t, :, 2 * width :] + hidden)) + z * h
        out[t] = h
    return out


def _rnn(arrays: Sequence[np.ndarray], attrs: Attrs) -> np.ndarray:
    x, r, h = arrays
    (f,) = _functions(attrs)
    clip = _clipper(attrs)
    out = np.empty((len(x), *h.shape), np.float32)
    for t in _order(x, attrs):
        h = out[t] = f(clip(x[t] + h @ r.T))
    return out


_COMMON = {"activations": REQUIRED, "reverse": False, "clip": None}

register(
    OpDef(
        "lstm",
        Pattern.OPAQUE,
        _infer_lstm,
        _lstm,
        arity=(4, 5),
        attrs={**_COMMON, "input_forget": False},
        doc="x [T,N,4H] (multiplied and biased), r [4H,H], h and c [N,H], perhaps peepholes [3H] -> [T,2,N,H]: hidden "
        "and cell state after every step. activations: (name, alpha, beta) of gates, cell, output.",
    )
)
register(
    OpDef(
        "gru",
        Pattern.OPAQUE,
        _infer_gru,
        _gru,
        arity=(4, 4),
        attrs={**_COMMON, "linear_before_reset": False},
        doc="x [T,N,3H] (multiplied and biased), r [3H,H], h [N,H], recurrent bias of the hidden gate [H] -> [T,N,H].",
    )
)
register(
    OpDef(
        "rnn",
        Pattern.OPAQUE,
        _infer_rnn,
        _rnn,
        arity=(3, 3),
        attrs=_COMMON,
        doc="x [T,N,H] (multiplied and biased), r [H,H], h [N,H] -> [T,N,H].",
    )
)
