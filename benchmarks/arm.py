"""ARM processors: instructions of single layers and networks, sizes, build times: ``python -m benchmarks.arm``.

Code is compiled ahead of time and run under QEMU's user-mode emulation, whose plug-in counts the instructions of one
inference. Counts are exact and the same everywhere; they are no times, and the emulator has none.

ONNX Runtime and TFLite are counted beside it with ``--peer FOLDER``, a folder that holds a Python of Debian's for arm64
and their packages under ``site``; docs/deploy.md says how to make one. Float networks' outputs are compared with ONNX
Runtime's on this computer.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import click
import numpy as np
import onnx
import onnxruntime

from benchmarks.arm_peers import count_onnxruntime, count_tflite
from benchmarks.common import publish, table
from benchmarks.guest import Guest
from vdla import models
from vdla.deploy import Deployed, deploy
from vdla.models.layers import layer_model

TITLE = "ARM: instructions under emulation"
PLATFORMS = ("arm64", "armv7")
DOT_PRODUCT = "arm64:cortex-a76"
LAYERS = ("C2", "C6", "C9", "C12", *[f"D{i}" for i in range(1, 10)])
NETWORKS = (
    "resnet18",
    "resnet50",
    "mobilenet",
    "dqn",
    "dcgan",
    "lstm_lm",
    "transformer",
    "digits",
    "resnet_tiny",
    "mobile_tiny",
)
# Those of the kit's networks that are also made int8 here.
INTEGER = ("resnet18", "mobilenet", "digits", "resnet_tiny", "mobile_tiny")


def _shape(entry: onnx.ValueInfoProto) -> tuple[int, ...]:
    return tuple(dim.dim_value for dim in entry.type.tensor_type.shape.dim)


def feeds(name: str, model: onnx.ModelProto) -> list[np.ndarray]:
    """Inputs of a network of the kit: what it is calibrated on, or seeded numbers."""
    if name in models.CALIBRATION:
        sample = models.CALIBRATION[name]()[0]
        return [sample[entry.name] for entry in model.graph.input]
    rng = np.random.default_rng(0)
    return [rng.standard_normal(_shape(entry)).astype(np.float32) for entry in model.graph.input]


def _outputs(model: onnx.ModelProto) -> list[tuple[tuple[int, ...], str]]:
    return [(_shape(entry), "float32") for entry in model.graph.output]


def relative_error(model: onnx.ModelProto, deployed: Deployed, inputs: list[np.ndarray]) -> float:
    """The greatest difference of an output from ONNX Runtime's here, as a part of its greatest value."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [entry.name for entry in model.graph.input]
    expected = [np.asarray(array) for array in session.run(None, dict(zip(names, inputs, strict=True)))]
    got = Guest.of(deployed).run(inputs, _outputs(model))
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(got, expected, strict=True))


def macs(model: onnx.ModelProto) -> int:
    """Multiply-accumulates of the convolutions of a model all of whose outputs have their size: single layers."""
    weights = max((tuple(item.dims) for item in model.graph.initializer), key=len)
    return int(np.prod(weights[1:])) * int(np.prod(_shape(model.graph.output[0])))


def layers(folder: Path, names: tuple[str, ...], peer: Path | None) -> str:
    """A table of single layers."""
    rows = []
    for name in names:
        model = layer_model(name)
        work = macs(model)
        row: list[object] = [name, f"{work / 1e6:.1f}"]
        for platform in PLATFORMS:
            guest = Guest.of(deploy(model, folder / f"{name}.{platform}.so", platform=platform))
            ours = guest.instructions(feeds(name, model), _outputs(model))
            row += [f"{ours / 1e6:.2f}", f"{work / ours:.2f}"]
        if peer is not None:
            for counter in (count_onnxruntime, count_tflite):
                theirs = counter(model, folder, peer)
                row += [f"{theirs / 1e6:.2f}", f"{work / theirs:.2f}"]
        rows.append(row)
    header = ["layer", "M MACs"]
    for platform in PLATFORMS:
        header += [f"{platform}, M instructions", "MACs each"]
    if peer is not None:
        for name in ("ONNX Runtime", "TFLite with XNNPACK"):
            header += [f"{name} on arm64, M instructions", "MACs each"]
    return table(header, rows)


def networks(folder: Path, names: tuple[str, ...]) -> str:
    """A table of networks in float32 and int8: instructions, and what a library takes."""
    rows = []
    for name in names:
        model = models.MODELS[name]()
        inputs = feeds(name, model)
        for integer in (False, True) if name in INTEGER else (False,):
            for platform in (*PLATFORMS, DOT_PRODUCT) if integer else PLATFORMS:
                made = deploy(model, folder / f"{name}.{platform}.{integer}.so", platform=platform, integer=integer)
                rows.append(
                    [
                        name,
                        "int8" if integer else "float32",
                        platform,
                        f"{Guest.of(made).instructions(inputs, _outputs(model)) / 1e6:.2f}",
                        "" if integer else f"{relative_error(model, made, inputs):.1e}",
                        f"{made.file_bytes / 1024:.0f}",
                        f"{made.constant_bytes / 1024:.0f}",
                        f"{made.workspace_bytes / 1024:.0f}",
                        f"{made.wall_s:.1f}",
                    ]
                )
                made.path.unlink()
    sizes = [f"{what}, KiB" for what in ("library", "weights", "workspace")]
    return table(["network", "type", "platform", "M instructions", "relative error", *sizes, "build, s"], rows)


@click.command()
@click.option("--layers", "layer_names", default=",".join(LAYERS), show_default=True, help="Which layers.")
@click.option("--networks", "network_names", default="all", show_default=True, help="Which networks.")
@click.option("--peer", type=click.Path(path_type=Path, exists=True), help="A root for arm64 with ONNX Runtime.")
@click.option("--write", is_flag=True, help="Put the tables into RESULTS.md.")
def main(layer_names: str, network_names: str, peer: Path | None, write: bool) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts = [
            "Single layers (with a ReLU) in float32, from [N,C,H,W] to [N,C,H,W] (TFLite: [N,H,W,C]), compiled "
            "for Cortex-A53 and Cortex-A9. A vector instruction of either does at most 4 multiply-accumulates; more of "
            "them each than 4 is Winograd's doing. The peers' own counts hold what their Python interfaces cost, some "
            "0.1 M instructions a call.",
            layers(folder, tuple(filter(None, layer_names.split(","))), peer),
            "Networks of the kit as shared libraries; Cortex-A76 has the dot product of int8. The error is the "
            "greatest difference from ONNX Runtime's output on this computer, as a part of its greatest value.",
            networks(folder, NETWORKS if network_names == "all" else tuple(filter(None, network_names.split(",")))),
        ]
    publish(TITLE, "\n\n".join(parts), write=write)


if __name__ == "__main__":
    main()
