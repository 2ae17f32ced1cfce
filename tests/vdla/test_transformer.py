"""A transformer's layer as an exporter writes it: attention, layer normalisations, GELU; on the CPU and on VDLA."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import vdla
from runtime.artifact import CpuStep, VdlaStep

TOKENS, WIDTH, HEADS = 24, 32, 2


class Builder:
    """Appends nodes and constants to an ONNX graph; every value is named after its node."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(5)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def const(self, array: np.ndarray | float) -> str:
        found = np.asarray(array)
        found = found.astype(np.float32) if found.dtype.kind == "f" else found
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(found, name))
        return name

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def linear(self, x: str, inputs: int, outputs: int) -> str:
        weight = self.rng.standard_normal((inputs, outputs)) / np.sqrt(inputs)
        return self.op(
            "Add", self.op("MatMul", x, self.const(weight)), self.const(self.rng.standard_normal(outputs) / 8)
        )

    def heads(self, x: str, perm: tuple[int, ...]) -> str:
        shape = self.const(np.array([1, TOKENS, HEADS, WIDTH // HEADS]))
        return self.op("Transpose", self.op("Reshape", x, shape), perm=perm)

    def norm(self, x: str) -> str:
        scale, bias = self.rng.standard_normal((2, WIDTH)) / 8
        return self.op("LayerNormalization", x, self.const(1 + scale), self.const(bias), axis=-1)

    def model(self) -> onnx.ModelProto:
        q, k, v = (self.linear("x", WIDTH, WIDTH) for _ in range(3))
        scores = self.op("MatMul", self.heads(q, (0, 2, 1, 3)), self.heads(k, (0, 2, 3, 1)))
        weights = self.op("Softmax", self.op("Div", scores, self.const(np.sqrt(WIDTH / HEADS))), axis=-1)
        mixed = self.op("Transpose", self.op("MatMul", weights, self.heads(v, (0, 2, 1, 3))), perm=(0, 2, 1, 3))
        mixed = self.op("Reshape", mixed, self.const(np.array([1, TOKENS, WIDTH])))
        y = self.norm(self.op("Add", self.linear(mixed, WIDTH, WIDTH), "x"))
        wide = self.linear(y, WIDTH, 4 * WIDTH)
        gate = self.op("Add", self.op("Erf", self.op("Div", wide, self.const(np.sqrt(2.0)))), self.const(1.0))
        gelu = self.op("Mul", self.op("Mul", wide, gate), self.const(0.5))
        out = self.norm(self.op("Add", self.linear(gelu, 4 * WIDTH, WIDTH), y))
        x, last = (helper.make_tensor_value_info(n, TensorProto.FLOAT, (1, TOKENS, WIDTH)) for n in ("x", out))
        graph = helper.make_graph(self.nodes, "transformer", [x], [last], self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture(scope="module")
def case() -> tuple[onnx.ModelProto, np.ndarray, np.ndarray]:
    """The model, an input, and what ONNX Runtime makes of it."""
    model = Builder().model()
    onnx.checker.check_model(model)
    x = np.random.default_rng(6).standard_normal((1, TOKENS, WIDTH), dtype=np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return model, x, np.asarray(session.run(None, {"x": x})[0])


def test_on_the_cpu(case: tuple[onnx.ModelProto, np.ndarray, np.ndarray]) -> None:
    model, x, expected = case
    artifact = vdla.compile(model, target="cpu")
    (got,) = artifact.run(x).values()
    np.testing.assert_allclose(got, expected, atol=1e-5 * np.abs(expected).max())
    kernels = [step.op for step in artifact.steps if isinstance(step, CpuStep)]
    assert sum(op.startswith("dense") for op in kernels) == 6 and "dense+div+erf+add+mul+mul" in kernels
    # Each normalisation is one kernel: two means, and everything between and behind them.
    assert sum(op.count("reduce_mean") == 2 for op in kernels) == 2


def test_on_vdla(case: tuple[onnx.ModelProto, np.ndarray, np.ndarray]) -> None:
    """All six products with constant matrices run on the accelerator; int8 stays near the floats."""
    model, x, expected = case
    artifact = vdla.compile(model, config="pynq-z1")
    layers = [layer for step in artifact.steps if isinstance(step, VdlaStep) for layer in step.layers]
    assert [layer.op.split("+")[0] for layer in layers] == ["dense"] * 6
    (got,) = artifact.run(x).values()
    noise = np.mean((got - expected) ** 2) / np.mean(expected**2)
    assert 10 * np.log10(1 / noise) > 20
