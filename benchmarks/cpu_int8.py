"""Int8 networks on this processor, against ONNX Runtime and OpenVINO.

    python -m benchmarks.cpu_int8 [--networks resnet18,mobilenet] [--runs N] [--layers] [--write]

All three run the QDQ model that ONNX Runtime's quantiser makes of a built-in network: int8 weights, one scale a
channel, uint8 activations. Runs alternate within one process, on the same input, and the median counts; outputs must
point the same way as ONNX Runtime's. OpenVINO may use whatever the processor has.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino  # pyright: ignore[reportMissingImports]  # the extra "bench" has it
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from benchmarks.common import publish, table
from benchmarks.cpu import Run, onnx_runtime
from compiler.backend.cpu import amx, vnni
from compiler.backend.cpu.processor import Processor
from hw.config import Config
from runtime.executor import Executor
from vdla.driver import compile_model
from vdla.models import MODELS

NETWORKS = ("resnet18", "mobilenet")
_THREADS = (1, 2)
_SAMPLES = 3


class _Samples(CalibrationDataReader):
    """Seeded standard normal inputs."""

    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        rng = np.random.default_rng(100)
        self._samples: Iterator[dict[str, np.ndarray]] = (
            {name: rng.standard_normal(shape, dtype=np.float32)} for _ in range(_SAMPLES)
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._samples, None)


def shape_of(model: onnx.ModelProto) -> tuple[int, ...]:
    """Of the model's input."""
    return tuple(dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim)


def quantised(model: onnx.ModelProto) -> onnx.ModelProto:
    """The QDQ model that ONNX Runtime's quantiser makes, batch normalisation folded before."""
    logging.disable(logging.WARNING)  # it advises to preprocess what is preprocessed
    with tempfile.TemporaryDirectory() as folder:
        source, folded, result = (str(Path(folder, name)) for name in ("source.onnx", "folded.onnx", "int8.onnx"))
        onnx.save(model, source)
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = folded
        options.log_severity_level = 3
        onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        quantize_static(
            folded,
            result,
            _Samples(model.graph.input[0].name, shape_of(model)),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return onnx.load(result)


def ours(executor: Executor, x: np.ndarray, threads: int) -> Run:
    """This kit, default schedules."""

    def run() -> np.ndarray:
        executor.use_threads(threads)  # executors share the pool
        return next(iter(executor.run(x).outputs.values()))

    return run


def open_vino(model: onnx.ModelProto, x: np.ndarray, threads: int) -> Run:
    """OpenVINO's CPU plug-in, latency hint."""
    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU", settings)
    request = compiled.create_infer_request()
    return lambda: request.infer([x])[compiled.output(0)]


def medians(runs: Mapping[str, Run], count: int) -> dict[str, float]:
    """Median seconds of each, run in turns, after two runs to warm up.

    Rounding differs from one to the other in a few values, so that outputs are held to a cosine of 0.999.
    """
    outputs = {name: run() for name, run in runs.items()}
    reference = outputs["ONNX Runtime"].ravel()
    for name, output in outputs.items():
        cosine = float(output.ravel() @ reference / np.linalg.norm(output) / np.linalg.norm(reference))
        if not cosine >= 0.999:
            raise SystemExit(f"{name} is wrong: cosine {cosine:.4f}")
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(count + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return {name: float(np.median(values)) for name, values in seconds.items()}


def layers(executor: Executor, x: np.ndarray, count: int) -> list[tuple[str, str, str]]:
    """Each group, its operators and its least microseconds on one thread."""
    executor.use_threads(1)
    profiles = [executor.run(x).profile.layers for _ in range(count)]
    return [
        (records[0].name, records[0].op, f"{1e6 * min(record.wall_s for record in records):.0f}")
        for records in zip(*profiles, strict=True)
    ]


def instructions() -> str:
    """What the kit's int8 convolutions use on this processor."""
    host = Processor.of()
    return "AMX" if amx.available(host) else "AVX-512 VNNI" if vnni.available(host) else "no int8 instruction"


def _report(names: list[str], count: int, with_layers: bool) -> str:
    rows, parts = [], []
    for name in names:
        model = quantised(MODELS[name]())
        x = np.random.default_rng(0).standard_normal(shape_of(model), dtype=np.float32)
        executor = Executor(compile_model(model, Config.load("pynq-z1"), ["cpu"]).artifact)
        for threads in _THREADS:
            found = medians(
                {
                    "ours": ours(executor, x, threads),
                    "ONNX Runtime": onnx_runtime(model, x, threads),
                    "OpenVINO": open_vino(model, x, threads),
                },
                count,
            )
            mine, *others = found.values()
            rows.append((name, threads, *(f"{1e3 * s:.3f}" for s in (mine, *others)), f"{mine / min(others):.2f}"))
        if with_layers:
            parts.append(table((name, "operators", "us, least, 1 thread"), layers(executor, x, count)))
    header = ("network", "threads", "ours, ms", "ONNX Runtime, ms", "OpenVINO, ms", "ours / faster")
    versions = f"ONNX Runtime {onnxruntime.__version__}, OpenVINO {openvino.__version__.split('-')[0]}."
    text = f"Batch 1, int8, medians of {count} runs. Our convolutions use {instructions()}. {versions}"
    return "\n\n".join([text, table(header, rows), *parts])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default=",".join(NETWORKS), help="names of built-in networks, commas between")
    parser.add_argument("--layers", action="store_true", help="also what each fused group takes")
    parser.add_argument("--runs", type=int, default=50, help="runs of each network")
    parser.add_argument("--write", action="store_true", help="put the tables into RESULTS.md")
    arguments = parser.parse_args()
    os.environ.pop("OPENBLAS_CORETYPE", None)
    names = [name for name in arguments.networks.split(",") if name]
    publish("Int8 networks on the CPU", _report(names, arguments.runs, arguments.layers), write=arguments.write)


if __name__ == "__main__":
    main()
