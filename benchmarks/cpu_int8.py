"""Int8 networks on this processor, against ONNX Runtime and OpenVINO.

    python -m benchmarks.cpu_int8 [--networks resnet18,...] [--processors haswell,...] [--runs N] [--layers] [--write]

All three run the QDQ model that ONNX Runtime's quantiser makes of a built-in network: int8 weights, one scale a
channel, uint8 activations. Each is alone in a process, on the same input, and the median counts; outputs must point the
same way as ONNX Runtime's. OpenVINO may use whatever the processor has. What is compiled for processors with
less (LLVM's names) is compared with the kit's own float32 code for them, here.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

import vdla
from benchmarks.common import publish, table
from benchmarks.side_by_side import COLUMNS, check, compare, image, median, ours, same_direction, versions
from compiler.backend.cpu import amx
from compiler.backend.cpu.dot_product import dot_products
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
            _Samples(model.graph.input[0].name, image(model).shape),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return onnx.load(result)


def layers(executor: Executor, x: np.ndarray, count: int) -> list[tuple[str, str, str]]:
    """Each group, its operators and its least microseconds on one thread."""
    executor.use_threads(1)
    profiles = [executor.run(x).profile.layers for _ in range(count)]
    return [
        (records[0].name, records[0].op, f"{1e6 * min(record.wall_s for record in records):.0f}")
        for records in zip(*profiles, strict=True)
    ]


def on_processor(name: str, cpu: str, count: int) -> list[str]:
    """Milliseconds of a network in float32 and, calibrated, in int8 as compiled for a processor; one thread."""
    x = image(MODELS[name]())
    runs = [ours(Executor(vdla.compile(name, target=f"cpu:{cpu}", integer=integer)), x, 1) for integer in (False, True)]
    check([("int8", runs[1]()), ("float32", runs[0]())], same_direction(0.95))
    single, integer = (median(run, count) for run in runs)
    return [f"{1e3 * single:.3f}", f"{1e3 * integer:.3f}", f"{integer / single:.2f}"]


def instructions() -> str:
    """What the kit's int8 convolutions use on this processor."""
    host = Processor.of()
    names = ["tdpbssd (AMX)"] if amx.available(host) else [d.name for d in dot_products(host)]
    return names[0] if names else "no int8 instruction"


def _report(names: list[str], processors: list[str], count: int, with_layers: bool) -> str:
    rows, parts = [], []
    for name in names:
        model = quantised(MODELS[name]())
        rows += [(name, threads, *compare(model, threads, count, same_direction())) for threads in _THREADS]
        if with_layers:
            executor = Executor(compile_model(model, Config.load("pynq-z1"), ["cpu"]).artifact)
            parts.append(table((name, "operators", "us, least, 1 thread"), layers(executor, image(model), count)))
    if processors:
        older = [(name, cpu, *on_processor(name, cpu, count)) for name in names for cpu in processors]
        header = ("network", "compiled for", "float32, ms, 1 thread", "int8, ms", "int8 / float32")
        parts.insert(0, table(header, older))
    text = f"Batch 1, int8, medians of {count} runs. Our convolutions use {instructions()}. {versions()}"
    return "\n\n".join([text, table(("network", "threads", *COLUMNS), rows), *parts])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default=",".join(NETWORKS), help="names of built-in networks, commas between")
    parser.add_argument("--processors", default="haswell,alderlake", help="processors to compile for beside this one")
    parser.add_argument("--layers", action="store_true", help="also what each fused group takes")
    parser.add_argument("--runs", type=int, default=50, help="runs of each network")
    parser.add_argument("--write", action="store_true", help="put the tables into RESULTS.md")
    arguments = parser.parse_args()
    os.environ.pop("OPENBLAS_CORETYPE", None)
    names, processors = (
        [name for name in text.split(",") if name] for text in (arguments.networks, arguments.processors)
    )
    report = _report(names, processors, arguments.runs, arguments.layers)
    publish("Int8 networks on the CPU", report, write=arguments.write)


if __name__ == "__main__":
    main()
