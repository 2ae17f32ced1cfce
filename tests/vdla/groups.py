"""Runs one fused group on the simulators and compares with the graph operators' numpy references."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compiler.graph.fuse import fuse
from compiler.graph.interpreter import evaluate
from compiler.graph.ir import Graph, Value
from compiler.graph.layout import pack, unpack
from hw.config import Config
from sim import cycle, functional
from vdla.target.layout import act_layout
from vdla.target.program import Layer, Program, write_program
from vdla.target.target import VdlaTarget


@dataclass
class GroupRun:
    """What a run of one group left: expected and simulated outputs (logical shape), the program and its cycles."""

    expected: np.ndarray
    functional: np.ndarray
    cycle: np.ndarray
    program: Program
    cycles: int


def run_groups(cfg: Config, graph: Graph, seed: int = 0, *, virtual_threads: bool = True) -> list[GroupRun]:
    """Compile and run every group of ``graph`` by itself, on the reference's own inputs."""
    target = VdlaTarget(cfg, virtual_threads=virtual_threads)
    rng = np.random.default_rng(seed)
    inputs = {v.name: rng.integers(-128, 128, v.shape).astype(np.int8) for v in graph.inputs}
    for node in graph.nodes:
        assert target.supports(node) is None, target.supports(node)
        node.target = target.name
    values = {**inputs, **evaluate(graph, inputs, keep=True)}
    out = []
    for group in fuse(graph):
        assert target.supports_group(group) is None, target.supports_group(group)
        compiled = target.compile(group)
        arena_at = 64
        dram: list[int] = []
        image = np.zeros(0, np.uint8)
        layout = act_layout(cfg)
        stored: np.ndarray | None = None
        for arg in compiled.args:
            if isinstance(arg, Value):
                data = values[arg.name]
                stored = data if data.ndim == 3 else pack(data, layout)
                if arg is group.output:
                    stored = np.zeros_like(stored)
            else:
                stored = arg
            raw = np.ascontiguousarray(stored).view(np.uint8).reshape(-1)
            end = arena_at + raw.size
            image = np.concatenate([image, np.zeros(end - image.size, np.uint8)])
            image[arena_at:end] = raw
            dram.append(arena_at)
            arena_at = -(-end // 64) * 64
        assert stored is not None
        layer = Layer(compiled.name, compiled.op, compiled.emitter, tuple(dram), compiled.macs, compiled.nodes)
        program = write_program(cfg, [layer], arena_at, arena_at)
        code_at = -(-(arena_at + program.uop_image.size) // 64) * 64
        memory = np.zeros(code_at + program.code.size + 64, np.uint8)
        memory[: image.size] = image
        memory[arena_at : arena_at + program.uop_image.size] = program.uop_image
        memory[code_at : code_at + program.code.size] = program.code

        def read(memory: np.ndarray, at: int = dram[-1], like: np.ndarray = stored, value: Value = group.output):
            return unpack(memory[at : at + like.size].view(np.int8).reshape(like.shape), value.shape, layout)

        golden, timed = memory.copy(), memory.copy()
        functional.run(golden, code_at, len(program.instructions), cfg)
        result = cycle.run(timed, code_at, len(program.instructions), cfg)
        expected = values[group.output.name]
        out.append(GroupRun(expected, read(golden), read(timed), program, result.cycles))
    return out
