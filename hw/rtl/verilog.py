"""Verilog of a machine."""

from __future__ import annotations

from amaranth.back import verilog

from hw.config import Config
from hw.rtl.top import Vdla


def to_verilog(cfg: Config, name: str = "vdla") -> str:
    """Verilog source of the machine `cfg`; the top module is called `name`, its ports as `Vdla` has them."""
    return verilog.convert(Vdla(cfg), name=name, emit_src=False)
