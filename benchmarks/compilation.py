"""What compiling for this computer's processor gives and costs: ``python -m benchmarks.compilation``.

Two sections of RESULTS.md: the static memory plan against the sum of all tensors, which does not depend on the machine,
and seconds of compilation, with nothing compiled before and again ("--times").
"""

from __future__ import annotations

import os
import tempfile
from typing import Any

import click

import vdla
from benchmarks.common import Stopwatch, publish, table
from compiler.backend.llvm.cache import VARIABLE
from vdla import models

MEMORY = "Static memory plans on the CPU"
TIMES = "Compilation time on the CPU"
NETWORKS = ("resnet18", "resnet50", "mobilenet", "dqn", "dcgan", "lstm_lm", "transformer")


def memory(names: tuple[str, ...]) -> str:
    """A table of peaks and sums."""
    rows = []
    for name in names:
        for integer in (False, True):
            plan: Any = vdla.compile(name, target="cpu", integer=integer).info["memory"]
            peak, total = plan["activations_peak"], plan["activations_sum"]
            rows.append(
                [
                    name,
                    "int8" if integer else "float32",
                    f"{total / 1024:.0f}",
                    f"{peak / 1024:.0f}",
                    f"{total / peak:.1f}",
                ]
            )
    return table(["network", "type", "all tensors, KiB", "planned, KiB", "times less"], rows)


def times(names: tuple[str, ...]) -> str:
    """A table of seconds, without and with the objects of an earlier compilation."""
    vdla.compile("mlp", target="cpu")  # imports
    rows = []
    before = os.environ.get(VARIABLE)
    try:
        for name in names:
            model = models.MODELS[name]()
            with tempfile.TemporaryDirectory() as folder:
                os.environ[VARIABLE] = folder
                seconds = []
                for _ in range(2):
                    with Stopwatch() as watch:
                        artifact = vdla.compile(model, target="cpu")
                    seconds.append(f"{watch.seconds:.1f}")
            rows.append([name, len(artifact.steps), *seconds])
    finally:
        if before is None:
            os.environ.pop(VARIABLE, None)
        else:
            os.environ[VARIABLE] = before
    return table(["network", "kernels called", "at first, s", "again, s"], rows)


@click.command()
@click.option("--networks", "chosen", default=",".join(NETWORKS), show_default=True, help="Which networks.")
@click.option("--times/--memory", "timed", default=False, show_default=True, help="Seconds, or bytes.")
@click.option("--write", is_flag=True, help="Put the table into RESULTS.md.")
def main(chosen: str, timed: bool, write: bool) -> None:
    """Measure and print."""
    names = tuple(filter(None, chosen.split(",")))
    if timed:
        text = (
            "Float networks from ONNX to an artifact that is ready to run, on one thread; a second time LLVM's objects "
        )
        publish(TIMES, f"{text}are taken from the cache.\n\n{times(names)}", write=write)
    else:
        text = "Inputs, outputs, values between kernels and what kernels need while they run; weights are not in it. "
        publish(
            MEMORY,
            f"{text}The plan lets values that are never there together share memory.\n\n{memory(names)}",
            write=write,
        )


if __name__ == "__main__":
    main()
