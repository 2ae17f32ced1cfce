"""Runs one fused group on the simulators and compares with the graph operators' numpy references."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from compiler.graph.fuse import FusedGroup, fuse
from compiler.graph.interpreter import evaluate
from compiler.graph.ir import Graph, Value
from compiler.graph.layout import pack, unpack
from hw.config import Config
from hw.isa import Load, Store
from sim import cycle, functional
from vdla.target.layout import act_layout
from vdla.target.program import Layer, Program, write_program
from vdla.target.target import VdlaTarget


class Refused(Exception):
    """The target does not take a group; the message is its reason."""


@dataclass
class GroupRun:
    """What a run of one group left: expected and simulated outputs (logical shape), the program and its cycles."""

    expected: np.ndarray
    functional: np.ndarray
    cycle: np.ndarray
    program: Program
    cycles: int


def run_groups(cfg: Config, graph: Graph, seed: int = 0, *, virtual_threads: bool = True) -> list[GroupRun]:
    """Compile and run every group of ``graph`` by itself, on the reference's own inputs.  Raises Refused."""
    target = VdlaTarget(cfg, virtual_threads=virtual_threads)
    rng = np.random.default_rng(seed)
    inputs = {v.name: rng.integers(-128, 128, v.shape).astype(np.int8) for v in graph.inputs}
    for node in graph.nodes:
        reason = target.supports(node)
        if reason is not None:
            raise Refused(reason)
        node.target = target.name
    values = {**inputs, **evaluate(graph, inputs, keep=True)}
    return [run_group(target, group, values) for group in fuse(graph)]


def touched(p: Load | Store) -> tuple[int, int]:
    """First and last byte address in DRAM."""
    return p.dram, p.dram + (p.y_size - 1) * p.y_dram + (p.x_size - 1) * p.x_dram + p.seg - 1


def run_group(target: VdlaTarget, group: FusedGroup, values: Mapping[str, np.ndarray]) -> GroupRun:
    """Compile and run one group; ``values``: its inputs and its expected output by name, in logical shape."""
    cfg = target.cfg
    reason = target.supports_group(group)
    if reason is not None:
        raise Refused(reason)
    compiled = target.compile(group)
    end = 64
    dram: list[int] = []
    parts: list[tuple[int, np.ndarray]] = []
    layout = act_layout(cfg)
    stored = np.zeros(0, np.int8)
    for arg in compiled.args:
        if isinstance(arg, Value):
            data = values[arg.name]
            stored = data if data.ndim == 3 else pack(data, layout)
            if arg is group.output:
                stored = np.zeros_like(stored)
        else:
            stored = arg
        raw = np.ascontiguousarray(stored).view(np.uint8).reshape(-1)
        dram.append(end)
        parts.append((end, raw))
        end = -(-(end + raw.size) // 64) * 64
    layer = Layer(compiled.name, compiled.op, compiled.emitter, tuple(dram), compiled.macs, compiled.nodes)
    program = write_program(cfg, [layer], end, end)
    places = [(at, at + raw.size) for at, raw in parts] + [(end, end + program.uop_image.size)]
    for instruction in program.instructions:
        if isinstance(instruction, Store) or (isinstance(instruction, Load) and not instruction.fill):
            first, last = touched(instruction)
            held = places[-2:-1] if isinstance(instruction, Store) else places
            assert any(lo <= first and last < hi for lo, hi in held), f"{instruction} leaves the tensors {held}"
    code_at = -(-(end + program.uop_image.size) // 64) * 64
    parts += [(end, program.uop_image), (code_at, program.code)]
    memory = np.zeros(code_at + program.code.size + 64, np.uint8)
    for at, raw in parts:
        memory[at : at + raw.size] = raw
    golden, timed = memory.copy(), memory.copy()
    functional.run(golden, code_at, len(program.instructions), cfg)
    result = cycle.run(timed, code_at, len(program.instructions), cfg)
    output = slice(dram[-1], dram[-1] + stored.size)
    for name, after in (("functional", golden), ("cycle", timed)):
        changed = after != memory
        changed[output] = False
        assert not changed.any(), f"the {name} simulator wrote outside the output, at {np.flatnonzero(changed)[:4]}"

    def read(memory: np.ndarray) -> np.ndarray:
        return unpack(memory[output].view(np.int8).reshape(stored.shape), group.output.shape, layout)

    expected = values[group.output.name]
    return GroupRun(expected, read(golden), read(timed), program, result.cycles)
