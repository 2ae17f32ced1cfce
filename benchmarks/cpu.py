"""Float networks and layers on this processor, against ONNX Runtime and OpenVINO.

    python -m benchmarks.cpu [--networks resnet18,...] [--layers] [--runs N] [--write]

Ours and the others' runs alternate within one process, on the same input, and the median counts. OpenVINO computes in
float32, as the others do, not in the bfloat16 that it would choose on some processors. Layers are single convolutions
with a rectifier: C1-C12 are ResNet-18's, D1-D9 MobileNet's depthwise ones.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx
import onnxruntime
import openvino  # pyright: ignore[reportMissingImports]  # the extra "bench" has it

from benchmarks.common import publish, table
from hw.config import Config
from runtime.executor import Executor
from vdla.driver import CompileOptions, compile_model
from vdla.models import MODELS
from vdla.models.layers import CONVOLUTIONS, DEPTHWISE, layer_model

NETWORKS = ("resnet18", "resnet50", "mobilenet", "dqn")
_THREADS = (1, 2)


Run = Callable[[], np.ndarray]


def ours(model: onnx.ModelProto, x: np.ndarray, threads: int, *, fusion: bool = True) -> Run:
    """This kit, default schedules."""
    options = CompileOptions(fusion=fusion)
    executor = Executor(compile_model(model, Config.load("pynq-z1"), ["cpu"], options).artifact)

    def run() -> np.ndarray:
        executor.use_threads(threads)  # executors share the pool
        return next(iter(executor.run(x).outputs.values()))

    return run


def onnx_runtime(model: onnx.ModelProto, x: np.ndarray, threads: int) -> Run:
    """ONNX Runtime's CPU provider."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda: np.asarray(session.run(None, {name: x})[0])


def open_vino(model: onnx.ModelProto, x: np.ndarray, threads: int) -> Run:
    """OpenVINO's CPU plug-in, latency hint, float32."""
    core = openvino.Core()
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU", settings)
    request = compiled.create_infer_request()
    return lambda: request.infer([x])[compiled.output(0)]


def medians(runs: Mapping[str, Run], count: int) -> dict[str, float]:
    """Median seconds of each, run in turns; outputs must agree to 1e-4 of the largest magnitude."""
    outputs = {name: run() for name, run in runs.items()}
    reference = outputs["ONNX Runtime"] if "ONNX Runtime" in outputs else next(iter(outputs.values()))
    for name, output in outputs.items():
        error = np.abs(output - reference).max() / np.abs(reference).max()
        if not error <= 1e-4:
            raise SystemExit(f"{name} is wrong: relative error {error:.2g}")
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(count):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: float(np.median(values)) for name, values in seconds.items()}


def compare(model: onnx.ModelProto, threads: int, count: int) -> list[str]:
    """Milliseconds of ours, ONNX Runtime, OpenVINO; ours over the faster of them."""
    dims = model.graph.input[0].type.tensor_type.shape.dim
    x = np.random.default_rng(0).standard_normal([d.dim_value for d in dims], dtype=np.float32)
    found = medians(
        {
            "ours": ours(model, x, threads),
            "ONNX Runtime": onnx_runtime(model, x, threads),
            "OpenVINO": open_vino(model, x, threads),
        },
        count,
    )
    mine, *others = found.values()
    return [*(f"{1e3 * s:.3f}" for s in (mine, *others)), f"{mine / min(others):.2f}"]


def fusion_gain(model: onnx.ModelProto, count: int) -> str:
    """Time without operator fusion over time with it, one thread."""
    dims = model.graph.input[0].type.tensor_type.shape.dim
    x = np.random.default_rng(0).standard_normal([d.dim_value for d in dims], dtype=np.float32)
    found = medians({"fused": ours(model, x, 1), "apart": ours(model, x, 1, fusion=False)}, count)
    return f"{found['apart'] / found['fused']:.2f}"


def _report(names: Sequence[str], layers: bool, count: int) -> str:
    header = ("network", "threads", "ours, ms", "ONNX Runtime, ms", "OpenVINO, ms", "ours / faster")
    rows, gains = [], []
    for name in names:
        model = MODELS[name]()
        rows += [(name, threads, *compare(model, threads, count)) for threads in _THREADS]
        gains.append((name, fusion_gain(model, count)))
    parts = [table(header, rows), table(("network", "without fusion / with fusion"), gains)]
    if layers:
        rows = [
            (layer, threads, *compare(layer_model(layer), threads, 3 * count))
            for layer in (*CONVOLUTIONS, *DEPTHWISE)
            for threads in _THREADS
        ]
        parts.append(table(("layer", *header[1:]), rows))
    versions = f"ONNX Runtime {onnxruntime.__version__}, OpenVINO {openvino.__version__.split('-')[0]}."
    return "\n\n".join([f"Batch 1, float32, medians of {count} runs. {versions}", *parts])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default=",".join(NETWORKS), help="names of built-in networks, commas between")
    parser.add_argument("--layers", action="store_true", help="also single convolutions")
    parser.add_argument("--runs", type=int, default=50, help="runs of each network")
    parser.add_argument("--write", action="store_true", help="put the tables into RESULTS.md")
    arguments = parser.parse_args()
    os.environ.pop("OPENBLAS_CORETYPE", None)
    names = [name for name in arguments.networks.split(",") if name]
    title = "Float networks on the CPU"
    publish(title, _report(names, arguments.layers, arguments.runs), write=arguments.write)


if __name__ == "__main__":
    main()
