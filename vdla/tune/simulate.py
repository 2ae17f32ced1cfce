"""Measuring an operator by the cycle simulator: a program of that one layer, run on a memory of zeros.

Cycles do not depend on the data, so they are exact and never need a second measurement.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compiler.lower import PassContext, lower
from compiler.tune.measure import Cost
from hw.config import Config
from sim import cycle
from vdla.target.emit import Emitter
from vdla.target.program import Layer, Program, write_program
from vdla.tune.templates import AnyTile, Spec, build, workload

_ALIGNMENT = 64
_UNVERIFIED = PassContext(verify=False)
"""The IR of known templates is not verified again for every tile: a fifth of the time of lowering."""


@dataclass(frozen=True)
class LayerProgram:
    """The program of one operator, its memory image, and the schedule it came from as Python."""

    program: Program
    memory: np.ndarray
    address: int
    trace: str


def layer_program(cfg: Config, spec: Spec, tile: AnyTile) -> LayerProgram:
    """Compile one operator with a tile, its tensors one after the other in DRAM.

    Raises VdlaError or CompileError when the tile has no program.
    """
    schedule, args = build(cfg, spec, tile)
    func = lower(schedule, args, "layer", context=_UNVERIFIED)
    end, dram = _ALIGNMENT, []
    for buffer in func.params:
        dram.append(end)
        end = _aligned(end + buffer.nbytes)
    layer = Layer("layer", "layer", Emitter(func, cfg), tuple(dram), 0)
    program = write_program(cfg, [layer], end, end)
    address = _aligned(end + program.uop_image.size)
    memory = np.zeros(_aligned(address + program.code.size), np.uint8)
    memory[end : end + program.uop_image.size] = program.uop_image
    memory[address : address + program.code.size] = program.code
    return LayerProgram(program, memory, address, schedule.trace())


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


@dataclass(frozen=True)
class CycleCost:
    """The measure function: a job is an operator and a tile; its cost is in cycles."""

    cfg: Config

    def __call__(self, job: tuple[Spec, AnyTile]) -> Cost:
        spec, tile = job
        layer = layer_program(self.cfg, spec, tile)
        result = cycle.run(layer.memory, layer.address, len(layer.program.instructions), self.cfg)
        return Cost(float(result.cycles), f"# {workload(spec)}\n{layer.trace}")
