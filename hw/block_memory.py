"""Which memories of an FPGA a memory of the machine becomes: yosys' rule for 7-series parts, the cheapest wins."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

LUTS_OF_RAM = 4
"""LUTs of a RAM32M or RAM64M."""
_RAM_COST, _HALF_COST, _FULL_COST = 8, 129, 257
_RAM_SHAPES = ((32, 6), (64, 3))
"""Rows and bits of a RAM32M and a RAM64M."""
_HALF_BITS = 1 << 14
_BLOCK_WIDTHS = (1, 2, 4, 9, 18, 36)
"""Widths of a RAMB18, with the parity bits; of its 16 Kibit of data, each width has the rows that it allows. A RAMB36
has twice the rows, and 72 bits."""
_BYTE = 8


@dataclass(frozen=True)
class MemoryShape:
    """A memory with a write and a read port.

    Attributes:
        width, depth: bits of a word, words.
        bytewise: whether single bytes are written; a block RAM then has no use for its ninth bits.
        clocked: whether the read port has a register; only then can it be block RAM.
        copies: so many of them.
    """

    width: int
    depth: int
    bytewise: bool = False
    clocked: bool = True
    copies: int = 1


@dataclass(frozen=True)
class MappedMemory:
    """What it becomes: LUTs as RAM, flip-flops of the read port, block RAMs (a RAMB18 is a half)."""

    lut: int
    ff: int
    bram: float


def map_memory(shape: MemoryShape) -> MappedMemory:
    """What the memory becomes on a 7-series or UltraScale+ part."""
    rams = min(_lut_rams(shape, rows, bits) for rows, bits in _RAM_SHAPES)
    as_rams = MappedMemory(LUTS_OF_RAM * rams, shape.width * shape.clocked, 0)
    choices = [(_RAM_COST * rams, as_rams)]
    if shape.clocked:
        for half, width in product((True, False), (*_BLOCK_WIDTHS, 72)):
            if half and width == 72:
                continue
            rows = (_HALF_BITS if half else 2 * _HALF_BITS) // (width * _BYTE // 9 if width >= 9 else width)
            count = -(-shape.depth // rows) * _blocks_across(shape, width)
            cost = count * (_HALF_COST if half else _FULL_COST)
            choices.append((cost, MappedMemory(0, 0, count / 2 if half else count)))
    best = min(choices, key=lambda choice: choice[0])[1]
    return MappedMemory(best.lut * shape.copies, best.ff * shape.copies, best.bram * shape.copies)


def _lut_rams(shape: MemoryShape, rows: int, bits: int) -> int:
    lanes, width = (shape.width // _BYTE, _BYTE) if shape.bytewise else (1, shape.width)
    return -(-shape.depth // rows) * lanes * -(-width // bits)


def _blocks_across(shape: MemoryShape, width: int) -> int:
    if not shape.bytewise:
        return -(-shape.width // width)
    lanes = shape.width // _BYTE
    return -(-lanes // (width // 9)) if width >= 9 else lanes * (_BYTE // width)
