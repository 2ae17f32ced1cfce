"""One convolution in TFLite, in the guest of benchmarks.arm_peers: ``python tflite_layer.py TENSORS.npz RUNS``.

The file holds x [1,H,W,C], w [O,kh,kw,I] (depthwise [1,kh,kw,C]), bias, stride and depthwise; y is written beside it,
as ``y.npy``. The network is that one operator with a ReLU, padding "SAME", written with TFLite's own schema; XNNPACK
runs it, or this fails.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import sys
from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter


def network(x: np.ndarray, w: np.ndarray, bias: np.ndarray, stride: int, depthwise: bool) -> bytes:
    """The file of a network of one layer."""
    kind = schema.BuiltinOperator.DEPTHWISE_CONV_2D if depthwise else schema.BuiltinOperator.CONV_2D
    options = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
    options.padding = schema.Padding.SAME
    options.strideH = options.strideW = stride
    options.fusedActivationFunction = schema.ActivationFunctionType.RELU
    if depthwise:
        options.depthMultiplier = 1

    model, graph, operator, code = schema.ModelT(), schema.SubGraphT(), schema.OperatorT(), schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = kind
    code.version = 1
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], [schema.BufferT()]
    size, channels = -(-x.shape[1] // stride), bias.shape[0]
    graph.tensors = []
    for name, shape, array in (
        ("x", x.shape, None),
        ("w", w.shape, w),
        ("bias", bias.shape, bias),
        ("y", (1, size, size, channels), None),
    ):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, list(shape), schema.TensorType.FLOAT32, 0
        if array is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(array.tobytes(), np.uint8)
            tensor.buffer = len(model.buffers)
            model.buffers.append(buffer)
        graph.tensors.append(tensor)
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0, 1, 2], [3]
    operator.builtinOptions, operator.builtinOptionsType = (
        options,
        (schema.BuiltinOptions.DepthwiseConv2DOptions if depthwise else schema.BuiltinOptions.Conv2DOptions),
    )
    graph.operators, graph.inputs, graph.outputs = [operator], [0], [3]
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def main(path: Path, runs: int) -> None:
    """Runs the layer."""
    given = np.load(path)
    content = network(given["x"], given["w"], given["bias"], int(given["stride"]), bool(given["depthwise"]))
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], given["x"])
    for _ in range(runs):
        interpreter.invoke()
    np.save(path.with_name("y.npy"), interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    taken = [operator["op_name"] for operator in interpreter._get_ops_details()]
    if "DELEGATE" not in taken:
        raise SystemExit(f"XNNPACK did not take the layer: {taken}")


main(Path(sys.argv[1]), int(sys.argv[2]))
