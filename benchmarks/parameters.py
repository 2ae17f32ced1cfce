"""ResNet-18 on other machines, changed by ``--set`` alone: ``python -m benchmarks.parameters``.

Quantisation does not depend on the machine, so the logits' bits must be the same on all of them; a machine that a
layer does not fit is refused with the reason, which the table shows. Machines with batch > 1 run one image (the other
rows idle) and as many images as they have rows; the latter are compared with as many images on the base machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import click
import numpy as np

import vdla
from benchmarks.common import Stopwatch, percent, publish, table
from compiler.errors import CompileError
from hw.config import Config
from hw.errors import VdlaError
from vdla.models import MODELS

BUFFERS = ("uop_buffer", "inp_buffer", "wgt_buffer", "acc_buffer", "out_buffer", "aux_buffer")


@dataclass(frozen=True)
class Machine:
    """A row of the table: its name, the settings that make it, the images that it runs."""

    name: str
    settings: tuple[str, ...]
    images: int = 1


def scaled_buffers(base: Config, factor: float) -> tuple[str, ...]:
    """Settings that scale every buffer."""
    return tuple(f"vdla.{name}={int(getattr(base, name) * factor)}" for name in BUFFERS)


def machines(base: Config) -> list[Machine]:
    """The base machine first, then the variations."""
    blocks = [
        Machine(f"{i}x{o} (in x out)", (f"vdla.block_in={i}", f"vdla.block_out={o}"))
        for i, o in ((8, 8), (16, 32), (32, 16), (32, 32))
    ]
    unchanged = f"{base.block_in}x{base.block_out} (base)"
    batches: list[Machine] = []
    for n in (2, 4):
        batches += [
            Machine(f"batch {n}", (f"vdla.batch={n}",)),
            Machine(f"{unchanged}, {n} images", (), n),
            Machine(f"batch {n}, {n} images", (f"vdla.batch={n}",), n),
        ]
    return [
        Machine(unchanged, ()),
        *blocks,
        Machine("buffers halved", scaled_buffers(base, 0.5)),
        Machine("buffers doubled", scaled_buffers(base, 2)),
        *(Machine(f"{bits}-bit bus", (f"vdla.bus_bits={bits}",)) for bits in (32, 128)),
        *batches,
    ]


def run(model: str, machine: Machine, base: Config) -> tuple[list[str], np.ndarray | None]:
    """Cells of the table's row, and the logits; None when the machine is refused."""
    network = MODELS[model](batch=machine.images)
    shape = [extent.dim_value for extent in network.graph.input[0].type.tensor_type.shape.dim]
    images = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    watch = Stopwatch()
    try:
        with watch:
            config = base.override(machine.settings)
            artifact = vdla.compile(network, config=config)
        report = vdla.simulate(artifact, images, sim="cycle")
    except (VdlaError, CompileError) as error:
        return [f"refused: {error}", "", "", "", "", ""], None
    totals = report.document["totals"]
    stalls = {cause: count for cause, count in totals["stalls"].items() if count}
    cause = max(stalls, key=lambda name: stalls[name], default="")
    cells = [
        f"{totals['cycles']:,}",
        f"{totals['mac_floor_cycles']:,}",
        percent(totals["utilization"]),
        f"{cause} {percent(stalls[cause] / totals['cycles'])}" if cause else "",
        f"{watch.seconds:.1f}",
        f"{totals['wall_s']:.1f}",
    ]
    return cells, report.outputs["y"]


@click.command()
@click.option("--model", type=click.Choice(list(MODELS)), default="resnet18", show_default=True)
@click.option("--config", "config_name", default="pynq-z1", show_default=True)
@click.option("--write", is_flag=True, help="Put the section into RESULTS.md.")
def main(model: str, config_name: str, write: bool) -> None:
    """The same network on machines changed by --set alone: cycles, and whether the bits agree."""
    base = Config.load(config_name)
    rows: list[list[str]] = []
    references: dict[int, np.ndarray] = {}
    for machine in machines(base):
        cells, logits = run(model, machine, base)
        if logits is None:
            same = ""
        elif not machine.settings:
            references[machine.images], same = logits, "reference"
        elif machine.images not in references:
            same = "nothing to compare with"
        else:
            same = "same" if np.array_equal(logits, references[machine.images]) else "DIFFERENT"
        rows.append([machine.name, *cells, same])
        click.echo(" | ".join(rows[-1]), err=True)
    header = ["machine", "cycles", "floor", "utilisation", "main stall", "compile s", "simulate s", "logits"]
    text = (
        f"`{model}` on {base.name} and on variations of it. Cycles and floor (every multiplier busy in every cycle) "
        "are of all images together; logits: bit for bit against the base machine's for as many images."
    )
    publish(f"Parameters: {model} on variations of {base.name}", f"{text}\n\n{table(header, rows)}", write=write)


if __name__ == "__main__":
    main()
