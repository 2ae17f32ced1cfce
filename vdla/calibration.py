"""Samples to calibrate a float model on, from a file, checked against the model's inputs before the long work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from runtime.artifact import TensorSpec
from runtime.errors import InputError
from vdla.errors import UsageError
from vdla.resolve import check_batch, load_inputs, model_source

if TYPE_CHECKING:
    import onnx

    from compiler.graph.ir import Graph


def load_graph(source: onnx.ModelProto | Path, batch: int | None = None) -> Graph:
    """The model imported but not yet compiled: to know its inputs before the long work; `batch` as for `vdla.compile`.

    Raises:
        UsageError: when the model has another batch.
        ModelError: when it cannot be imported.
    """
    # The compiler takes long to import; running an artifact needs none of it.
    from compiler.frontend.onnx_import import from_onnx, load_model

    if batch is not None:
        check_batch(load_model(source), batch)
    return from_onnx(source, batch=batch or 1)


def specs_of(graph: Graph) -> tuple[TensorSpec, ...]:
    """The inputs of an imported graph; they have no place in an arena yet."""
    return tuple(TensorSpec(value.name, value.shape, value.dtype, 0) for value in graph.inputs)


def load_calibration(path: Path, name: str, batch: int | None = None) -> list[dict[str, np.ndarray]]:
    """Samples to calibrate the float model `name` on, from a ``.npz`` (or, for a model with one input, a ``.npy``).

    The file holds one array an input, named like it. Its first axis stacks the samples: for an input [1,3,32,32],
    float32[20,3,32,32] are 20 samples; for an input [4,10], float32[8,10] are two.

    Raises:
        UsageError: when the model is quantised already.
        InputError: when the file cannot be read, names other inputs, or holds other shapes, dtypes or differing
            numbers of samples.
    """
    from compiler.graph.pipeline import is_quantized

    graph = load_graph(model_source(name, batch), batch)
    if is_quantized(graph):
        raise UsageError(f"{name} is quantised already; calibration is for float models")
    specs = specs_of(graph)
    arrays = load_inputs(path, specs)
    unknown = [given for given in arrays if given not in {spec.name for spec in specs}]
    if unknown:
        declared = ", ".join(f"'{spec.name}' {spec.describe()}" for spec in specs)
        raise InputError(f"{path}: no input named {', '.join(map(repr, unknown))}; the model's inputs are {declared}")
    stacks: dict[str, np.ndarray] = {}
    for spec in specs:
        if spec.name not in arrays:
            raise InputError(f"{path}: samples for input '{spec.name}' are missing: expected {_stacked(spec)}")
        array = arrays[spec.name]
        unit, *rest = spec.shape or (1,)
        stacks_up = array.ndim == 1 + len(rest) and array.shape[1:] == tuple(rest) and len(array) % unit == 0
        if array.dtype != np.dtype(spec.dtype) or not stacks_up or not array.size:
            got = f"{array.dtype}[{','.join(map(str, array.shape))}]"
            raise InputError(f"{path}: samples for input '{spec.name}': expected {_stacked(spec)}, got {got}")
        stacks[spec.name] = array.reshape(-1, *spec.shape)
    counts = {spec: len(stack) for spec, stack in stacks.items()}
    if len(set(counts.values())) > 1:
        listing = ", ".join(f"{count} for '{spec}'" for spec, count in counts.items())
        raise InputError(f"{path}: as many samples for each input are needed, there are {listing}")
    return [dict(zip(stacks, sample, strict=True)) for sample in zip(*stacks.values(), strict=True)]


def _stacked(spec: TensorSpec) -> str:
    """The type of samples of an input, e.g. ``float32[n,3,32,32]``; n is a multiple of the input's own extent."""
    first = f"{spec.shape[0]}n" if spec.shape and spec.shape[0] != 1 else "n"
    return f"{spec.dtype}[{','.join([first, *map(str, spec.shape[1:])])}] with n samples, at least 1"
