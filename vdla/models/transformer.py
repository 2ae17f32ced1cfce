"""A transformer's encoder (Vaswani et al., 2017, with BERT's GELU), as an exporter writes it, of embedded tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from vdla.models.builder import ModelBuilder


def transformer(
    *, tokens: int = 128, width: int = 256, heads: int = 4, layers: int = 4, batch: int = 1, seed: int = 0
) -> onnx.ModelProto:
    """Input "x" [batch,tokens,width], output "y" of the same shape, float32.

    The sizes are BERT-Mini's. Every layer: attention of `heads` heads, two dense layers of which the inner one is four
    times as wide, each added to what it reads and normalised behind (post-norm).
    """
    b = _Encoder("transformer", seed, batch, tokens, width, heads)
    x = b.input("x")
    for layer in range(layers):
        x = b.layer(x, f"layers.{layer}", "y" if layer == layers - 1 else f"layers.{layer}.output")
    shape = (batch, tokens, width)
    return b.model({"x": shape}, {"y": shape})


class _Encoder(ModelBuilder):
    """The builder, for values [batch,tokens,width]."""

    def __init__(self, name: str, seed: int, batch: int, tokens: int, width: int, heads: int) -> None:
        super().__init__(name, seed)
        self.shape = (batch, tokens, width)
        self.split = self._integers("split", (batch, tokens, heads, width // heads))
        self.merged = self._integers("merged", self.shape)
        self.width, self.head = width, width // heads

    def _integers(self, name: str, values: Sequence[int]) -> str:
        self.weights.append(numpy_helper.from_array(np.array(values, np.int64), f"{name}.shape"))
        return self.weights[-1].name

    def number(self, name: str, value: float) -> str:
        """A scalar constant."""
        return self.weight(name, np.asarray(value))

    def linear(self, x: str, name: str, channels: tuple[int, int]) -> str:
        """Every token times a matrix, plus a bias; channels is (in, out)."""
        w = self.weight(f"{name}.weight", self.normal(channels, channels[0] ** -0.5))
        product = self.node("MatMul", [x, w], f"{name}.product", self.moment[x])
        return self.node("Add", [product, self.weight(f"{name}.bias", self.normal(channels[1:], 0.1))], name, 1.0)

    def heads(self, x: str, perm: Sequence[int]) -> str:
        """[batch,tokens,width] by heads, its four axes in another order."""
        parts = self.node("Reshape", [x, self.split], f"{x}.heads", self.moment[x])
        return self.node("Transpose", [parts], f"{x}.turned", self.moment[x], perm=list(perm))

    def norm(self, x: str, name: str, output: str) -> str:
        """Layer normalisation over the width."""
        scale = self.weight(f"{name}.weight", self.rng.uniform(0.8, 1.2, self.width))
        bias = self.weight(f"{name}.bias", self.normal((self.width,), 0.1))
        return self.node("LayerNormalization", [x, scale, bias], output, 1.0, axis=-1)

    def attention(self, x: str, name: str) -> str:
        """softmax(q k' / sqrt(head)) v of every head, side by side, times a matrix."""
        q, k, v = (self.linear(x, f"{name}.{part}", (self.width, self.width)) for part in "qkv")
        scores = self.node("MatMul", [self.heads(q, (0, 2, 1, 3)), self.heads(k, (0, 2, 3, 1))], f"{name}.scores", 1.0)
        scaled = self.node("Div", [scores, self.number(f"{name}.scale", self.head**0.5)], f"{name}.scaled", 1.0)
        weights = self.node("Softmax", [scaled], f"{name}.softmax", 1.0, axis=-1)
        mixed = self.node("MatMul", [weights, self.heads(v, (0, 2, 1, 3))], f"{name}.mixed", 1.0)
        turned = self.node("Transpose", [mixed], f"{name}.beside", 1.0, perm=[0, 2, 1, 3])
        together = self.node("Reshape", [turned, self.merged], f"{name}.merged", 1.0)
        return self.linear(together, f"{name}.output", (self.width, self.width))

    def gelu(self, x: str, name: str) -> str:
        """x * (1 + erf(x / sqrt(2))) / 2."""
        erf = self.node(
            "Erf", [self.node("Div", [x, self.number(f"{name}.root", 2**0.5)], f"{name}.div", 1.0)], f"{name}.erf", 1.0
        )
        gate = self.node("Add", [erf, self.number(f"{name}.one", 1.0)], f"{name}.gate", 1.0)
        gated = self.node("Mul", [x, gate], f"{name}.gated", 1.0)
        return self.node("Mul", [gated, self.number(f"{name}.half", 0.5)], name, 1.0)

    def layer(self, x: str, name: str, output: str) -> str:
        """Attention, then the two dense layers."""
        mixed = self.add(self.attention(x, f"{name}.attention"), x, f"{name}.mixed")
        y = self.norm(mixed, f"{name}.norm1", f"{name}.normal")
        wide = self.gelu(self.linear(y, f"{name}.wide", (self.width, 4 * self.width)), f"{name}.gelu")
        narrow = self.linear(wide, f"{name}.narrow", (4 * self.width, self.width))
        return self.norm(self.add(narrow, y, f"{name}.sum"), f"{name}.norm2", output)
