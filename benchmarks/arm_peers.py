"""Other people's kernels for AArch64, counted as ours are: ONNX Runtime, and TFLite with XNNPACK.

Both run in a Python of Debian's for arm64 under QEMU's user-mode emulation; docs/deploy.md says how to make the folder
that holds it (`peer` below). One thread in all: others would wait in loops that count.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from benchmarks.guest import GuestError, counted, counting

# So many inferences are counted: Python's own start differs by a few million instructions from one to the next.
_RUNS = 20

# In the guest: as many inferences as asked for.
_ONNXRUNTIME = """
import sys
import numpy as np
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
rng = np.random.default_rng(0)
feed = {i.name: rng.standard_normal(i.shape).astype(np.float32) for i in session.get_inputs()}
for _ in range(int(sys.argv[2])):
    session.run(None, feed)
"""
_TFLITE = Path(__file__).with_name("tflite_layer.py")


def count_onnxruntime(model: onnx.ModelProto, folder: Path, peer: Path) -> int:
    """Guest instructions of one inference of ONNX Runtime.

    Raises:
        GuestError: it failed.
    """
    path = folder / "peer.onnx"
    onnx.save(model, str(path))
    return _count(["-c", _ONNXRUNTIME, str(path)], peer)


def count_tflite(model: onnx.ModelProto, folder: Path, peer: Path) -> int:
    """Guest instructions of one inference of TFLite, for a model of one convolution and its ReLU.

    TFLite pads a stride of 2 at the end alone ("SAME"); its result is compared with ONNX Runtime's, padded so.

    Raises:
        GuestError: it failed, XNNPACK did not take the layer, or its result differs.
    """
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    constants = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    weight, *given = (constants[name] for name in conv.input[1:])
    bias = given[0] if given else np.zeros(len(weight), np.float32)  # TFLite's converter makes them as well
    attributes = {item.name: helper.get_attribute_value(item) for item in conv.attribute}
    depthwise = attributes.get("group", 1) > 1
    entry = model.graph.input[0]
    shape = [dim.dim_value for dim in entry.type.tensor_type.shape.dim]
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    path = folder / "peer.npz"
    np.savez(
        path,
        x=np.ascontiguousarray(x.transpose(0, 2, 3, 1)),
        w=np.ascontiguousarray(weight.transpose((1, 2, 3, 0) if depthwise else (0, 2, 3, 1))),
        bias=bias,
        stride=attributes["strides"][0],
        depthwise=depthwise,
    )
    instructions = _count([str(_TFLITE), str(path)], peer)

    padded = onnx.ModelProto()
    padded.CopyFrom(model)
    node = next(node for node in padded.graph.node if node.op_type == "Conv")
    kept = [item for item in node.attribute if item.name != "pads"]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute("auto_pad", "SAME_UPPER")])
    session = onnxruntime.InferenceSession(padded.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = np.asarray(session.run(None, {entry.name: x})[0])
    got = np.load(path.with_name("y.npy")).transpose(0, 3, 1, 2)
    if not np.allclose(got, expected, rtol=1e-4, atol=1e-4 * float(np.abs(expected).max())):
        raise GuestError(0, "TFLite's result is not ONNX Runtime's")
    return instructions


def _count(arguments: Sequence[str], peer: Path) -> int:
    """Instructions of one more inference: Python with `arguments` and a number of inferences behind them."""
    command = [*counting("arm64", peer), str(peer / "usr/bin/python3.11"), *arguments]
    places = {"PYTHONHOME": str(peer / "usr"), "PYTHONPATH": str(peer / "site"), "PYTHONHASHSEED": "0"}
    places |= {"OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    counts = []
    for runs in ("1", str(1 + _RUNS)):
        done = subprocess.run([*command, runs], env=places, capture_output=True, text=True, check=False)
        if done.returncode:
            raise GuestError(done.returncode, done.stderr.strip())
        counts.append(counted(done.stderr))
    return (counts[1] - counts[0]) // _RUNS
