"""A network through the Python API: compile, simulate, change the machine, compare.

    python examples/run_network.py
    python examples/run_network.py --model resnet18
    python examples/run_network.py --model my.onnx --config ultra96

Takes an ONNX file or a built-in network, quantises it if it is not quantised yet, and prints for a row of machines how
many cycles an inference takes and why not fewer. Machines that differ in nothing but the memory share one artifact.
"""

from __future__ import annotations

import click
import numpy as np

import vdla


def image_for(artifact: vdla.Artifact) -> np.ndarray:
    """Seeded normal numbers for the model's first input."""
    spec = artifact.inputs[0]
    return np.random.default_rng(0).standard_normal(spec.shape).astype(spec.dtype)


def print_slowest(report: vdla.Report, count: int = 5) -> None:
    """The layers that took longest, and what kept their multipliers waiting."""
    layers = sorted(report.document["layers"], key=lambda layer: -(layer["cycles"] or 0))
    for layer in layers[:count]:
        cause, stalled = max(layer["stalls"].items(), key=lambda item: item[1], default=("", 0))
        print(
            f"    {layer['name']:24} {layer['cycles']:>10,} cycles, utilisation {layer['utilization']:6.1%}, "
            f"{cause} {stalled / layer['cycles']:.1%}"
        )


def print_line(name: str, report: vdla.Report, first: vdla.Report) -> None:
    """One machine: cycles, utilisation, time, and whether its outputs are those of the first machine."""
    assert report.cycles is not None and first.cycles is not None and report.utilization is not None
    same = all(np.array_equal(report.outputs[key], first.outputs[key]) for key in first.outputs)
    print(
        f"    {name:40} {report.cycles:>10,} cycles  {report.cycles / first.cycles:6.3f}  "
        f"utilisation {report.utilization:6.1%}  same bits: {same}"
    )


@click.command()
@click.option("--model", default="resnet_tiny", show_default=True, help="An ONNX file or a built-in network.")
@click.option("--config", default="pynq-z1", show_default=True, help="The machine: a board's name or a YAML file.")
def main(model: str, config: str) -> None:
    """Simulate MODEL on CONFIG and on variations of it."""
    machine = vdla.Config.load(config)

    # Ahead of time: the artifact holds programs, weights and the memory plan, and runs without the compiler.
    artifact = vdla.compile(model, config=machine)
    image = image_for(artifact)

    # One inference, to the cycle. report.outputs are numpy arrays, report.document is what report.json holds.
    first = vdla.simulate(artifact, image)
    print(f"{artifact.model} on {machine.name}; the slowest layers:")
    print_slowest(first)
    print("\nvariations, cycles relative to the first line:")
    print_line("as it is", first, first)

    # Another machine is another compilation; the schedules follow the parameters.
    halved = {f"{name}_buffer": getattr(machine, f"{name}_buffer") // 2 for name in ("inp", "wgt", "acc", "out", "aux")}
    variations = {
        "without virtual threads": (machine, False),
        "block_out doubled": (machine.with_(block_out=2 * machine.block_out), True),
        "bus twice as wide": (machine.with_(bus_bits=2 * machine.bus_bits), True),
        "buffers halved": (machine.with_(**halved), True),
    }
    for name, (changed, threads) in variations.items():
        other = vdla.compile(model, config=changed, virtual_threads=threads)
        print_line(name, vdla.simulate(other, image), first)

    # The memory is not part of the machine: the same artifact, in another environment.
    slow = machine.override([f"memory.read_latency={4 * machine.memory.read_latency}"])
    print_line("memory of four times the latency", vdla.simulate(artifact, image, config=slow), first)


if __name__ == "__main__":
    main()
