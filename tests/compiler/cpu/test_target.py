"""The CPU target as a plug-in: what it takes, names, arguments, tables, and errors."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from compiler import te
from compiler.backend.cpu import CpuTarget, compile_kernels, symbol_of
from compiler.errors import CodegenError, CompileError, GraphError
from compiler.graph.fuse import fuse
from compiler.graph.ir import Graph
from compiler.graph.partition import partition
from compiler.lower import PassContext
from compiler.ops import OpDef, Pattern, register
from compiler.ops.compute import compute_of, has_compute, register_compute
from compiler.ops.compute import registry as compute_registry
from compiler.ops.registry import _REGISTRY
from tests.compiler.cpu.harness import check, compile_graph, execute


@pytest.fixture
def plug_in() -> Iterator[str]:
    """An operator that a plug-in adds: twice its input."""
    name = "test_only_double"
    register(OpDef(name, Pattern.INJECTIVE, lambda types, attrs: types[0], lambda arrays, attrs: arrays[0] * 2))
    yield name
    del _REGISTRY[name]
    compute_registry._COMPUTES.pop(name, None)


def double_graph(op: str) -> Graph:
    graph = Graph("double")
    graph.mark_output(graph.op("relu", [graph.op(op, [graph.input("x", (5, 3), "float32")])]))
    return graph


def test_an_operator_without_expression_is_refused_by_name(plug_in: str) -> None:
    node = double_graph(plug_in).nodes[0]
    assert CpuTarget().supports(node) == f"operator '{plug_in}' has no tensor expression"
    with pytest.raises(GraphError, match=f"register_compute\\('{plug_in}'\\)"):
        compute_of(plug_in)


def test_a_plug_in_brings_its_own_tensor_expression(plug_in: str) -> None:
    @register_compute(plug_in)
    def double(inputs, attrs, output):
        return te.compute(output.shape, lambda *i: inputs[0][i] * 2.0, "double")

    assert has_compute(plug_in)
    check(double_graph(plug_in), {"x": np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)})
    with pytest.raises(GraphError, match="already has a tensor expression"):
        register_compute(plug_in)(double)
    register_compute(plug_in, replace=True)(double)


def test_an_expression_of_the_wrong_type_is_refused(plug_in: str) -> None:
    register_compute(plug_in)(lambda inputs, attrs, output: inputs[0])
    with pytest.raises(CompileError, match=r"must be a te\.compute of float32\[5, 3\]"):
        compile_graph(double_graph(plug_in))


def test_empty_and_exotic_tensors_are_refused() -> None:
    graph = Graph("empty")
    graph.op("relu", [graph.input("x", (0, 3), "float32")])
    graph.op("identity", [graph.input("y", (2,), "complex64")])
    assert "empty" in (CpuTarget().supports(graph.nodes[0]) or "")
    assert "complex64" in (CpuTarget().supports(graph.nodes[1]) or "")


def test_a_blocked_operand_is_refused() -> None:
    graph = Graph("blocked")
    x = graph.input("x", (1, 3, 2, 2), "float32")
    x.layout = "NCHW1n16c"
    graph.mark_output(graph.op("relu", [x], name="act"))
    with pytest.raises(CompileError, match="node 'act': the CPU's relu cannot use 'x' in layout NCHW1n16c"):
        compile_graph(graph)


def test_arguments_are_inputs_constants_tables_then_the_output() -> None:
    graph = Graph("args")
    x = graph.input("x", (2, 3), "float32")
    c = graph.const(np.ones(3, np.float32), "c")
    q = graph.op("quantize", [graph.op("add", [x, c])], {"scale": [0.1, 0.2, 0.3], "zero_point": [1, 2, 3]})
    graph.mark_output(q)
    (kernel,) = compile_graph(graph)
    assert kernel.args == [x, c, *kernel.tables, q]
    assert [t.dtype for t in kernel.tables] == ["float32", "float32"]
    assert all(t.const is not None and t.shape == (3,) for t in kernel.tables)
    assert [b.elements for b in kernel.func.params] == [6, 3, 3, 3, 6]


def test_symbols_are_c_identifiers_and_distinct() -> None:
    names = ["a", "a_b", "a/b", "a.b", "_a", "1", "größe", "x" * 200, "x" * 201, "", "while"]
    symbols = [symbol_of(name) for name in names]
    assert len(set(symbols)) == len(names)
    assert all(s.isidentifier() and s.isascii() and s.startswith("cpu_") and len(s) < 120 for s in symbols)
    assert symbols == [symbol_of(name) for name in names]


def test_kernels_of_two_graphs_with_one_name_do_not_link() -> None:
    def kernel():
        graph = Graph("one")
        graph.mark_output(graph.op("relu", [graph.input("x", (4,), "float32")], name="y"))
        return compile_graph(graph)[0]

    with pytest.raises(CodegenError, match="cpu_y"):
        compile_kernels([kernel(), kernel()])


def test_compile_takes_a_pass_context_and_nothing_else() -> None:
    graph = Graph("options")
    graph.mark_output(graph.op("relu", [graph.input("x", (4,), "float32")]))
    (group,) = fuse(graph)
    context = PassContext()
    CpuTarget().compile(group, context=context)
    assert "make_loops" in context.timings
    with pytest.raises(CodegenError, match="opt_level"):
        CpuTarget().compile(group, opt_level=3)


def test_importing_back_ends_does_not_load_llvm() -> None:
    code = "import sys, compiler.backend; sys.exit('llvmlite.binding' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_other_architectures() -> None:
    graph = Graph("arm")
    graph.mark_output(graph.op("relu", [graph.input("x", (40,), "float32")]))
    image = compile_kernels(compile_graph(graph), target_triple="armv7-unknown-linux-gnueabihf", cpu="cortex-a9")
    assert image[:4] == b"\x7fELF" and image[18] == 40  # e_machine: ARM


def test_a_layout_change_and_a_flattening_stay_apart() -> None:
    """Together they would divide for each element; a kernel that computes as well takes both in."""
    rng = np.random.default_rng(8)
    for more, expected in (([], ["layout_transform", "reshape"]), (["relu"], ["layout_transform reshape relu"])):
        graph = Graph("flat")
        x = graph.input("x", (1, 32, 7, 7), "float32")
        x.layout = "NCHW16c"
        value = graph.op("layout_transform", [x], {"source": "NCHW16c", "target": "NCHW"})
        value = graph.op("reshape", [value], {"shape": (1, 32 * 49)})
        for op in more:
            value = graph.op(op, [value])
        graph.mark_output(value)
        target = CpuTarget()
        groups = partition(graph, [target])
        assert [" ".join(node.op for node in group.nodes) for group in groups] == expected
        array = rng.normal(size=(1, 32, 7, 7)).astype(np.float32)
        (got,) = execute([target.compile(group) for group in groups], graph, {"x": array})
        flat = array.reshape(1, -1)
        assert np.array_equal(got, np.maximum(flat, 0) if more else flat)
