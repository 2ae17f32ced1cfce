"""Verilog of a machine."""

from __future__ import annotations

import re

from amaranth.back import verilog

from hw.config import Config
from hw.rtl.top import Vdla

_LANE = re.compile(r"    if \((\S+) ?\[(\d+)\]\)\n      (\S+?)\[(.+)\](\[\d+:\d+\]) <= (.+);\n")
_LANES = re.compile(
    r"(  always @\(posedge [^)]+\) begin\n)"
    r"((?:    if \(\S+ ?\[\d+\]\)\n      \S+?\[.+\]\[\d+:\d+\] <= .+;\n){2,})  end\n"
)


def to_verilog(cfg: Config, name: str = "vdla", *, packed: bool = False, simulation: bool = False) -> str:
    """Verilog source of the machine `cfg`. The top module is called `name`; ports and `packed` are those of `Vdla`.

    `simulation` writes the bytes of a memory word in one statement, which simulates half as fast again; for synthesis,
    separate statements are what is known to become byte enables of a block RAM.
    """
    source = verilog.convert(Vdla(cfg, packed), name=name, emit_src=False)
    return joined_lanes(source) if simulation else source


def joined_lanes(source: str) -> str:
    """The Verilog source with the bytes of each memory word written in one statement."""
    return _LANES.sub(_joined, source)


def _joined(block: re.Match[str]) -> str:
    """The clocked block of a memory's byte lanes, `if (enable[k]) memory[row][bits] <= data;`, as one write."""
    lanes = _LANE.findall(block[2])
    enable, _, memory, row, _, _ = lanes[0]
    if any((e, m, r) != (enable, memory, row) for e, _, m, r, _, _ in lanes):
        return block[0]
    word = ", ".join(f"{e} [{k}] ? {data} : {m}[{r}]{bits}" for e, k, m, r, bits, data in reversed(lanes))
    return f"{block[1]}    if (|{enable} )\n      {memory}[{row}] <= {{{word}}};\n  end\n"
