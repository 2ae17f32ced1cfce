"""Which encoding and which rules of time a machine was made from: hashes of their declarations, in two half-words.

The configuration's fingerprint says what shape a machine has; these say which version of the project made it.
"""

from __future__ import annotations

import dataclasses
import hashlib
from functools import lru_cache

from hw import isa, timing

HALF_BITS = 16
"""Width of each hash."""


@lru_cache(maxsize=1)
def isa_revision() -> int:
    """Hash of the encoding: the fields of every instruction and micro-op in order, and all codes."""
    declared: list[object] = [isa.ISA_VERSION, isa.OPCODE_BITS]
    for code in (isa.Opcode, isa.Buffer, isa.AluOp, isa.AluSource, isa.Unit):
        declared.append((code.__name__, [(item.name, int(item)) for item in code]))
    declared.append(isa.FLAGS)
    for kind in (*isa.INSTRUCTIONS, isa.Uop):
        # Of a field its width and sign, as metadata; what it means in words is no encoding.
        fields = [(f.name, sorted((k, str(v)) for k, v in f.metadata.items() if k != "doc")) for f in _fields(kind)]
        declared.append((kind.__name__, fields))
    return _hash(declared)


@lru_cache(maxsize=1)
def timing_revision() -> int:
    """Hash of the constants of the timing rules."""
    constants = {n: v for n, v in vars(timing).items() if n.isupper() and isinstance(v, int | tuple)}
    return _hash(sorted(constants.items()))


def revision() -> int:
    """Both, as the register REVISION holds them."""
    return isa_revision() << HALF_BITS | timing_revision()


def _fields(kind: type) -> tuple[dataclasses.Field[object], ...]:
    return dataclasses.fields(kind)  # type: ignore[arg-type]


def _hash(declared: object) -> int:
    return int.from_bytes(hashlib.sha256(repr(declared).encode()).digest()[: HALF_BITS // 8], "big")
