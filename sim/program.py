"""Decoding of a whole program into one table, and the checks that need no execution.

The table has one row of 64-bit integers an instruction and one column a field (`F`): numpy decodes and checks
thousands of instructions at once, and the kernels read their fields from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from hw import isa
from hw.config import Config
from hw.errors import ProgramError
from hw.isa import AluOp, AluSource, Buffer, Opcode
from hw.words import rows_of, take_bits

ADDRESS_SPACE = 1 << 32
"""Bytes that the machine's 32-bit addresses reach."""


class F(IntEnum):
    """Columns of the table, named after the instructions' fields; a field that an instruction lacks is 0."""

    OPCODE = 0
    POP_PREV = 1
    POP_NEXT = 2
    PUSH_PREV = 3
    PUSH_NEXT = 4
    BUFFER = 5
    FILL = 6
    VALUE = 7
    DRAM = 8
    SRAM = 9
    SEG = 10
    X_SIZE = 11
    X_DRAM = 12
    X_SRAM = 13
    Y_SIZE = 14
    Y_DRAM = 15
    Y_SRAM = 16
    OP = 17
    SOURCE = 18
    TO_OUT = 19
    IMM = 20
    SHIFT = 21
    UOP_BEGIN = 22
    UOP_COUNT = 23
    ITER_OUT = 24
    ITER_IN = 25
    DST_BASE = 26
    SRC_BASE = 27
    WGT_BASE = 28
    OUT_BASE = 29
    DST_OUT = 30
    DST_IN = 31
    SRC_OUT = 32
    SRC_IN = 33
    WGT_OUT = 34
    WGT_IN = 35
    ZERO_POINT = 36
    LOW = 37
    HIGH = 38
    UNIT = 39
    """hw.isa.Unit: 0 load, 1 compute, 2 store."""
    ROW = 40
    """Length of a row."""


_LOOPS = (F.SEG, F.X_SIZE, F.Y_SIZE)
_ITERATIONS = (F.UOP_COUNT, F.ITER_OUT, F.ITER_IN)
_COMPUTE = (Opcode.GEMM, Opcode.ALU, Opcode.REQUANT)


@dataclass(frozen=True)
class Program:
    """A decoded program. `table` is int64[n, F.ROW], C-contiguous; `address` is where it lies in DRAM."""

    table: np.ndarray
    address: int
    cfg: Config

    def __len__(self) -> int:
        return self.table.shape[0]

    def column(self, field: F) -> np.ndarray:
        """One field of all instructions, int64[n]."""
        return self.table[:, field]

    @property
    def flat(self) -> np.ndarray:
        """The table as the kernels take it, int64[n * F.ROW] (a view)."""
        return self.table.reshape(-1)


def decode(memory: np.ndarray, address: int, count: int, cfg: Config) -> Program:
    """The `count` instructions at byte `address` of the DRAM image `memory` (uint8), decoded and checked.

    Raises ProgramError, naming the first bad instruction, its field and the legal range, for: a program outside the
    memory or not aligned to the larger of instruction and bus word, an unknown opcode or operation, stray bits, a size
    of 0, a token flag for a neighbour that the unit lacks, MULADD with an immediate source, bounds of REQUANT in the
    wrong order, a copy that leaves its buffer or the memory. (Indices that depend on micro-ops are checked when the
    instruction executes.)
    """
    check_memory(memory)
    size = cfg.instruction_bytes
    if count < 0:
        raise ProgramError(f"{count} instructions; a program has 0 or more")
    alignment = max(size, cfg.bus_bytes)
    if address % alignment:
        legal = f"try {address // alignment * alignment:#x}"
        raise ProgramError(f"program address {address:#x} is not a multiple of {alignment} bytes; {legal}")
    if address < 0 or address + count * size > memory.size:
        end = address + count * size
        raise ProgramError(f"program at {address:#x}..{end:#x} leaves the memory of {memory.size:#x} bytes")
    words = rows_of(memory[address : address + count * size], cfg)
    table = np.zeros((count, F.ROW), np.int64)
    opcodes = (words[:, 0] & np.uint64((1 << isa.OPCODE_BITS) - 1)).astype(np.int64)
    table[:, F.OPCODE] = opcodes
    bad = ~np.isin(opcodes, [int(o) for o in Opcode])
    for opcode in Opcode:
        rows = np.flatnonzero(opcodes == opcode)
        if rows.size:
            layout = isa.fields(opcode, cfg)
            selected = words[rows]
            for field in layout[1:]:
                values = take_bits(selected, field.offset, field.width)
                if field.signed:
                    values -= (values >> (field.width - 1)) << field.width
                if field.kind is not None and field.kind is not bool:
                    bad[rows[~np.isin(values, _members(field.kind))]] = True
                table[rows, F[field.name.upper()]] = values
            table[rows, F.UNIT] = isa.BY_OPCODE[opcode].UNIT
            used = layout[-1].offset + layout[-1].width
            bad[rows[_stray(selected, used)]] = True
    if bad.any():
        # The declaration's own decoder words the complaint.
        isa.decode_program(memory[address : address + (int(np.argmax(bad)) + 1) * size], cfg)
    program = Program(table, address, cfg)
    _check(program, memory.size)
    return program


def check_memory(memory: np.ndarray) -> None:
    """Raises ProgramError unless `memory` is a writable, contiguous one-dimensional uint8 array of at most 4 GiB."""
    if not isinstance(memory, np.ndarray) or memory.dtype != np.uint8 or memory.ndim != 1:
        raise ProgramError("the memory image must be a one-dimensional numpy array of uint8")
    if not (memory.flags.c_contiguous and memory.flags.writeable):
        raise ProgramError("the memory image must be contiguous and writable")
    if memory.size > ADDRESS_SPACE:
        raise ProgramError(f"the memory image has {memory.size} bytes; 32-bit addresses reach {ADDRESS_SPACE}")


def _members(kind: Any) -> list[int]:
    """The legal values of an enumerated field."""
    return [int(member) for member in kind]


def _stray(words: np.ndarray, used: int) -> np.ndarray:
    """Which rows have a bit set at or beyond `used`."""
    word, shift = divmod(used, 64)
    if word >= words.shape[1]:
        return np.zeros(words.shape[0], bool)
    stray = (words[:, word] >> np.uint64(shift)) != 0
    return stray | (words[:, word + 1 :] != 0).any(axis=1)


def _check(program: Program, memory_bytes: int) -> None:
    """The checks of `decode` that concern values; the first bad instruction is reported."""
    table, cfg = program.table, program.cfg
    opcode = table[:, F.OPCODE]
    found: list[tuple[int, str, str]] = []

    def refuse(bad: np.ndarray, field: str, reason: Callable[[int], str]) -> None:
        if bad.any():
            index = int(np.argmax(bad))
            found.append((index, field, reason(index)))

    load, store, compute = opcode == Opcode.LOAD, opcode == Opcode.STORE, np.isin(opcode, _COMPUTE)
    for field in _LOOPS:
        refuse((load | store) & (table[:, field] < 1), field.name.lower(), lambda _: "is 0; it must be at least 1")
    for field in _ITERATIONS:
        refuse(compute & (table[:, field] < 1), field.name.lower(), lambda _: "is 0; it must be at least 1")
    for mask, unit, flags, side in (
        (load, "load", (F.POP_PREV, F.PUSH_PREV), "previous"),
        (store, "store", (F.POP_NEXT, F.PUSH_NEXT), "next"),
    ):
        for field in flags:
            text = f"is set, but the {unit} unit has no {side} neighbour; it must be 0"
            refuse(mask & (table[:, field] != 0), field.name.lower(), lambda _, text=text: text)
    immediate = (opcode == Opcode.ALU) & (table[:, F.OP] == AluOp.MULADD) & (table[:, F.SOURCE] == AluSource.IMM)
    refuse(immediate, "source", lambda _: "MULADD takes its operand from acc or aux, not imm")
    crossed = (opcode == Opcode.REQUANT) & (table[:, F.LOW] > table[:, F.HIGH])
    refuse(crossed, "low", lambda i: f"{table[i, F.LOW]} is more than high = {table[i, F.HIGH]}")

    steps_x, steps_y = table[:, F.X_SIZE] - 1, table[:, F.Y_SIZE] - 1
    sram_end = table[:, F.SRAM] + steps_x * table[:, F.X_SRAM] + steps_y * table[:, F.Y_SRAM] + table[:, F.SEG]
    dram_end = table[:, F.DRAM] + steps_x * table[:, F.X_DRAM] + steps_y * table[:, F.Y_DRAM] + table[:, F.SEG]
    for buffer in Buffer:
        name = buffer.name.lower()
        size = getattr(cfg, f"{name}_buffer")
        bad = load & (table[:, F.BUFFER] == buffer) & (sram_end > size)
        refuse(bad, "sram", lambda i, n=name, s=size: f"writes up to byte {sram_end[i]} of the {n} buffer of {s} bytes")
    size = cfg.out_buffer
    refuse(
        store & (sram_end > size), "sram", lambda i: f"reads up to byte {sram_end[i]} of the out buffer of {size} bytes"
    )
    touches = store | (load & (table[:, F.FILL] == 0))
    refuse(
        touches & (dram_end > memory_bytes),
        "dram",
        lambda i: f"reaches up to byte {dram_end[i]:#x} of a memory of {memory_bytes:#x} bytes",
    )
    if found:
        index, field, reason = min(found, key=lambda f: f[0])
        raise ProgramError(reason, index, field)
