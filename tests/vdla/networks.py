"""Random small ONNX networks: what real models hold, in odd sizes and combinations."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class RandomNetwork:
    """A float32 network of ``layers`` random layers on an input "x" [n,c,h,w], with one to three outputs.

    Shapes are tracked as the layers are drawn, so that every model is legal.
    """

    def __init__(self, seed: int, layers: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        n, c = self.choose(1, 1, 1, 2, 3), self.choose(1, 2, 3, 3, 4, 8, 17)
        shape = (n, c, int(self.rng.integers(6, 20)), int(self.rng.integers(6, 20)))
        self.shapes: dict[str, tuple[int, ...]] = {"x": shape}
        self.input_shape = shape
        x = "x"
        for _ in range(layers):
            x = self.layer(x)
        ends = [x]
        if self.rng.random() < 0.7:
            ends = [self.head(x)]
        others = [name for name in self.shapes if name not in ("x", *ends)]
        if others and self.rng.random() < 0.3:
            ends.append(str(self.rng.choice(others)))
        self.outputs = ends

    def choose(self, *options: Any) -> Any:
        return options[self.rng.integers(len(options))]

    def weight(self, *shape: int, low: float = -1.0, high: float = 1.0) -> str:
        name = f"w{len(self.weights)}"
        array = self.rng.uniform(low, high, shape).astype(np.float32)
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def node(self, op: str, inputs: list[str], shape: tuple[int, ...], **attrs: Any) -> str:
        name = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attrs))
        self.shapes[name] = shape
        return name

    # ------------------------------------------------------------------------------------------------- layers

    def layer(self, x: str) -> str:
        kinds = [self.conv, self.conv, self.conv, self.depthwise, self.pool, self.pool, self.norm, self.rectifier]
        kinds += [self.residual, self.residual, self.join]
        return kinds[self.rng.integers(len(kinds))](x)

    def _window(self, x: str) -> tuple[dict[str, list[int]], tuple[int, int]]:
        """Kernel, strides and pads that fit, and the output's rows and columns."""
        kernel, strides, pads, out = [], [], [], []
        for extent in self.shapes[x][2:]:
            k = int(self.rng.integers(1, min(extent, 5) + 1))
            before, after = (int(p) for p in self.rng.integers(0, k, 2)) if self.rng.random() < 0.6 else (0, 0)
            stride = self.choose(1, 1, 1, 2, 3)
            kernel.append(k)
            strides.append(stride)
            pads.append((before, after))
            out.append((extent + before + after - k) // stride + 1)
        edges = [pads[0][0], pads[1][0], pads[0][1], pads[1][1]]
        return {"kernel_shape": kernel, "strides": strides, "pads": edges}, (out[0], out[1])

    def _conv(self, x: str, oc: int, groups: int) -> str:
        n, c, *_ = self.shapes[x]
        window, out = self._window(x)
        fan = c // groups * window["kernel_shape"][0] * window["kernel_shape"][1]
        bound = (3.0 / fan) ** 0.5
        inputs = [x, self.weight(oc, c // groups, *window["kernel_shape"], low=-bound, high=bound)]
        if self.rng.random() < 0.5:
            inputs.append(self.weight(oc))
        return self.node("Conv", inputs, (n, oc, *out), group=groups, **window)

    def conv(self, x: str) -> str:
        c = self.shapes[x][1]
        groups = 2 if c % 2 == 0 and self.rng.random() < 0.08 else 1
        return self._conv(x, groups * int(self.rng.integers(1, 13)), groups)

    def depthwise(self, x: str) -> str:
        c = self.shapes[x][1]
        return self._conv(x, c * self.choose(1, 1, 1, 2), c)

    def pool(self, x: str) -> str:
        n, c, *_ = self.shapes[x]
        window, out = self._window(x)
        if self.rng.random() < 0.6:
            return self.node("MaxPool", [x], (n, c, *out), **window)
        return self.node("AveragePool", [x], (n, c, *out), count_include_pad=1, **window)

    def norm(self, x: str) -> str:
        c = self.shapes[x][1]
        inputs = [x, self.weight(c, low=0.5, high=1.5), self.weight(c), self.weight(c), self.weight(c, low=0.5, high=2)]
        return self.node("BatchNormalization", inputs, self.shapes[x])

    def rectifier(self, x: str) -> str:
        if self.rng.random() < 0.7:
            return self.node("Relu", [x], self.shapes[x])
        return self.node("Clip", [x, self.weight(low=0, high=0), self.weight(low=1, high=6)], self.shapes[x])

    def _mates(self, x: str, same_channels: bool) -> list[str]:
        want = self.shapes[x]
        return [
            name for name, shape in self.shapes.items()
            if len(shape) == 4 and shape[0] == want[0] and shape[2:] == want[2:]
            and (shape == want if same_channels else shape[1] <= 40)
        ]  # fmt: skip

    def residual(self, x: str) -> str:
        """A sum with an earlier tensor of the same shape (perhaps x itself)."""
        other = str(self.rng.choice(self._mates(x, True)))
        pair = [x, other] if self.rng.random() < 0.5 else [other, x]
        total = self.node("Add", pair, self.shapes[x])
        return self.node("Relu", [total], self.shapes[x]) if self.rng.random() < 0.5 else total

    def join(self, x: str) -> str:
        """Concatenation of channels with an earlier tensor."""
        n, c, h, w = self.shapes[x]
        if c > 20:
            return self.rectifier(x)
        mates = self._mates(x, False)
        if not mates:
            return self.rectifier(x)
        other = str(self.rng.choice(mates))
        return self.node("Concat", [x, other], (n, c + self.shapes[other][1], h, w), axis=1)

    def head(self, x: str) -> str:
        n, c, h, w = self.shapes[x]
        if self.rng.random() < 0.5:
            x, h, w = self.node("GlobalAveragePool", [x], (n, c, 1, 1)), 1, 1
        flat = self.node("Flatten", [x], (n, c * h * w), axis=1)
        for _ in range(self.choose(1, 1, 2)):
            size, out = self.shapes[flat][1], int(self.rng.integers(1, 20))
            bound = (3.0 / size) ** 0.5
            inputs = [flat, self.weight(out, size, low=-bound, high=bound), self.weight(out)]
            flat = self.node("Gemm", inputs, (n, out), transB=1)
            if self.rng.random() < 0.3:
                flat = self.node("Relu", [flat], (n, out))
        return flat

    def model(self) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "random",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.input_shape)],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, self.shapes[name]) for name in self.outputs],
            self.weights,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
