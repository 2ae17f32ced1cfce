"""A bitstream file (.bit) as what Linux's FPGA manager loads on a Zynq-7000 (.bin).

A .bit file is a header of tagged fields and then the configuration words, most significant byte first. The FPGA manager
takes the words alone, each in the byte order of the processor.
"""

from __future__ import annotations

import struct
import sys
from dataclasses import dataclass
from pathlib import Path

from hw.synth.engine import write_atomically
from hw.synth.flow import SynthesisError

PREAMBLE = bytes.fromhex("0ff00ff00ff00ff000")
"""First field of the header."""
SYNC = bytes.fromhex("aa995566")
"""The word from which on the device listens."""
WORD_BYTES = 4
FIELDS = {b"a": "design", b"b": "part", b"c": "date", b"d": "time"}
DATA = b"e"


@dataclass(frozen=True)
class Bitstream:
    """Contents of a .bit file: `design` may carry options behind semicolons; `words` are the configuration's bytes."""

    design: str
    part: str
    date: str
    time: str
    words: bytes

    def to_bit(self) -> bytes:
        """The .bit file."""
        parts = [struct.pack(">H", len(PREAMBLE)), PREAMBLE, struct.pack(">H", 1)]
        for tag, name in FIELDS.items():
            text = getattr(self, name).encode("ascii") + b"\0"
            parts += [tag, struct.pack(">H", len(text)), text]
        return b"".join([*parts, DATA, struct.pack(">I", len(self.words)), self.words])


def parse_bit(data: bytes) -> Bitstream:
    """Take a .bit file apart. Raises SynthesisError, saying what is wrong with it."""
    length, at = _number(data, 0, 2)
    if data[at : at + length] != PREAMBLE:
        raise SynthesisError("not a bitstream: it does not begin with the header of a .bit file")
    _, at = _number(data, at + length, 2)
    found: dict[str, str] = {}
    while True:
        tag, at = data[at : at + 1], at + 1
        if tag == DATA:
            break
        if tag not in FIELDS:
            raise SynthesisError(f"not a bitstream: field {tag!r} at byte {at - 1} of its header is unknown")
        length, at = _number(data, at, 2)
        text = data[at : at + length]
        if len(text) != length or not text.endswith(b"\0") or not text.isascii():
            raise SynthesisError(f"not a bitstream: its header's {FIELDS[tag]} is not a text")
        found[FIELDS[tag]], at = text[:-1].decode("ascii"), at + length
    missing = [name for name in FIELDS.values() if name not in found]
    if missing:
        raise SynthesisError(f"not a bitstream: its header lacks the {missing[0]}")
    length, at = _number(data, at, 4)
    words = data[at:]
    if length != len(words):
        raise SynthesisError(f"a damaged bitstream: its header says {length} bytes, {len(words)} follow")
    if length % WORD_BYTES:
        raise SynthesisError(f"a damaged bitstream: {length} bytes are not whole words")
    return Bitstream(**found, words=words)


def to_bin(data: bytes) -> bytes:
    """The .bin of a .bit file: its words with their bytes swapped.

    Raises SynthesisError if the file is none, or the device would never begin to listen.
    """
    words = parse_bit(data).words
    # The word that the device waits for must lie on a word's boundary; it comes soon.
    if not any(words[at : at + WORD_BYTES] == SYNC for at in range(0, len(words), WORD_BYTES)):
        raise SynthesisError("a damaged bitstream: it lacks the synchronisation word")
    return swap_words(words)


def swap_words(words: bytes) -> bytes:
    """Each four bytes in the opposite order; its own inverse."""
    swapped = bytearray(len(words))
    for byte in range(WORD_BYTES):
        swapped[byte::WORD_BYTES] = words[WORD_BYTES - 1 - byte :: WORD_BYTES]
    return bytes(swapped)


def _number(data: bytes, at: int, size: int) -> tuple[int, int]:
    field = data[at : at + size]
    if len(field) != size:
        raise SynthesisError(f"a damaged bitstream: it ends after {len(data)} bytes, within its header")
    return int.from_bytes(field, "big"), at + size


def main(arguments: list[str]) -> int:
    """``python -m hw.synth.zynq_bin vdla.bit vdla.bin``; returns the exit status."""
    if len(arguments) != 2:
        print("usage: python -m hw.synth.zynq_bin FILE.bit FILE.bin", file=sys.stderr)
        return 2
    source, target = map(Path, arguments)
    try:
        write_atomically(target, to_bin(source.read_bytes()))
    except (OSError, SynthesisError) as error:
        print(f"{source}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
