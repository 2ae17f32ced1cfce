"""Float networks and layers on this processor, against ONNX Runtime and OpenVINO.

    python -m benchmarks.cpu [--networks resnet18,...] [--layers] [--runs N] [--write]

Each is alone in a process, on the same input, and the median counts. OpenVINO computes in float32, as the others do,
not in the bfloat16 that it would choose on some processors. Layers are single convolutions with a rectifier: C1-C12 are
ResNet-18's, D1-D9 MobileNet's depthwise ones.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

import onnx

from benchmarks.common import publish, table
from benchmarks.side_by_side import COLUMNS, Run, check, close, compare, image, median, ours, versions
from hw.config import Config
from runtime.executor import Executor
from vdla.driver import CompileOptions, compile_model
from vdla.models import MODELS
from vdla.models.layers import CONVOLUTIONS, DEPTHWISE, layer_model

NETWORKS = ("resnet18", "resnet50", "mobilenet", "dqn", "dcgan", "lstm_lm")
_THREADS = (1, 2)


def fusion_gain(model: onnx.ModelProto, count: int) -> str:
    """Time without operator fusion over time with it, one thread."""

    def run(fusion: bool) -> Run:
        compiled = compile_model(model, Config.load("pynq-z1"), ["cpu"], CompileOptions(fusion=fusion))
        return ours(Executor(compiled.artifact), image(model), 1)

    apart, fused = run(fusion=False), run(fusion=True)
    check([("without fusion", apart()), ("with fusion", fused())], close)
    return f"{median(apart, count) / median(fused, count):.2f}"


def _report(names: Sequence[str], layers: bool, count: int) -> str:
    header = ("network", "threads", *COLUMNS)
    rows, gains = [], []
    for name in names:
        model = MODELS[name]()
        rows += [(name, threads, *compare(model, threads, count, close, "f32")) for threads in _THREADS]
        gains.append((name, fusion_gain(model, count)))
    parts = [table(header, rows), table(("network", "without fusion / with fusion"), gains)]
    if layers:
        rows = [
            (layer, threads, *compare(layer_model(layer), threads, 3 * count, close, "f32"))
            for layer in (*CONVOLUTIONS, *DEPTHWISE)
            for threads in _THREADS
        ]
        parts.append(table(("layer", *header[1:]), rows))
    return "\n\n".join([f"Batch 1, float32, medians of {count} runs. {versions()}", *parts])


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
