"""One program from a sequence of layers: emission, order of the loads, tokens, proof.

The layers of a partition become a single instruction stream, so that the first loads of a layer run under the last
operations of the one before.  The stream is written sequentially; then loads are reordered
(:mod:`vdla.target.schedule_loads`), tokens are derived from what depends on what, and the result is proved free of
deadlock, leaked tokens and races (:mod:`hw.dependence`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hw.config import Config
from hw.dependence import insert_tokens_mapped, prove
from hw.isa import Instruction, encode_program
from vdla.target.emit import Emitter, capacity
from vdla.target.schedule_loads import find_conflicts, reorder
from vdla.target.stream import Stream


@dataclass(frozen=True)
class Layer:
    """One fused group to run: its analysed program and where its tensors lie.

    ``dram``: byte address of each argument of the program.  ``macs``: multiply-accumulates the model asks for.
    """

    name: str
    op: str
    emitter: Emitter
    dram: tuple[int, ...]
    macs: int
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True)
class LayerRange:
    """The instructions [begin, end) that run a layer (loads may stand earlier, under the layer before)."""

    layer: Layer
    begin: int
    end: int


@dataclass(frozen=True)
class Program:
    """A proved program: instructions with tokens, its encoding, its micro-op image, and which layer is where."""

    instructions: tuple[Instruction, ...]
    code: np.ndarray
    uop_image: np.ndarray
    ranges: tuple[LayerRange, ...]


def _start(cfg: Config, needs: dict[str, int], before: dict[str, tuple[int, int]]) -> dict[str, int]:
    """Where a layer's allocations begin in each scope: beside the previous layer's where there is room, so that its
    first loads need not wait for the previous layer's last operations."""
    start = {}
    for scope, need in needs.items():
        lo, hi = before.get(scope, (0, 0))
        have = capacity(cfg, scope)
        start[scope] = hi if hi + need <= have else 0
        before[scope] = (start[scope], start[scope] + need)
    return start


def write_program(cfg: Config, layers: Sequence[Layer], uop_base: int, dram_bytes: int) -> Program:
    """The program of ``layers``.

    Args:
        uop_base: byte address at which the micro-op image will lie.
        dram_bytes: size of the DRAM that the layers' tensors lie in.
    """
    stream = Stream(cfg, uop_base)
    before: dict[str, tuple[int, int]] = {}
    for index, layer in enumerate(layers):
        stream.layer = index
        layer.emitter.emit(stream, layer.dram, _start(cfg, layer.emitter.needs, before))
    sequential, image = stream.instructions, stream.uop_image()
    order = reorder(sequential, find_conflicts(sequential, cfg, image, uop_base, dram_bytes), cfg)
    ordered = [sequential[i] for i in order]
    owners = [stream.layers[i] for i in order]
    instructions, positions = insert_tokens_mapped(ordered, cfg, image, uop_base)
    code = encode_program(instructions, cfg)
    prove(instructions, cfg, image, uop_base, encoded=True)
    return Program(tuple(instructions), code, image, _ranges(layers, owners, positions))


def _ranges(layers: Sequence[Layer], owners: Sequence[int], positions: np.ndarray) -> tuple[LayerRange, ...]:
    """Consecutive ranges, each ending with its layer's last instruction; ``positions`` of the instructions of
    ``owners`` in the finished program."""
    ends = np.zeros(len(layers), np.int64)
    np.maximum.at(ends, np.asarray(owners), positions + 1)
    ends = np.maximum.accumulate(ends)
    begins = np.concatenate([[0], ends[:-1]])
    return tuple(LayerRange(layer, int(b), int(e)) for layer, b, e in zip(layers, begins, ends, strict=True))
