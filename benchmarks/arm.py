"""ARM processors: instructions of single layers and networks, sizes, build times: ``python -m benchmarks.arm``.

Code is compiled ahead of time and run under QEMU's user-mode emulation, whose plug-in counts the instructions of one
inference. Counts are exact and the same everywhere; they are no times, and the emulator has none.

ONNX Runtime is counted beside it with ``--peer FOLDER``, a folder that holds a Python of Debian's for arm64 and the
packages numpy and onnxruntime of that architecture under ``site``; docs/deploy.md says how to make one.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import click
import numpy as np
import onnx

from benchmarks.common import publish, table
from benchmarks.guest import Guest, counted, counting
from vdla import models
from vdla.deploy import Deployed, deploy
from vdla.models.layers import layer_model

TITLE = "ARM: instructions under emulation"
PLATFORMS = ("arm64", "armv7")
DOT_PRODUCT = "arm64:cortex-a76"
LAYERS = ("C2", "C6", "C9", "C12", *[f"D{i}" for i in range(1, 10)])
NETWORKS = ("digits", "resnet_tiny", "mobile_tiny", "resnet18")


def _shape(entry: onnx.ValueInfoProto) -> tuple[int, ...]:
    return tuple(dim.dim_value for dim in entry.type.tensor_type.shape.dim)


def count(model: onnx.ModelProto, deployed: Deployed) -> int:
    """Guest instructions of one inference on seeded inputs."""
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal(_shape(entry)).astype(np.float32) for entry in model.graph.input]
    outputs = [(_shape(entry), "float32") for entry in model.graph.output]
    return Guest.of(deployed).instructions(inputs, outputs)


def macs(model: onnx.ModelProto) -> int:
    """Multiply-accumulates of the convolutions of a model all of whose outputs have their size: single layers."""
    weights = max((tuple(item.dims) for item in model.graph.initializer), key=len)
    return int(np.prod(weights[1:])) * int(np.prod(_shape(model.graph.output[0])))


# In the guest: one inference to warm up, then as many as asked for.
_PEER = """
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


def count_peer(model: onnx.ModelProto, folder: Path, peer: Path) -> int:
    """Guest instructions of one inference of ONNX Runtime: those of three runs less those of one, halved.

    One thread in all: others would wait in loops that count.
    """
    path = folder / "peer.onnx"
    onnx.save(model, str(path))
    command = [*counting("arm64", peer), str(peer / "usr/bin/python3.11"), "-c", _PEER, str(path)]
    places = {"PYTHONHOME": str(peer / "usr"), "PYTHONPATH": str(peer / "site"), "PYTHONHASHSEED": "0"}
    places["OPENBLAS_NUM_THREADS"] = "1"
    counts = [
        counted(subprocess.run([*command, runs], env=places, capture_output=True, text=True, check=True).stderr)
        for runs in ("1", "3")
    ]
    return (counts[1] - counts[0]) // 2


def layers(folder: Path, names: tuple[str, ...], peer: Path | None) -> str:
    """A table of single layers."""
    rows = []
    for name in names:
        model = layer_model(name)
        work = macs(model)
        row: list[object] = [name, f"{work / 1e6:.1f}"]
        for platform in PLATFORMS:
            ours = count(model, deploy(model, folder / f"{name}.{platform}.so", platform=platform))
            row += [f"{ours / 1e6:.2f}", f"{work / ours:.2f}"]
        if peer is not None:
            theirs = count_peer(model, folder, peer)
            row += [f"{theirs / 1e6:.2f}", f"{work / theirs:.2f}"]
        rows.append(row)
    header = ["layer", "M MACs"]
    for platform in PLATFORMS:
        header += [f"{platform}, M instructions", "MACs each"]
    if peer is not None:
        header += ["ONNX Runtime on arm64, M instructions", "MACs each"]
    return table(header, rows)


def networks(folder: Path, names: tuple[str, ...]) -> str:
    """A table of networks in float32 and int8: instructions, and what a library takes."""
    rows = []
    for name in names:
        model = models.MODELS[name]()
        for integer in (False, True):
            for platform in (*PLATFORMS, DOT_PRODUCT) if integer else PLATFORMS:
                made = deploy(model, folder / f"{name}.{platform}.{integer}.so", platform=platform, integer=integer)
                rows.append(
                    [
                        name,
                        "int8" if integer else "float32",
                        platform,
                        f"{count(model, made) / 1e6:.2f}",
                        f"{made.file_bytes / 1024:.0f}",
                        f"{made.constant_bytes / 1024:.0f}",
                        f"{made.workspace_bytes / 1024:.0f}",
                        f"{made.wall_s:.1f}",
                    ]
                )
    return table(
        ["network", "type", "platform", "M instructions", "library, KiB", "weights, KiB", "workspace, KiB", "build, s"],
        rows,
    )


@click.command()
@click.option("--layers", "layer_names", default=",".join(LAYERS), show_default=True, help="Which layers.")
@click.option("--networks", "network_names", default=",".join(NETWORKS), show_default=True, help="Which networks.")
@click.option("--peer", type=click.Path(path_type=Path, exists=True), help="A root for arm64 with ONNX Runtime.")
@click.option("--write", is_flag=True, help="Put the tables into RESULTS.md.")
def main(layer_names: str, network_names: str, peer: Path | None, write: bool) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts = [
            "Single layers (with bias and ReLU) in float32, compiled for Cortex-A53 and Cortex-A9. A vector "
            "instruction of either does at most 4 multiply-accumulates; more of them each than 4 is Winograd's doing.",
            layers(folder, tuple(filter(None, layer_names.split(","))), peer),
            "Networks of the kit as shared libraries; Cortex-A76 has the dot product of int8.",
            networks(folder, tuple(filter(None, network_names.split(",")))),
        ]
    publish(TITLE, "\n\n".join(parts), write=write)


if __name__ == "__main__":
    main()
