"""How machine and host ask a memory: whole bursts of bus words, one at a time."""

from __future__ import annotations

from typing import Any

from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out, Signature

from hw.config import Config
from hw.rtl.axi import ADDRESS_BITS
from hw.rtl.layouts import BYTE_BITS
from hw.rtl.logic import exact_log2


def stream_of(payload: Any) -> Any:
    """The signature of a stream of such values; Amaranth's own types refuse what it takes."""
    return stream.Signature(payload)


class MemoryPort(Signature):
    """The port of who asks; a memory has it flipped.

    - `request`: reads or (`write`) writes `beats` bus words from bus word `word` on, all of them in the memory;
    - `write`: the words of a write and which of their bytes to change, at any time after its request was taken;
    - `read`: the words of a read;
    - `done`: with the last word read, or when the last word written is in the memory. A memory takes no request in
      that cycle, nor between a request and its `done`.
    """

    def __init__(self, cfg: Config) -> None:
        request = data.StructLayout(
            {
                "write": 1,
                "word": ADDRESS_BITS - exact_log2(cfg.bus_bytes),
                "beats": cfg.burst_beats.bit_length(),
            }
        )
        beat = data.StructLayout({"data": cfg.bus_bits, "strobe": cfg.bus_bits // BYTE_BITS})
        super().__init__(
            {
                "request": Out(stream_of(request)),
                "write": Out(stream_of(beat)),
                "read": In(stream_of(cfg.bus_bits)),
                "done": In(1),
            }
        )
