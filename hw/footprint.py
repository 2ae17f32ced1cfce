"""What an instruction touches: intervals of each buffer and of DRAM, checked against their bounds.

A compute instruction's footprint depends on its micro-ops.  They are known when a program is compiled, so
:class:`UopShadow` follows the program's micro-op loads, in program order, in an image of DRAM.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hw.errors import ProgramError
from hw.isa import (
    Alu,
    AluOp,
    AluSource,
    Buffer,
    Gemm,
    Instruction,
    Load,
    Requant,
    Store,
    Sync,
    Unit,
    encode,
    uop_columns,
)

if TYPE_CHECKING:
    from hw.config import Config

Interval = tuple[str, int, int]
"""(space, first byte, one past the last byte); space is uop, inp, wgt, aux, acc, out or dram."""

DRAM_BYTES = 1 << 32


class Footprint(NamedTuple):
    """Bounding byte intervals read and written."""

    reads: list[Interval]
    writes: list[Interval]


Bounds = dict[str, tuple[int, int]]
"""Least and greatest value of each micro-op field in a range of micro-ops."""


class UopShadow:
    """The micro-op buffer's contents as the program's loads leave them.

    ``dram`` (uint8[n]) is an image of DRAM whose first byte has address ``dram_base``; without one, micro-ops
    loaded from DRAM are unknown and the instructions that use them count as touching whole buffers.
    """

    def __init__(self, cfg: Config, dram: np.ndarray | None, dram_base: int = 0) -> None:
        self.cfg = cfg
        self._dram = dram
        self._base = dram_base
        self._bytes = np.zeros(cfg.uop_buffer, np.uint8)
        self._state = np.zeros(cfg.uop_depth, np.uint8)  # 0: never loaded, 1: unknown, 2: known
        self._columns = uop_columns(self._bytes[: cfg.uop_depth * cfg.uop_bytes], cfg)
        self._cache: dict[tuple[int, int], Bounds | None] = {}

    def load(self, instr: Load, index: int | None = None) -> None:
        """Follow a load into the micro-op buffer.

        Raises ProgramError when it reads outside the image.
        """
        known = instr.fill or self._dram is not None
        if known:
            for y in range(instr.y_size):
                for x in range(instr.x_size):
                    at = instr.sram + y * instr.y_sram + x * instr.x_sram
                    self._bytes[at : at + instr.seg] = self._source(instr, x, y, index)
        size = self.cfg.uop_bytes
        first = instr.sram // size
        end = -(-_sram_end(instr) // size)
        self._state[first:end] = 2 if known else 1
        for name, column in uop_columns(self._bytes[first * size : end * size], self.cfg).items():
            self._columns[name][first:end] = column
        self._cache.clear()

    def _source(self, instr: Load, x: int, y: int, index: int | None) -> np.ndarray | int:
        if instr.fill or self._dram is None:
            return instr.value
        start = instr.dram + y * instr.y_dram + x * instr.x_dram - self._base
        if start < 0 or start + instr.seg > self._dram.size:
            address = start + self._base
            raise ProgramError(
                f"micro-ops at DRAM {address:#x}..{address + instr.seg - 1:#x} are not in the image given"
                f" ({self._base:#x}..{self._base + self._dram.size - 1:#x})",
                index,
                "dram",
            )
        return self._dram[start : start + instr.seg]

    def bounds(self, begin: int, count: int, index: int | None = None) -> Bounds | None:
        """Least and greatest dst, src, wgt of micro-ops begin..begin+count-1; None if some are unknown.

        Raises ProgramError for a micro-op that no load has written.
        """
        key = (begin, count)
        if key not in self._cache:
            state = int(self._state[begin : begin + count].min())
            if state == 0:
                missing = begin + int(np.argmin(self._state[begin : begin + count]))
                raise ProgramError(f"micro-op {missing} is used, but no load has written it", index, "uop_begin")
            self._cache[key] = None if state == 1 else self._bounds(slice(begin, begin + count))
        return self._cache[key]

    def _bounds(self, rows: slice) -> Bounds:
        parts = {name: self._columns[name][rows] for name in ("dst", "src", "wgt")}
        return {name: (int(part.min()), int(part.max())) for name, part in parts.items()}


def footprint(instr: Instruction, cfg: Config, uops: UopShadow | None = None, index: int | None = None) -> Footprint:
    """Bounding intervals of what an instruction reads and writes, in bytes.

    ``uops`` holds the micro-op buffer as the instruction finds it; without it, whole buffers are assumed.
    Raises ProgramError (with ``index``, field and range) for anything outside its bounds.
    """
    if isinstance(instr, Load | Store):
        return _transfer(instr, cfg, index)
    if isinstance(instr, Sync):
        return Footprint([], [])
    if isinstance(instr, Gemm | Alu | Requant):
        return _compute(instr, cfg, uops, index)
    raise ProgramError(f"{type(instr).__name__} is not an instruction", index)


def check_flags(instr: Instruction, index: int | None = None) -> None:
    """Refuse token flags for a neighbour that does not exist.  Raises ProgramError."""
    side = {Unit.LOAD: "prev", Unit.STORE: "next"}.get(instr.UNIT)
    for word in ("pop", "push") if side else ():
        if getattr(instr, f"{word}_{side}"):
            where = "before load" if side == "prev" else "behind store"
            raise ProgramError(f"there is no unit {where}; it must be 0", index, f"{word}_{side}")


def check_ranges(
    program: Sequence[Instruction], cfg: Config, dram: np.ndarray | None = None, dram_base: int = 0
) -> None:
    """Refuse an illegal instruction: values that do not fit, addresses out of range, impossible flags.

    ``dram`` (uint8[n] from address ``dram_base``) must hold the program's micro-ops; without it, what depends on
    them is not checked.  Raises EncodeError or ProgramError with the instruction's index.
    """
    uops = UopShadow(cfg, dram, dram_base)
    for index, instr in enumerate(program):
        encode(instr, cfg)
        check_flags(instr, index)
        footprint(instr, cfg, uops, index)
        if isinstance(instr, Load) and instr.buffer == Buffer.UOP:
            uops.load(instr, index)


def _sram_end(instr: Load | Store) -> int:
    return instr.sram + (instr.y_size - 1) * instr.y_sram + (instr.x_size - 1) * instr.x_sram + instr.seg


def _transfer(instr: Load | Store, cfg: Config, index: int | None) -> Footprint:
    for name in ("seg", "x_size", "y_size"):
        if getattr(instr, name) < 1:
            raise ProgramError("is 0; it must be at least 1", index, name)
    space = instr.buffer.name.lower() if isinstance(instr, Load) else "out"
    size, end = getattr(cfg, f"{space}_buffer"), _sram_end(instr)
    if instr.sram < 0 or end > size:
        raise ProgramError(f"{space} bytes {instr.sram}..{end - 1} are outside 0..{size - 1}", index, "sram")
    inside = [(space, instr.sram, end)]
    if isinstance(instr, Load) and instr.fill:
        return Footprint([], inside)
    last = instr.dram + (instr.y_size - 1) * instr.y_dram + (instr.x_size - 1) * instr.x_dram + instr.seg
    if instr.dram < 0 or last > DRAM_BYTES:
        raise ProgramError(f"DRAM bytes {instr.dram:#x}..{last - 1:#x} are outside the 32-bit space", index, "dram")
    outside = [("dram", instr.dram, last)]
    return Footprint(outside, inside) if isinstance(instr, Load) else Footprint(inside, outside)


def _compute(instr: Gemm | Alu | Requant, cfg: Config, uops: UopShadow | None, index: int | None) -> Footprint:
    begin, count, outer, inner = instr.uop_begin, instr.uop_count, instr.iter_out - 1, instr.iter_in - 1
    for name, value in (("uop_count", count), ("iter_out", outer + 1), ("iter_in", inner + 1)):
        if value < 1:
            raise ProgramError("is 0; it must be at least 1", index, name)
    if begin + count > cfg.uop_depth:
        raise ProgramError(
            f"micro-ops {begin}..{begin + count - 1} are outside 0..{cfg.uop_depth - 1}", index, "uop_begin"
        )
    bounds = uops.bounds(begin, count, index) if uops is not None else None

    def vectors(space: str, operand: str, base: int, steps: tuple[int, int], extra: int = 0) -> Interval:
        depth, size = getattr(cfg, f"{space}_depth"), getattr(cfg, f"{space}_vector_bytes")
        low, high = bounds[operand] if bounds else (0, 0)
        last = base + high + outer * steps[0] + inner * steps[1] + extra
        if last >= depth or base < 0:
            field = "out_base" if space == "out" else f"{operand}_base"
            raise ProgramError(f"{space} vectors {base + low}..{last} are outside 0..{depth - 1}", index, field)
        return (space, (base + low) * size, (last + 1) * size) if bounds else (space, 0, depth * size)

    steps = (instr.dst_out, instr.dst_in)
    acc = vectors("acc", "dst", instr.dst_base, steps)
    reads, writes = [("uop", begin * cfg.uop_bytes, (begin + count) * cfg.uop_bytes), acc], [acc]
    if isinstance(instr, Gemm):
        reads.append(vectors("inp", "src", instr.src_base, (instr.src_out, instr.src_in)))
        reads.append(vectors("wgt", "wgt", instr.wgt_base, (instr.wgt_out, instr.wgt_in)))
        return Footprint(reads, writes)
    if instr.to_out:
        writes = [vectors("out", "dst", instr.out_base, steps)]
    if isinstance(instr, Requant):
        if instr.low > instr.high:
            raise ProgramError(f"{instr.low} is more than high = {instr.high}", index, "low")
        reads.append(vectors("aux", "src", instr.src_base, (0, 0), cfg.param_vectors - 1))
    elif instr.source != AluSource.IMM:
        space = instr.source.name.lower()
        reads.append(vectors(space, "src", instr.src_base, (instr.src_out, instr.src_in)))
    elif instr.op == AluOp.MULADD:
        raise ProgramError("MULADD takes its factor from imm, so its source must be ACC or AUX", index, "source")
    return Footprint(reads, writes)
