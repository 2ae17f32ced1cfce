"""Runs graphs through the CPU target, kernel by kernel, and compares with the numpy references."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import llvmlite.binding as llvm
import numpy as np

from compiler.backend.cpu import CpuKernel, CpuTarget, compile_kernels
from compiler.graph.fuse import FusedGroup, fuse
from compiler.graph.interpreter import evaluate
from compiler.graph.ir import Graph, Value
from compiler.graph.layout import pack, unpack
from compiler.ir import interp
from runtime.thread_pool import PARALLEL_FOR, process_pool

Runner = Callable[[Sequence[CpuKernel]], Callable[[CpuKernel, list[np.ndarray]], None]]
_names = (f"test{i}" for i in itertools.count())


@cache
def _jit() -> llvm.LLJIT:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(reloc="pic", codemodel="default")
    return llvm.create_lljit_compiler(machine, suppress_errors=True)


def native(kernels: Sequence[CpuKernel], cpu: str = "host") -> Callable[[CpuKernel, list[np.ndarray]], None]:
    """Compiles the kernels to one object, links it and returns what calls one of them."""
    builder = llvm.JITLibraryBuilder().add_object_img(compile_kernels(kernels, cpu=cpu)).add_current_process()
    builder.import_symbol(PARALLEL_FOR, process_pool().address)
    for kernel in kernels:
        builder.export_symbol(kernel.symbol)
    library = builder.link(_jit(), next(_names))
    keep.append(library)

    def call(kernel: CpuKernel, arrays: list[np.ndarray]) -> None:
        function = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(arrays))(library[kernel.symbol])
        function(*[array.ctypes.data for array in arrays])

    return call


# A linked library must outlive the calls of its functions.
keep: list[Any] = []


def interpreted(kernels: Sequence[CpuKernel]) -> Callable[[CpuKernel, list[np.ndarray]], None]:
    """The loop IR's reference interpreter in place of machine code."""
    return lambda kernel, arrays: interp.run(kernel.func, [array.reshape(-1) for array in arrays])


def compile_graph(graph: Graph, *, fusion: bool = True) -> list[CpuKernel]:
    """Every group of the graph on the CPU."""
    target = CpuTarget()
    for node in graph.nodes:
        assert target.supports(node) is None
        node.target = target.name
    groups: list[FusedGroup] = fuse(graph, enabled=fusion, rows=target.fuses_rows)
    return [target.compile(group) for group in groups]


def execute(
    kernels: Sequence[CpuKernel], graph: Graph, feeds: Mapping[str, np.ndarray], runner: Runner = native
) -> list[np.ndarray]:
    """The graph's outputs, as stored, as the kernels compute them from inputs (logical arrays) by name."""
    call = runner(kernels)
    stored: dict[Value, np.ndarray] = {value: _stored(value, feeds[value.name]) for value in graph.inputs}
    for kernel in kernels:
        call(kernel, [_place(stored, value) for value in kernel.args])
    return [stored[value] for value in graph.outputs]


def execute_apart(
    target: CpuTarget, groups: Sequence[FusedGroup], values: Mapping[str, np.ndarray], runner: Runner = native
) -> list[np.ndarray]:
    """Each group's output, in its logical shape, from inputs (logical arrays) by name, not the others' results."""
    kernels = [target.compile(group) for group in groups]
    call = runner(kernels)
    out: list[np.ndarray] = []
    for group, kernel in zip(groups, kernels, strict=True):
        stored = {value: _stored(value, values[value.name]) for value in group.inputs if value.const is None}
        call(kernel, [_place(stored, value) for value in kernel.args])
        out.append(unpack(stored[group.output], group.output.shape, group.output.layout))
    return out


def _place(stored: dict[Value, np.ndarray], value: Value) -> np.ndarray:
    """The memory of a value, made when it is first asked for."""
    if value not in stored:
        if value.const is not None:
            stored[value] = _stored(value, value.const)
        else:
            # Garbage, so that an element nobody writes shows.
            stored[value] = np.full(value.nbytes, 0xA5, np.uint8).view(value.dtype).reshape(value.storage_shape)
    return stored[value]


def _stored(value: Value, array: np.ndarray) -> np.ndarray:
    return pack(array, value.layout).reshape(value.storage_shape)


def check(graph: Graph, feeds: Mapping[str, np.ndarray], *, fusion: bool = True, interpret: bool = True) -> None:
    """Machine code, and the interpreter unless the work is too much for it, agree with the references: integers to
    the bit, floats to 1e-5 of the largest magnitude."""
    outputs = evaluate(graph, feeds)
    expected = [
        _stored(value, outputs[name])  # tails of zeros are compared as well
        for name, value in zip(graph.output_names, graph.outputs, strict=True)
    ]
    kernels = compile_graph(graph, fusion=fusion)
    for runner in (native, interpreted) if interpret else (native,):
        computed = execute(kernels, graph, feeds, runner)
        for value, got, want in zip(graph.outputs, computed, expected, strict=True):
            assert got.shape == want.shape and got.dtype == want.dtype == np.dtype(value.dtype)
            if got.dtype.kind == "f":
                scale = float(np.abs(want[np.isfinite(want)]).max(initial=1e-30))
                np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5 * scale)
            else:
                np.testing.assert_array_equal(got, want)
