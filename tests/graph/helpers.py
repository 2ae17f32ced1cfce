"""Small ONNX models, ONNX Runtime as the reference, and models quantised by it."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static


def single(
    op: str,
    shapes: Sequence[Sequence[int | str]],
    weights: Sequence[np.ndarray | np.floating] = (),
    *,
    opset: int = 17,
    domain: str = "",
    **attrs: Any,
) -> onnx.ModelProto:
    """A model of one node on float32 inputs x0, x1, ... followed by constant operands; the output is "y"."""
    names = [f"x{i}" for i in range(len(shapes))]
    constants = [numpy_helper.from_array(np.asarray(w), f"w{i}") for i, w in enumerate(weights)]
    node = helper.make_node(op, [*names, *(c.name for c in constants)], ["y"], name="node", domain=domain, **attrs)
    graph = helper.make_graph(
        [node],
        "single",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, list(s)) for n, s in zip(names, shapes, strict=True)],
        [onnx.ValueInfoProto(name="y", type=helper.make_tensor_type_proto(TensorProto.FLOAT, None))],
        constants,
    )
    opsets = [helper.make_opsetid("", opset)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def normal_inputs(model: onnx.ModelProto, seed: int = 1) -> dict[str, np.ndarray]:
    """Seeded standard normal float32 for every input of a model with static shapes."""
    rng = np.random.default_rng(seed)
    known = {tensor.name for tensor in model.graph.initializer}
    return {
        entry.name: rng.standard_normal([d.dim_value for d in entry.type.tensor_type.shape.dim], dtype=np.float32)
        for entry in model.graph.input
        if entry.name not in known
    }


def run_ort(
    model: onnx.ModelProto, inputs: Mapping[str, np.ndarray], names: Sequence[str] | None = None
) -> dict[str, np.ndarray]:
    """Tensors by name (default: the outputs) from ONNX Runtime without any graph optimisation."""
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    if names is not None:
        inferred = onnx.shape_inference.infer_shapes(model).graph
        known = {info.name: info for info in (*inferred.value_info, *inferred.output)}
        del exposed.graph.output[:]
        exposed.graph.output.extend(known[name] for name in names)
    wanted = [output.name for output in exposed.graph.output]
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(exposed.SerializeToString(), options, providers=["CPUExecutionProvider"])
    results = session.run(wanted, dict(inputs))
    return {name: np.asarray(array) for name, array in zip(wanted, results, strict=True)}


class _Reader(CalibrationDataReader):
    def __init__(self, model: onnx.ModelProto, count: int) -> None:
        self._samples = iter([normal_inputs(model, seed) for seed in range(100, 100 + count)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._samples, None)


def quantized_by_ort(
    model: onnx.ModelProto,
    activations: QuantType,
    weights: QuantType = QuantType.QInt8,
    *,
    per_channel: bool = True,
    symmetric: bool = False,
) -> onnx.ModelProto:
    """The QDQ model that onnxruntime.quantization makes of a float model (batch norm folded by ONNX Runtime)."""
    with tempfile.TemporaryDirectory() as folder:
        source, folded, result = (str(Path(folder) / name) for name in ("f.onnx", "o.onnx", "q.onnx"))
        onnx.save(model, source)
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = folded
        options.log_severity_level = 3
        ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        previous = logging.root.manager.disable
        logging.disable(logging.WARNING)  # it advises to preprocess what is preprocessed
        try:
            quantize_static(
                folded,
                result,
                _Reader(model, 3),
                quant_format=QuantFormat.QDQ,
                per_channel=per_channel,
                activation_type=activations,
                weight_type=weights,
                extra_options={"ActivationSymmetric": symmetric},
            )
        finally:
            logging.disable(previous)
        return onnx.load(result)
