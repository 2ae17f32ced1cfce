"""The float passes, the rewriter, the verifier and the pass manager."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.errors import GraphError, ShapeError
from compiler.graph.interpreter import evaluate
from compiler.graph.ir import Graph, Node, Value, ancestors, remove_dead, rewrite
from compiler.graph.pass_manager import GraphPass, PassManager
from compiler.graph.passes.fold_batch_norm import fold_batch_norm, fold_bias
from compiler.graph.passes.fold_constants import fold_constants
from compiler.graph.passes.simplify import eliminate_dead_code, fold_pads, remove_identities
from compiler.graph.verify import verify

SHAPE = (2, 3, 6, 6)


def randoms(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def start() -> tuple[Graph, Value]:
    graph = Graph("g")
    return graph, graph.input("x", SHAPE, "float32")


def conv(graph: Graph, x: Value, *, bias: bool = False, name: str = "conv") -> Value:
    inputs = [x, graph.const(randoms(4, x.shape[1], 3, 3, seed=1), f"{name}.w")]
    if bias:
        inputs.append(graph.const(randoms(4, seed=2), f"{name}.b"))
    return graph.op("conv2d", inputs, {"strides": (1, 1), "pads": (1, 1, 1, 1)}, name=name)


def batch_norm(graph: Graph, x: Value) -> Value:
    params = [randoms(4, seed=seed) for seed in (3, 4, 5)] + [np.abs(randoms(4, seed=6)) + 0.3]
    return graph.op("batch_norm", [x, *(graph.const(p, "bn.p") for p in params)], {"epsilon": 1e-3}, name="bn")


def ops(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes]


def assert_equal(before: Graph, after: Graph, tolerance: float = 1e-5) -> None:
    inputs = {value.name: randoms(*value.shape, seed=9) for value in before.inputs}
    expected, got = evaluate(before, inputs), evaluate(after, inputs)
    assert expected.keys() == got.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(got[name], array, rtol=0, atol=tolerance * np.abs(array).max())


@pytest.mark.parametrize("bias", [False, True])
def test_batch_norm_folds_into_the_convolution(bias: bool) -> None:
    graph, x = start()
    graph.mark_output(batch_norm(graph, conv(graph, x, bias=bias)), "y")
    folded = fold_batch_norm(graph)
    verify(folded)
    assert ops(folded) == ["conv2d"] and folded.nodes[0].name == "conv" and folded.outputs[0].origin == "bn"
    assert_equal(graph, folded)


def test_batch_norm_behind_a_shared_convolution_stays() -> None:
    graph, x = start()
    y = conv(graph, x)
    graph.mark_output(graph.op("add", [batch_norm(graph, y), y]))
    assert "batch_norm" in ops(fold_batch_norm(graph))


def test_batch_norm_behind_a_graph_output_stays() -> None:
    graph, x = start()
    y = conv(graph, x)
    graph.mark_output(batch_norm(graph, y))
    graph.mark_output(y)
    assert "batch_norm" in ops(fold_batch_norm(graph))


@pytest.mark.parametrize("shape", [(1, 4, 1, 1), (4, 1, 1), (1,), ()])
@pytest.mark.parametrize("left", [False, True])
def test_a_constant_per_channel_becomes_the_bias(shape: tuple[int, ...], left: bool) -> None:
    graph, x = start()
    operands = [conv(graph, x, bias=True), graph.const(randoms(*shape, seed=8), "c")]
    graph.mark_output(graph.op("add", operands[::-1] if left else operands), "y")
    folded = fold_bias(graph)
    assert ops(folded) == ["conv2d"]
    assert_equal(graph, folded)


def test_a_constant_image_is_not_a_bias() -> None:
    graph, x = start()
    graph.mark_output(graph.op("add", [conv(graph, x), graph.const(randoms(4, 6, 6), "c")]))
    assert ops(fold_bias(graph)) == ["conv2d", "add"]


def test_dense_takes_a_bias() -> None:
    graph = Graph("g")
    x = graph.input("x", (2, 5), "float32")
    y = graph.op("dense", [x, graph.const(randoms(4, 5), "w")])
    graph.mark_output(graph.op("add", [y, graph.const(randoms(4), "b")]), "y")
    folded = fold_bias(graph)
    assert ops(folded) == ["dense"]
    assert_equal(graph, folded)


def test_constants_fold_but_dequantize_waits() -> None:
    graph, x = start()
    attrs = {"scale": np.float32(0.1), "zero_point": np.int64(0)}
    q = graph.op("quantize", [graph.const(randoms(*SHAPE), "c")], attrs)
    real = graph.op("dequantize", [q], attrs)
    graph.mark_output(graph.op("add", [x, graph.op("relu", [real])]), "y")
    assert ops(fold_constants(graph)) == ["dequantize", "relu", "add"]
    folded = fold_constants(graph, through_dequantize=True)
    assert ops(folded) == ["add"]
    assert_equal(graph, folded)


def test_identities_vanish_and_output_names_stay() -> None:
    graph, x = start()
    y = graph.op("identity", [x])
    y = graph.op("reshape", [y], {"shape": (6, 36)})
    y = graph.op("reshape", [y], {"shape": (2, 108)})
    y = graph.op("transpose", [y], {"perm": (0, 1)})
    y = graph.op("clip", [y], {"low": -np.inf, "high": np.inf})
    graph.mark_output(graph.op("identity", [y]), "result")
    clean = remove_identities(graph)
    assert ops(clean) == ["reshape"] and clean.output_names == ["result"]
    assert_equal(graph, clean)


@pytest.mark.parametrize(("value", "folds"), [(0.0, True), (1.0, False)])
def test_zero_padding_joins_the_convolution(value: float, folds: bool) -> None:
    graph, x = start()
    spread = {"before": (0, 0, 1, 0), "after": (0, 0, 2, 3), "value": value}
    graph.mark_output(conv(graph, graph.op("pad", [x], spread)), "y")
    folded = fold_pads(graph)
    assert ops(folded) == (["conv2d"] if folds else ["pad", "conv2d"])
    assert_equal(graph, folded)


@pytest.mark.parametrize(("value", "folds"), [(-np.inf, True), (0.0, False)])
def test_padding_that_never_wins_joins_the_maximum(value: float, folds: bool) -> None:
    graph, x = start()
    y = graph.op("pad", [x], {"before": (0, 0, 1, 1), "after": (0, 0, 0, 1), "value": value})
    graph.mark_output(graph.op("max_pool2d", [y], {"kernel": (3, 3), "strides": (2, 2)}), "y")
    folded = fold_pads(graph)
    assert ops(folded) == (["max_pool2d"] if folds else ["pad", "max_pool2d"])
    assert_equal(graph, folded)


def test_dead_code_goes() -> None:
    graph, x = start()
    graph.op("exp", [graph.op("sigmoid", [x])])
    graph.mark_output(graph.op("relu", [x]))
    assert ops(eliminate_dead_code(graph)) == ["relu"]


def test_rewrite_leaves_the_old_graph_alone() -> None:
    graph, x = start()
    graph.mark_output(graph.op("relu", [graph.op("tanh", [x])]), "y")
    text = str(graph)
    new = rewrite(graph, lambda r, node, inputs: r.graph.op("abs", inputs) if node.op == "relu" else None)
    verify(new)
    assert str(graph) == text and ops(new) == ["tanh", "abs"]


def test_ancestors_and_remove_dead() -> None:
    graph, x = start()
    a = graph.op("tanh", [x])
    b = graph.op("relu", [x])
    graph.mark_output(graph.op("exp", [a]))
    assert {node.op for node in ancestors(graph.outputs)} == {"tanh", "exp"}
    assert b.producer in graph.nodes
    remove_dead(graph)
    assert ops(graph) == ["tanh", "exp"]


def test_the_printer_shows_types_attributes_and_outputs() -> None:
    graph, x = start()
    graph.mark_output(graph.op("relu", [conv(graph, x)], name="act"), "y")
    lines = str(graph).splitlines()
    assert lines[0] == "graph g(%x: float32[2,3,6,6]) {"
    assert lines[1].startswith("  %conv: float32[2,4,6,6] = conv2d(%x, const(conv.w: float32[4,3,3,3])) strides=(1,1)")
    assert lines[2:] == ["  %act: float32[2,4,6,6] = relu(%conv)", "  return %act", "}"]


def test_the_pass_manager_times_dumps_and_verifies() -> None:
    graph, x = start()
    graph.mark_output(graph.op("identity", [graph.op("relu", [x])]), "y")
    seen: list[tuple[str, str, int]] = []
    passes = [GraphPass("remove_identities", remove_identities), GraphPass("dead_code", eliminate_dead_code)]
    manager = PassManager(passes, lambda name, when, g: seen.append((name, when, len(g.nodes))))
    assert ops(manager.run(graph)) == ["relu"]
    assert [name for name, _ in manager.timings] == ["remove_identities", "dead_code"]
    assert all(seconds >= 0 for _, seconds in manager.timings)
    assert seen[:2] == [("remove_identities", "before", 2), ("remove_identities", "after", 1)]


def test_the_pass_manager_names_the_pass_that_breaks_a_graph() -> None:
    def damage(graph: Graph) -> Graph:
        graph.nodes[0].output.shape = (1,)
        return graph

    graph, x = start()
    graph.mark_output(graph.op("relu", [x]))
    with pytest.raises(GraphError, match="after pass 'damage'"):
        PassManager([GraphPass("damage", damage)]).run(graph)


def test_the_verifier_finds_each_violation() -> None:
    def fresh() -> Graph:
        graph, x = start()
        graph.mark_output(graph.op("exp", [graph.op("relu", [x])]))
        verify(graph)
        return graph

    def assert_found(graph: Graph, words: str) -> None:
        with pytest.raises(GraphError, match=words):
            verify(graph)

    graph = fresh()
    graph.nodes.reverse()
    assert_found(graph, "before it is assigned")
    graph = fresh()
    graph.nodes.append(graph.nodes[0])
    assert_found(graph, "assigned twice")
    graph = fresh()
    graph.nodes[1].output.dtype = "int8"
    assert_found(graph, "declares int8")
    graph = fresh()
    graph.nodes[1].output.name = graph.nodes[0].output.name
    assert_found(graph, "two values are named")
    graph = fresh()
    graph.outputs = [Value("other", (1,), "float32")]
    assert_found(graph, "never assigned")
    graph = fresh()
    graph.nodes[0].op = "no_such"
    assert_found(graph, "no operator 'no_such'")
    graph = fresh()
    graph.nodes[0] = Node("relu", graph.nodes[0].inputs, graph.nodes[0].outputs, {}, "copy")
    assert_found(graph, "not the producer")


def test_operators_refuse_what_does_not_fit() -> None:
    graph, x = start()
    with pytest.raises(ShapeError, match="node 'bad'.*does not fit weight"):
        graph.op("conv2d", [x, graph.const(randoms(4, 5, 3, 3), "w")], {"strides": (1, 1)}, name="bad")
    with pytest.raises(GraphError, match="needs the attribute"):
        graph.op("conv2d", [x, x])
    with pytest.raises(GraphError, match="no attribute"):
        graph.op("relu", [x], {"slope": 1})
    with pytest.raises(ShapeError, match="takes 1 inputs, got 2"):
        graph.op("relu", [x, x])


def test_the_interpreter_checks_its_inputs_and_keeps_what_is_asked() -> None:
    graph, x = start()
    y = graph.op("relu", [x], name="mid")
    graph.mark_output(graph.op("exp", [y]), "y")
    with pytest.raises(GraphError, match="input 'x' .* is missing"):
        evaluate(graph, {})
    with pytest.raises(GraphError, match="must be float32"):
        evaluate(graph, {"x": np.zeros(SHAPE)})
    inputs = {"x": randoms(*SHAPE)}
    assert set(evaluate(graph, inputs)) == {"y"}
    assert set(evaluate(graph, inputs, keep=["mid"])) == {"mid", "y"}
    assert set(evaluate(graph, inputs, keep=True)) == {"mid", "exp", "y"}
