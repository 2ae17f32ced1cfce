"""A small builder of ONNX models with seeded weights, for the built-in networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17


class ModelBuilder:
    """Collects nodes and seeded weights; tensor and weight names follow torchvision's module paths.

    `moment` maps a tensor to the mean square that its elements have by construction. Batch-norm statistics are
    derived from it, so that activations keep the range a trained network would have.
    """

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.moment: dict[str, float] = {}

    def weight(self, name: str, array: np.ndarray) -> str:
        """Add a float32 initializer and return its name."""
        self.weights.append(numpy_helper.from_array(np.asarray(array, dtype=np.float32, order="C"), name))
        return name

    def node(self, op: str, inputs: Sequence[str], name: str, moment: float, **attrs: Any) -> str:
        """Add a node with one output, named like the node, and return the tensor's name."""
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attrs))
        self.moment[name] = moment
        return name

    def normal(self, shape: Sequence[int], deviation: float) -> np.ndarray:
        """Seeded float32 normal numbers of the given standard deviation."""
        return self.rng.standard_normal(tuple(shape), dtype=np.float32) * np.float32(deviation)

    def conv(
        self,
        x: str,
        name: str,
        channels: tuple[int, int],
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        pads: Sequence[int] | None = None,
    ) -> str:
        """He-initialised convolution without bias, padded by kernel // 2 if not told; channels is (in, out)."""
        fan_in = channels[0] // groups * kernel * kernel
        shape = (channels[1], channels[0] // groups, kernel, kernel)
        w = self.weight(f"{name}.weight", self.normal(shape, (2.0 / fan_in) ** 0.5))
        return self.node(
            "Conv",
            [x, w],
            name,
            2.0 * self.moment[x],
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[kernel // 2] * 4 if pads is None else list(pads),
            group=groups,
        )

    def conv_transpose(self, x: str, name: str, channels: tuple[int, int], kernel: int, stride: int, pads: int) -> str:
        """Transposed convolution without bias that keeps the mean square; channels is (in, out)."""
        fan_in = channels[0] * (kernel / stride) ** 2
        w = self.weight(f"{name}.weight", self.normal((*channels, kernel, kernel), fan_in**-0.5))
        window = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [pads] * 4}
        return self.node("ConvTranspose", [x, w], name, self.moment[x], **window)

    def batch_norm(self, x: str, name: str, channels: int, gain: float = 1.0) -> str:
        """Batch normalisation whose running statistics fit x, with a gain of about `gain`."""
        deviation = self.moment[x] ** 0.5
        scale = self.weight(f"{name}.weight", gain * self.rng.uniform(0.8, 1.2, channels))
        bias = self.weight(f"{name}.bias", self.normal((channels,), 0.1 * gain))
        mean = self.weight(f"{name}.running_mean", self.normal((channels,), 0.1 * deviation))
        variance = self.weight(f"{name}.running_var", self.moment[x] * self.rng.uniform(0.8, 1.25, channels))
        inputs = [x, scale, bias, mean, variance]
        return self.node("BatchNormalization", inputs, name, gain * gain, epsilon=1e-5)

    def relu(self, x: str, name: str) -> str:
        """Rectifier: half the mean square of a symmetric input is left."""
        return self.node("Relu", [x], name, self.moment[x] / 2)

    def add(self, a: str, b: str, name: str) -> str:
        """Element-wise sum of uncorrelated tensors."""
        return self.node("Add", [a, b], name, self.moment[a] + self.moment[b])

    def gemm(self, x: str, name: str, channels: tuple[int, int]) -> str:
        """Fully connected layer with bias on x [N, in]; channels is (in, out)."""
        w = self.weight(f"{name}.weight", self.normal((channels[1], channels[0]), (1.0 / channels[0]) ** 0.5))
        b = self.weight(f"{name}.bias", self.normal((channels[1],), 0.1))
        return self.node("Gemm", [x, w, b], name, self.moment[x], transB=1)

    def classifier(self, x: str, name: str, channels: tuple[int, int]) -> str:
        """Global average pooling, flatten and a fully connected layer."""
        pooled = self.node("GlobalAveragePool", [x], "avgpool", self.moment[x])
        return self.gemm(self.node("Flatten", [pooled], "flatten", self.moment[x], axis=1), name, channels)

    def input(self, name: str) -> str:
        """Declare the image input, with elements of mean square 1."""
        self.moment[name] = 1.0
        return name

    def model(self, inputs: dict[str, Sequence[int | str]], outputs: dict[str, Sequence[int | str]]) -> onnx.ModelProto:
        """The finished ModelProto; inputs and outputs are float32, shapes by name (a string is a symbolic extent)."""
        graph = helper.make_graph(
            self.nodes,
            self.name,
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name, shape in inputs.items()],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name, shape in outputs.items()],
            self.weights,
        )
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="vdla")
