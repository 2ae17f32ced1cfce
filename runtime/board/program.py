"""Encoded programs as the driver needs them: moved to where the arena lies, and which bytes of DRAM they touch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from hw.config import Config
from hw.isa import OPCODE_BITS, Opcode, fields
from hw.words import put_bits, rows_of, take_bits
from runtime.artifact import ALIGNMENT, Artifact, VdlaStep

Spans = tuple[tuple[int, int], ...]
"""Byte ranges [begin, end), ascending, apart from each other."""


@dataclass(frozen=True)
class Copies:
    """A program's copies from or to DRAM, in program order: instruction's index, first byte, end, bytes copied.

    Arrays of int64[copies]. The bytes between first and end need not all be touched (strides).
    """

    index: np.ndarray
    first: np.ndarray
    end: np.ndarray
    copied: np.ndarray

    def spans(self) -> Spans:
        """What is touched, in whole cache lines."""
        begin, end = self.first // ALIGNMENT * ALIGNMENT, -(-self.end // ALIGNMENT) * ALIGNMENT
        return joined(tuple(zip(begin.tolist(), end.tolist(), strict=True)))


def joined(spans: Spans) -> Spans:
    """The same bytes in the fewest spans."""
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return tuple(merged)


def copies(program: np.ndarray, opcode: Opcode, cfg: Config) -> Copies:
    """The LOADs (those that read DRAM) or STOREs of an encoded program (uint8)."""
    words = rows_of(program, cfg)
    index = _copying(words, opcode, cfg)
    layout = {field.name: field for field in fields(opcode, cfg)}

    def column(name: str) -> np.ndarray:
        return take_bits(words[index], layout[name].offset, layout[name].width)

    first, seg, x_size, y_size = (column(name) for name in ("dram", "seg", "x_size", "y_size"))
    end = first + (y_size - 1) * column("y_dram") + (x_size - 1) * column("x_dram") + seg
    return Copies(index, first, end, seg * x_size * y_size)


def relocated(artifact: Artifact, base: int) -> Artifact:
    """The artifact for an arena that the machine sees from address `base` on; its own offsets stay as they are.

    Only the addresses inside programs change. They must stay below 2**32.
    """
    segments = tuple(dataclasses.replace(segment, data=segment.data.copy()) for segment in artifact.segments)
    moved = dataclasses.replace(artifact, segments=segments)
    programs = {(step.program_addr, step.n_instr): step for step in moved.steps if isinstance(step, VdlaStep)}
    for step in programs.values():
        program = moved.program(step)
        words = rows_of(program.copy(), artifact.config)
        for opcode in (Opcode.LOAD, Opcode.STORE):
            index = _copying(words, opcode, artifact.config)
            field = next(f for f in fields(opcode, artifact.config) if f.name == "dram")
            rows = words[index]
            put_bits(rows, field.offset, field.width, take_bits(rows, field.offset, field.width) + base)
            words[index] = rows
        program[:] = words.view(np.uint8).reshape(-1)
    return moved


def _copying(words: np.ndarray, opcode: Opcode, cfg: Config) -> np.ndarray:
    """Which instructions of this opcode touch DRAM."""
    touches = take_bits(words, 0, OPCODE_BITS) == opcode
    for field in fields(opcode, cfg):
        if field.name == "fill":
            touches &= take_bits(words, field.offset, field.width) == 0
    return np.flatnonzero(touches)
