"""Verilog of a machine."""

from __future__ import annotations

from amaranth.back import verilog

from hw.config import Config
from hw.rtl.top import Vdla


def to_verilog(cfg: Config, name: str = "vdla", *, packed: bool = False) -> str:
    """Verilog source of the machine `cfg`. The top module is called `name`; ports and `packed` are those of `Vdla`."""
    return verilog.convert(Vdla(cfg, packed), name=name, emit_src=False)
