"""The control registers, declared once: offsets, access, meaning.  Software and the RTL both read this table."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final, NamedTuple

from hw.timing import CAUSES


class Register(NamedTuple):
    """A 32-bit register: byte offset, whether software may write it, meaning."""

    name: str
    offset: int
    writable: bool
    doc: str


class Control(IntFlag):
    """Bits of CONTROL, which do something when written as 1; it reads as 0."""

    START = 1
    RESET = 2


class Status(IntFlag):
    """Bits of STATUS.  DONE and ERROR stay until the next start, or until written as 1."""

    BUSY = 1
    DONE = 2
    ERROR = 4


class Error(IntEnum):
    """ERROR register: the first thing that went wrong."""

    NONE = 0
    READ = 1
    WRITE = 2
    INSTRUCTION = 3
    PROGRAM = 4


MEANING: Final[dict[type[IntEnum] | type[IntFlag], tuple[str, ...]]] = {
    Control: ("run the program; nothing happens while BUSY", "abandon the program that runs"),
    Status: (
        "a program runs, or is being abandoned",
        "the last program has run to its end",
        "the last program has been abandoned for the reason in ERROR",
    ),
    Error: (
        "nothing",
        "an error response to a read burst",
        "an error response to a write burst",
        "an unknown opcode or code, a flag for a missing neighbour, a count of 0, MULADD of an immediate, bounds of "
        "REQUANT in the wrong order, a bit beyond the fields",
        "a program at an unaligned address, or one that passes the end of the address space",
    ),
}
"""What the bits and codes say, in their order."""

_PLAIN: Final = (
    ("CONTROL", True, "write START to run the program, RESET to abandon it"),
    ("STATUS", True, "BUSY, DONE, ERROR; write DONE or ERROR to clear it"),
    ("INTERRUPT_ENABLE", True, "bit 0: raise the interrupt while DONE or ERROR is set"),
    ("PROGRAM_ADDRESS", True, "byte address of the program, a multiple of the bus word and of the instruction"),
    ("PROGRAM_LENGTH", True, "instructions"),
    ("ERROR", False, "the first error of the last program"),
    ("RETIRED", False, "instructions retired"),
    ("CYCLES_LOW", False, "cycles of the last program, lower half"),
    ("CYCLES_HIGH", False, "cycles of the last program, upper half"),
    ("FINGERPRINT_LOW", False, "configuration fingerprint, lower half"),
    ("FINGERPRINT_HIGH", False, "configuration fingerprint, upper half"),
    (
        "REVISION",
        False,
        "what the machine was made from: upper half, the encoding (`docs/isa.md`); lower, the rules of time",
    ),
    ("BUSY_LOAD", False, "cycles in which the load unit's data side worked"),
    ("BUSY_COMPUTE", False, "cycles in which the issue stage held an instruction"),
    ("BUSY_STORE", False, "cycles in which the store unit walked its pieces"),
)

REGISTER_BYTES: Final = 4

REGISTERS: Final[tuple[Register, ...]] = tuple(
    Register(name, REGISTER_BYTES * i, writable, doc)
    for i, (name, writable, doc) in enumerate(
        _PLAIN + tuple((f"CYCLES_{c.upper()}", False, f"cycles of cause `{c}` (docs/timing.md, 8)") for c in CAUSES)
    )
)
"""All registers in order of their offsets."""

OFFSET: Final[dict[str, int]] = {r.name: r.offset for r in REGISTERS}
"""Byte offset by name."""
