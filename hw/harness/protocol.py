"""The packets between host and board, declared once: the host's driver and the logic both read this file.

The host asks, the board answers each request once and in order. A request is::

    SYNC  opcode  sequence  address[4]  count[2]  crc[2]      then, for a WRITE:  data[count]  crc[2]

and an answer::

    SYNC  status  sequence  count[2]  crc[2]                  then, if count:     data[count]  crc[2]

Numbers are little-endian; a CRC covers what stands between it and SYNC or the CRC before it, is CRC-16/IBM-3740
(polynomial 0x1021, start 0xFFFF: `binascii.crc_hqx`) and comes high byte first.

The board ignores a request whose first CRC is wrong, and one that stops for GAP_BITS bit times is forgotten: the host
asks again, with the same sequence number. Asking again is safe: memory has the same contents after one write as after
two, and a WRITE_REGISTER with the sequence number of the request done last is answered but not done. A host that
connects reads a register first, so that its first write is not taken for a repetition of its predecessor's last.
"""

from __future__ import annotations

import binascii
import struct
from enum import IntEnum
from typing import Final, NamedTuple

SYNC: Final = 0x56
"""First byte of every packet."""
VERSION: Final = 1
"""Of this protocol; the board's VERSION register has it."""
MAGIC: Final = int.from_bytes(b"VDLA", "little")
"""What the IDENTITY register reads."""
CRC_BYTES: Final = 2
CRC_START: Final = 0xFFFF
MOST_BYTES: Final = 0xFFFF
"""Longest data of a packet."""
REGISTER_BYTES: Final = 4
GAP_BITS: Final = 1 << 17
"""Bit times of silence inside a request after which the board forgets it."""
WAIT_UNIT: Final = 1 << 10
"""Clock cycles in a unit of WAIT's limit."""


class Opcode(IntEnum):
    """What a request asks for; `address` and `count` are bytes unless said otherwise."""

    READ_REGISTER = 1
    """The 32-bit register at `address`; count is 4."""
    WRITE_REGISTER = 2
    """Data is the register's value; count is 4."""
    READ_MEMORY = 3
    WRITE_MEMORY = 4
    WAIT = 5
    """Answered when the machine's interrupt is up, or after `address` units of WAIT_UNIT cycles; count is 4.
    The data is 1 if it is up, else 0."""


WRITES: Final = (Opcode.WRITE_REGISTER, Opcode.WRITE_MEMORY)
"""Requests that carry data."""


class Status(IntEnum):
    """What became of a request."""

    OK = 0
    BAD_DATA = 1
    """The data's CRC was wrong; memory may hold part of it, a register was not written."""
    BAD_REQUEST = 2
    """An unknown opcode, or a count that it does not allow; nothing was done."""
    BAD_ADDRESS = 3
    """Beyond the memory; nothing was done."""


HARNESS_REGISTERS: Final = 0x100
"""Register addresses from here on are the harness's own, below the machine's (hw.rtl.registers)."""


class HarnessRegister(IntEnum):
    """The harness's registers, by address; they cannot be written."""

    IDENTITY = HARNESS_REGISTERS
    VERSION = HARNESS_REGISTERS + 4
    MEMORY_BYTES = HARNESS_REGISTERS + 8
    CLOCK_HZ = HARNESS_REGISTERS + 12


class Request(NamedTuple):
    """A request's header."""

    opcode: int
    sequence: int
    address: int
    count: int


class Answer(NamedTuple):
    """An answer's header."""

    status: int
    sequence: int
    count: int


REQUEST: Final = struct.Struct("<BBIH")
"""Layout of a request's header between SYNC and CRC, in the order of `Request`."""
ANSWER: Final = struct.Struct("<BBH")
"""Layout of an answer's header between SYNC and CRC, in the order of `Answer`."""


def checked(data: bytes) -> bytes:
    """The data with its CRC behind it."""
    return data + binascii.crc_hqx(data, CRC_START).to_bytes(CRC_BYTES, "big")


def unchecked(data: bytes) -> bytes | None:
    """The data without the CRC behind it; None if that is wrong."""
    return data[:-CRC_BYTES] if binascii.crc_hqx(data, CRC_START) == 0 else None


def pack_request(request: Request, data: bytes = b"") -> bytes:
    """All bytes of a request; `data` is that of a WRITE."""
    head = bytes([SYNC]) + checked(REQUEST.pack(*request))
    return head + checked(data) if request.opcode in WRITES else head
