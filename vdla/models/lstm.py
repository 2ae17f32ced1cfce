"""A language model: words embedded, two LSTM layers, the logits of the next word (Zaremba et al., 2014)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

from vdla.models.builder import ModelBuilder


def lstm_lm(
    *,
    steps: int = 20,
    batch: int = 1,
    vocabulary: int = 10000,
    width: int = 200,
    layers: int = 2,
    seed: int = 0,
) -> onnx.ModelProto:
    """Input "tokens" [steps,batch] int64, output "logits" [steps,batch,vocabulary] float32.

    The sizes are the small model of the paper.
    """
    b = ModelBuilder("lstm_lm", seed)
    scale = width**-0.5
    y = b.node("Gather", [b.weight("embedding", b.normal((vocabulary, width), 1.0)), "tokens"], "embedded", 1.0)
    for layer in range(1, layers + 1):
        w, r = (b.weight(f"lstm{layer}.{name}", b.normal((1, 4 * width, width), scale)) for name in "wr")
        bias = b.weight(f"lstm{layer}.b", b.normal((1, 8 * width), 0.1))
        states = b.node("LSTM", [y, w, r, bias], f"lstm{layer}", 0.3, hidden_size=width)
        y = b.node("Squeeze", [states, _axes(b, layer)], f"states{layer}", 0.3)
    flat = b.node("Reshape", [y, _shape(b, "flat", (-1, width))], "flat", 0.3)
    logits = b.gemm(flat, "decoder", (width, vocabulary))
    b.node("Reshape", [logits, _shape(b, "unflat", (steps, batch, vocabulary))], "logits", 0.3)
    model = b.model({"tokens": (steps, batch)}, {"logits": (steps, batch, vocabulary)})
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("tokens", TensorProto.INT64, [steps, batch]))
    return model


def _axes(b: ModelBuilder, layer: int) -> str:
    return _shape(b, f"directions{layer}", (1,))


def _shape(b: ModelBuilder, name: str, values: Sequence[int]) -> str:
    """An int64 constant, as ONNX takes shapes and axes."""
    b.weights.append(onnx.numpy_helper.from_array(np.array(values, np.int64), f"{name}.shape"))
    return b.weights[-1].name


def tokens(*, steps: int = 20, batch: int = 1, vocabulary: int = 10000, count: int = 8, seed: int = 1):
    """Seeded inputs of the model with these sizes: one mapping a set."""
    rng = np.random.default_rng(seed)
    return [{"tokens": rng.integers(0, vocabulary, (steps, batch))} for _ in range(count)]
