"""ONNX's own operator tests on the CPU target: how many pass, and why the others are not taken.

    python -m benchmarks.onnx_coverage            # counts
    python -m benchmarks.onnx_coverage --write    # and docs/onnx_coverage.md

A test is a model of one or a few nodes with inputs and the outputs that ONNX expects. It passes when machine code
gives those outputs within the test's own tolerance. Inputs that an operator must know at compile time (shapes, axes)
are fixed at import. A test whose model is not taken, with a typed error, is unsupported; any other outcome is a
failure.
"""

from __future__ import annotations

import argparse
import ctypes
import itertools
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import onnx

from compiler.backend.cpu import CpuKernel, CpuTarget, compile_kernels
from compiler.errors import CompileError, UnsupportedModelError
from compiler.frontend import converter_names, from_onnx
from compiler.graph.fuse import fuse
from compiler.graph.ir import Graph, Value
from compiler.graph.layout import pack
from compiler.graph.passes.fold_constants import fold_constants
from compiler.graph.passes.simplify import remove_identities
from compiler.ir.interp import InterpError
from runtime.thread_pool import PARALLEL_FOR, process_pool

PAGE = Path(__file__).resolve().parents[1] / "docs" / "onnx_coverage.md"
_counter = itertools.count()
_keep: list[Any] = []  # a linked library must outlive the calls of its functions


@dataclass(frozen=True)
class Outcome:
    """What became of one test: "passed", "unsupported" or "failed", and why."""

    test: str
    operators: tuple[str, ...]
    status: str
    reason: str = ""


def node_tests() -> list[Any]:
    """ONNX's operator tests, by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # making the expected outputs divides by zero on purpose
        from onnx.backend.test.loader import load_model_tests

        return sorted(load_model_tests(kind="node"), key=lambda test: test.name)


def run_test(test: Any) -> Outcome:
    """Import, compile and run one test on all its data."""
    operators = tuple(sorted({node.op_type for node in test.model.graph.node}))
    try:
        for inputs, expected in test.data_sets:
            found = evaluate(test.model, inputs)
            for got, want in zip(found, expected, strict=True):
                _compare(got, np.asarray(want), test.rtol, test.atol)
    except CompileError as error:
        return Outcome(test.name, operators, "unsupported", _reason(error))
    except (AssertionError, InterpError) as error:
        return Outcome(test.name, operators, "failed", str(error).strip().splitlines()[0])
    return Outcome(test.name, operators, "passed")


def evaluate(model: onnx.ModelProto, inputs: Sequence[Any]) -> list[np.ndarray]:
    """The outputs of a model on inputs in the order of its declaration, computed by machine code.

    Raises CompileError for a model that the CPU cannot run.
    """
    names = [entry.name for entry in model.graph.input]
    for entry in model.graph.input:
        if entry.type.WhichOneof("value") != "tensor_type":
            raise CompileError("sequences and optional tensors are not implemented")
    of_proto = next((array for array in inputs if isinstance(array, onnx.TensorProto)), None)
    if of_proto is not None:
        raise CompileError(f"element type {onnx.TensorProto.DataType.Name(of_proto.data_type)}")
    if any(not isinstance(array, np.ndarray | np.generic) for array in inputs):
        raise CompileError("sequences and optional tensors are not implemented")
    feeds = {name: np.asarray(array) for name, array in zip(names, inputs, strict=False)}
    shapes = {name: array.shape for name, array in feeds.items()}
    constants = {name: array for name, array in feeds.items() if array.shape == (0,)}
    while True:
        try:
            given = {name: shape for name, shape in shapes.items() if name not in constants}
            graph = from_onnx(model, shapes=given, constants=constants)
            break
        except UnsupportedModelError as error:
            needed = {item.needs for item in error.items if item.needs in feeds} - set(constants)
            if not needed:
                raise
            constants.update((name, feeds[name]) for name in needed if name is not None)
    return run_graph(graph, feeds)


def run_graph(graph: Graph, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The outputs of a graph on the CPU target, kernel by kernel."""
    graph = fold_constants(remove_identities(graph))
    target = CpuTarget()
    for node in graph.nodes:
        reason = target.supports(node)
        if reason is not None:
            raise CompileError(f"{node.op}: {reason}")
        node.target = target.name
    kernels = [target.compile(group) for group in fuse(graph)]
    call = _linked(kernels) if kernels else None
    stored: dict[Value, np.ndarray] = {v: np.ascontiguousarray(feeds[v.name]).reshape(v.shape) for v in graph.inputs}
    for kernel in kernels:
        arrays = []
        for value in kernel.args:
            if value not in stored:
                blank = np.zeros(value.storage_shape, value.dtype) if value.const is None else value.const
                stored[value] = blank if value.const is None else np.ascontiguousarray(pack(blank, value.layout))
            arrays.append(stored[value])
        assert call is not None
        call(kernel, arrays)
    return [stored[v] if v.const is None else v.const for v in graph.outputs]


@cache
def _jit() -> llvm.LLJIT:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(reloc="pic", codemodel="default")
    return llvm.create_lljit_compiler(machine, suppress_errors=True)


def _linked(kernels: Sequence[CpuKernel]):
    builder = llvm.JITLibraryBuilder().add_object_img(compile_kernels(kernels, opt=1)).add_current_process()
    builder.import_symbol(PARALLEL_FOR, process_pool().address)
    for kernel in kernels:
        builder.export_symbol(kernel.symbol)
    library = builder.link(_jit(), f"coverage{next(_counter)}")
    _keep.append(library)

    def call(kernel: CpuKernel, arrays: list[np.ndarray]) -> None:
        function = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(arrays))(library[kernel.symbol])
        function(*[array.ctypes.data for array in arrays])

    return call


def _compare(got: np.ndarray, want: np.ndarray, rtol: float, atol: float) -> None:
    assert got.dtype == want.dtype, f"element type {got.dtype}, expected {want.dtype}"
    assert got.shape == want.shape, f"shape {got.shape}, expected {want.shape}"
    if got.dtype.kind == "f":
        np.testing.assert_allclose(got, want, rtol=rtol, atol=atol)
    else:
        np.testing.assert_array_equal(got, want)


def _reason(error: CompileError) -> str:
    if isinstance(error, UnsupportedModelError):
        item = error.items[0]
        return f"{item.op}: {item.reason}"
    reason = str(error).split(": ", 1)[-1]
    of_type = re.match(r"input '.*' is (\w+);", reason)
    return f"element type {of_type[1]}" if of_type else reason


def coverage(tests: Iterable[Any]) -> list[Outcome]:
    """The outcome of every test."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [run_test(test) for test in tests]


def page(outcomes: Sequence[Outcome]) -> str:
    """docs/onnx_coverage.md."""
    counts = Counter(outcome.status for outcome in outcomes)
    by_operator: dict[str, Counter[str]] = defaultdict(Counter)
    reasons: dict[str, list[str]] = defaultdict(list)
    for outcome in outcomes:
        for operator in outcome.operators:
            by_operator[operator][outcome.status] += 1
        if outcome.status == "unsupported":
            reasons[outcome.reason].append(outcome.test)
    lines = [
        "# ONNX's operator tests",
        "",
        f"Of the {len(outcomes)} operator tests that come with onnx {onnx.__version__}, compiled for the CPU: "
        f"**{counts['passed']} pass, {counts['failed']} fail, {counts['unsupported']} are not taken**, each with a "
        "reason (`python -m benchmarks.onnx_coverage --write` makes this page).",
        "",
        f"Operators with a converter of their own ({len(converter_names())}): {', '.join(converter_names())}. Others "
        "that ONNX defines by these are replaced by their definition.",
        "",
        "## By operator",
        "",
        "A test counts for every operator in its model.",
        "",
        "| operator | pass | not taken |",
        "|---|---|---|",
        *(f"| {op} | {c['passed']} | {c['unsupported']} |" for op, c in sorted(by_operator.items())),
        "",
        "## Why tests are not taken",
        "",
        "| reason | tests | such as |",
        "|---|---|---|",
        *(
            f"| {reason.replace('|', '/')} | {len(names)} | {names[0]} |"
            for reason, names in sorted(reasons.items(), key=lambda item: (-len(item[1]), item[0]))
        ),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="ONNX's own operator tests on the CPU target.")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    parser.add_argument("--only", default="", help="tests whose name contains this")
    options = parser.parse_args()
    outcomes = coverage(test for test in node_tests() if options.only in test.name)
    for outcome in outcomes:
        if outcome.status == "failed" or options.only:
            print(f"{outcome.status} {outcome.test}: {outcome.reason}")
    print(dict(Counter(outcome.status for outcome in outcomes)))
    if options.write:
        PAGE.write_text(page(outcomes))


if __name__ == "__main__":
    main()
