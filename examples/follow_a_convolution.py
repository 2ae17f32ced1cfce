"""One convolution on its way through the compiler: what it looks like after each stage.

    python examples/follow_a_convolution.py [--config tiny]

The stages are the lines of `vdla.driver.compile_model`, called one by one; docs/architecture.md explains them.
"""

from __future__ import annotations

import click
import onnx

import vdla
from compiler.backend.cpu import CpuTarget
from compiler.frontend.onnx_import import from_onnx
from compiler.graph.partition import fuse_on_targets, partition
from compiler.graph.pass_manager import PassManager
from compiler.graph.passes.layout import insert_layout_transforms
from compiler.graph.pipeline import to_integer
from compiler.graph.printer import format_graph
from compiler.lower import PassContext, lower
from runtime.artifact import VdlaStep
from vdla.models.builder import ModelBuilder
from vdla.target.ops import conv2d
from vdla.target.ops.common import Requantization
from vdla.target.target import VdlaTarget


def model() -> onnx.ModelProto:
    """A 3x3 convolution of 8 into 8 channels on 16 x 16 pixels, and a rectifier."""
    b = ModelBuilder("one_convolution", seed=0)
    b.relu(b.conv(b.input("x"), "conv", (8, 8), 3), "y")
    return b.model({"x": (1, 8, 16, 16)}, {"y": (1, 8, 16, 16)})


def heading(text: str) -> None:
    print(f"\n=== {text}\n")


@click.command()
@click.option("--config", default="tiny", show_default=True, help="The machine: a board's name or a YAML file.")
def main(config: str) -> None:
    """Print the convolution after every stage of the compiler."""
    cfg = vdla.Config.load(config)
    network = model()
    heading("ONNX")
    for node in network.graph.node:
        print(f"{', '.join(node.output)} = {node.op_type}({', '.join(node.input)})")

    heading("graph, imported (compiler.frontend)")
    graph = from_onnx(network)
    print(format_graph(graph))

    heading("graph, integer: calibrated, quantised (compiler.graph.passes)")
    graph, _ = to_integer(graph)
    target, host = VdlaTarget(cfg), CpuTarget()
    graph = PassManager(list(target.graph_passes())).run(graph)
    print(format_graph(graph))

    heading("graph, every node on a target, layouts converted between them (compiler.graph)")
    partition(graph, [target, host])
    graph = insert_layout_transforms(graph, {"vdla": target, "cpu": host}, transform_target="cpu")
    print(format_graph(graph))
    groups = fuse_on_targets(graph, [target, host])
    for group in groups:
        print(f"group on {group.target}: {' + '.join(node.op for node in group.nodes)}")

    heading("tensor expressions and schedule of the convolution's group (vdla.target.ops)")
    conv, requantize = next(g for g in groups if g.target == "vdla").nodes
    quant = Requantization(requantize.attrs["zero_point"], requantize.attrs["low"], requantize.attrs["high"])
    spec = conv2d.ConvSpec(
        n=1, ic=8, h=16, w=16, oc=8, kh=3, kw=3, strides=(1, 1), pads=(1, 1, 1, 1),
        pad_value=conv.attrs["pad_value"], quant=quant,
    )  # fmt: skip
    tile = conv2d.choose_tile(cfg, spec)
    schedule, args = conv2d.build(cfg, spec, tile)
    print(f"{tile}\n")
    schedule.show()

    heading("the same as runnable Python (Schedule.trace)")
    print(schedule.trace())

    heading("lowered: virtual threads interleaved, buffers flat (compiler.lower)")
    context = PassContext()
    print(lower(schedule, args, "conv", context=context))
    print("passes:", ", ".join(context.timings))

    heading("instructions with their tokens (vdla.target.program)")
    artifact = vdla.compile(network, config=cfg)
    step = next(s for s in artifact.steps if isinstance(s, VdlaStep))
    print(artifact.disassembly(step))


if __name__ == "__main__":
    main()
