"""Small helpers for writing logic."""

from __future__ import annotations

from typing import Any

from amaranth.utils import exact_log2

from hw.rtl.hdl import Module, Mux, Signal

__all__ = ["delay", "exact_log2", "minimum", "rotate_bytes", "sums_to"]


def delay(m: Module, value: Any, cycles: int, name: str) -> list[Any]:
    """The value and what it was 1, 2, ... `cycles` cycles ago: a list of cycles + 1, of the value's shape."""
    stages = [value]
    for k in range(cycles):
        stage = Signal.like(value, name=f"{name}_{k + 1}")
        m.d.sync += stage.eq(stages[-1])
        stages.append(stage)
    return stages


def minimum(first: Any, *others: Any) -> Any:
    """The least of unsigned values; as wide as the first, which others must be able to undercut only."""
    width = len(first)
    for other in others:
        first = Mux(other < first, other, first)
    return first[:width]


def rotate_bytes(m: Module, word: Any, count: Any, byte_bits: int) -> Any:
    """The word with byte i moved to byte (i + count) mod bytes; count has exactly the bits to number the bytes."""
    for stage in range(len(count)):
        # A signal for each stage: an expression would be written out again wherever it is used.
        rotated = Signal(len(word), name=f"rotated_{stage}")
        m.d.comb += rotated.eq(Mux(count[stage], word.rotate_left(byte_bits << stage), word))
        word = rotated
    return word


def sums_to(a: Any, b: Any, total: Any) -> Any:
    """Whether a + b == total, modulo 2^n for n bits each: without an adder, so at the depth of a comparison.

    Bit by bit, `total` says which carry came in if it is the sum, and so which goes out; the two must fit together.
    """
    carries_in = a ^ b ^ total
    carries_out = (a & b) | ((a ^ b) & ~total)
    return carries_in == (carries_out << 1)[: len(total)]
