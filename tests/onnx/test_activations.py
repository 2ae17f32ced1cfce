"""Activations and normalisations as real models have them, with weights as initializers, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.onnx_coverage import evaluate
from compiler.errors import UnsupportedModelError
from compiler.frontend import from_onnx
from tests.graph.helpers import normal_inputs, run_ort, single

RNG = np.random.default_rng(5)


def weights(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    return [RNG.standard_normal(shape).astype(np.float32) for shape in shapes]


def compare(model: onnx.ModelProto, scale: float = 1.0) -> None:
    feeds = {name: scale * x for name, x in normal_inputs(model).items()}
    wanted = run_ort(model, feeds)
    got = evaluate(model, list(feeds.values()))
    assert len(got) == len(wanted)
    for array, want in zip(got, wanted.values(), strict=True):
        np.testing.assert_allclose(array, want, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(
    ("op", "attrs", "opset"),
    [
        ("Elu", {}, 17), ("Elu", {"alpha": 0.3}, 17), ("Selu", {}, 17), ("Selu", {"alpha": 1.5, "gamma": 0.5}, 17),
        ("Celu", {"alpha": 2.0}, 17), ("HardSigmoid", {}, 17), ("HardSigmoid", {"alpha": 0.5, "beta": 0.1}, 17),
        ("HardSwish", {}, 17), ("Softplus", {}, 17), ("Softsign", {}, 17), ("ThresholdedRelu", {"alpha": 0.5}, 17),
        ("ThresholdedRelu", {}, 17), ("Shrink", {"lambd": 0.7, "bias": 0.2}, 17), ("Shrink", {}, 17), ("Mish", {}, 18),
        ("LeakyRelu", {"alpha": 0.2}, 17), ("Gelu", {}, 20), ("Gelu", {"approximate": "tanh"}, 20),
    ],
)  # fmt: skip
@pytest.mark.parametrize("scale", [1.0, 100.0], ids=["small", "large"])
def test_activations(op: str, attrs: dict[str, Any], opset: int, scale: float) -> None:
    compare(single(op, [(3, 40)], opset=opset, **attrs), scale)


@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_swish(alpha: float) -> None:
    x = RNG.standard_normal((4, 9)).astype(np.float32)
    (got,) = evaluate(single("Swish", [(4, 9)], opset=24, alpha=alpha), [x])
    np.testing.assert_allclose(got, x / (1 + np.exp(-alpha * x)), rtol=1e-5)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("axis", [-1, 1, 2])
def test_layer_normalization(axis: int, bias: bool) -> None:
    shape = (2, 5, 24)
    operands = weights(*[shape[axis:]] * (1 + bias))
    compare(single("LayerNormalization", [shape], operands, axis=axis, epsilon=1e-3))


def test_layer_normalization_gives_mean_and_deviation() -> None:
    model = single("LayerNormalization", [(2, 3, 8)], weights((8,)))
    model.graph.node[0].output.extend(["mean", "deviation"])
    model.graph.output.extend(helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("mean", "deviation"))
    compare(model)


@pytest.mark.parametrize(("opset", "per"), [(18, 4), (21, 12)])
def test_group_normalization(opset: int, per: int) -> None:
    compare(single("GroupNormalization", [(2, 12, 5, 3)], weights((per,), (per,)), opset=opset, num_groups=4))


def test_instance_normalization() -> None:
    compare(single("InstanceNormalization", [(2, 6, 5, 3)], weights((6,), (6,))))


@pytest.mark.parametrize("axis", [-1, 1])
def test_rms_normalization(axis: int) -> None:
    x, (scale,) = RNG.standard_normal((2, 3, 8)).astype(np.float32), weights((2, 3, 8)[axis:])
    (got,) = evaluate(single("RMSNormalization", [x.shape], [scale], opset=23, axis=axis), [x])
    axes = tuple(range(axis % 3, 3))
    want = x / np.sqrt((x.astype(np.float64) ** 2).mean(axes, keepdims=True) + 1e-5) * scale
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_definitions_that_depend_on_types_are_found_for_initializers() -> None:
    """An operator without a converter of its own, whose definition ONNX derives from its operands' types."""
    keys = weights((1, 2, 6, 8))[0]
    model = single("Attention", [(1, 2, 4, 8)], [keys, keys], opset=23)
    x = normal_inputs(model)["x0"]
    logits = x @ keys.swapaxes(2, 3) / np.sqrt(8)
    shares = np.exp(logits - logits.max(-1, keepdims=True))
    (got,) = evaluate(model, [x])
    np.testing.assert_allclose(got, shares / shares.sum(-1, keepdims=True) @ keys, rtol=1e-4, atol=1e-5)


def test_what_is_refused() -> None:
    for model, reason in (
        (single("GroupNormalization", [(1, 10, 4)], weights((10,), (10,)), opset=21, num_groups=4), "do not divide"),
        (single("LayerNormalization", [(2, 8)], weights((8,)), stash_type=11), "stash_type"),
        (single("LayerNormalization", [(2, 8)], weights((8,)), axis=2), "axis 2"),
        (single("Gelu", [(2, 8)], opset=20, approximate="sigmoid"), "neither none nor tanh"),
        (single("Celu", [(2, 8)], alpha=0.0), "alpha"),
    ):
        with pytest.raises(UnsupportedModelError, match=reason):
            from_onnx(model)


def test_a_transformer_block() -> None:
    """Normalisation, attention with two heads and a feed-forward layer, as exported at opset 17."""
    arrays: dict[str, np.ndarray] = {"half": np.array(0.5, np.float32), "one": np.array(1, np.float32)}
    arrays.update(split=np.array([1, 6, 2, 8]), merge=np.array([1, 6, 16]), root=np.array(2**0.5, np.float32))
    arrays["scale"] = np.array(8**-0.5, np.float32)
    shapes = {"s1": (16,), "b1": (16,), "s2": (16,), "b2": (16,), "w1": (16, 32), "w2": (32, 16), "c1": (32,)}
    shapes.update(dict.fromkeys(("q", "k", "v", "o"), (16, 16)))
    arrays.update({name: weights(shape)[0] / 4 for name, shape in shapes.items()})
    nodes: list[onnx.NodeProto] = []

    def node(op: str, *inputs: str, **attrs: Any) -> str:
        nodes.append(helper.make_node(op, inputs, [f"t{len(nodes)}"], **attrs))
        return nodes[-1].output[0]

    normal = node("LayerNormalization", "x", "s1", "b1", axis=-1)
    heads = [node("Reshape", node("MatMul", normal, name), "split") for name in "qkv"]
    q, k, v = (
        node("Transpose", h, perm=p) for h, p in zip(heads, ((0, 2, 1, 3), (0, 2, 3, 1), (0, 2, 1, 3)), strict=True)
    )
    shares = node("Softmax", node("Mul", node("MatMul", q, k), "scale"), axis=-1)
    mixed = node("Reshape", node("Transpose", node("MatMul", shares, v), perm=(0, 2, 1, 3)), "merge")
    first = node("Add", "x", node("MatMul", mixed, "o"))
    hidden = node("Add", node("MatMul", node("LayerNormalization", first, "s2", "b2", axis=-1), "w1"), "c1")
    gate = node("Add", node("Erf", node("Div", hidden, "root")), "one")
    y = node("Add", first, node("MatMul", node("Mul", node("Mul", hidden, gate), "half"), "w2"))
    graph = helper.make_graph(
        nodes,
        "block",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 6, 16))],
        [helper.make_tensor_value_info(y, TensorProto.FLOAT, (1, 6, 16))],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    compare(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
