"""Float networks and layers on this processor, against ONNX Runtime and OpenVINO.

    python -m benchmarks.cpu [--networks resnet18,...] [--tvm] [--runs N] [--write]
    python -m benchmarks.cpu --layers [--runs N] [--write]

Each is alone in a process, on the same input, and the median counts. OpenVINO computes in float32, as the others do,
not in the bfloat16 that it would choose on some processors. Layers are single convolutions with a rectifier: C1-C12 are
ResNet-18's, D1-D9 MobileNet's depthwise ones.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import onnx

from benchmarks.common import publish, table
from benchmarks.side_by_side import COLUMNS, Run, check, close, compare, image, median, ours, tvm_seconds, versions
from hw.config import Config
from runtime.executor import Executor
from vdla.driver import CompileOptions, compile_model
from vdla.models import MODELS
from vdla.models.layers import CONVOLUTIONS, DEPTHWISE, layer_model

NETWORKS = ("resnet18", "resnet50", "mobilenet", "dqn", "dcgan", "lstm_lm", "transformer")
_THREADS = (1, 2)


def fusion_gain(model: onnx.ModelProto, count: int) -> str:
    """Time without operator fusion over time with it, one thread."""

    def run(fusion: bool) -> Run:
        compiled = compile_model(model, Config.load("pynq-z1"), ["cpu"], CompileOptions(fusion=fusion))
        return ours(Executor(compiled.artifact), image(model), 1)

    apart, fused = run(fusion=False), run(fusion=True)
    check([("without fusion", apart()), ("with fusion", fused())], close)
    return f"{median(apart, count) / median(fused, count):.2f}"


def _networks(names: Sequence[str], tvm: bool, count: int) -> str:
    rows, gains = [], []
    for name in names:
        model = MODELS[name]()
        rows += [_row(name, threads, model, count) for threads in _THREADS]
        row: list[object] = [name, fusion_gain(model, count)]
        if tvm:
            seconds = tvm_seconds(model)
            row.append("cannot import it" if seconds is None else f"{1e3 * seconds:,.0f}")
        gains.append(row)
    header = ["network", "without fusion / with fusion", *(["TVM 0.27 untuned, 1 thread, ms"] if tvm else [])]
    return f"{table(('network', 'threads', *COLUMNS), rows)}\n\n{table(header, gains)}"


def _layers(count: int) -> str:
    layers = (*CONVOLUTIONS, *DEPTHWISE)
    rows = [_row(layer, threads, layer_model(layer), count) for layer in layers for threads in _THREADS]
    return table(("layer", "threads", *COLUMNS), rows)


def _row(name: str, threads: int, model: onnx.ModelProto, count: int) -> list[object]:
    row = [name, threads, *compare(model, threads, count, close, "f32")]
    print(*row, file=sys.stderr, flush=True)
    return row


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default=",".join(NETWORKS), help="names of built-in networks, commas between")
    parser.add_argument("--tvm", action="store_true", help="state TVM's time, untuned, beside them")
    parser.add_argument("--layers", action="store_true", help="single convolutions, not networks")
    parser.add_argument("--runs", type=int, default=50, help="runs of each network")
    parser.add_argument("--write", action="store_true", help="put the tables into RESULTS.md")
    arguments = parser.parse_args()
    os.environ.pop("OPENBLAS_CORETYPE", None)
    head = f"Batch 1, float32, medians of {arguments.runs} runs. {versions()}\n\n"
    if arguments.layers:
        title, text = "Single convolutions on the CPU", _layers(arguments.runs)
    else:
        names = [name for name in arguments.networks.split(",") if name]
        title, text = "Float networks on the CPU", _networks(names, arguments.tvm, arguments.runs)
    publish(title, head + text, write=arguments.write)


if __name__ == "__main__":
    main()
