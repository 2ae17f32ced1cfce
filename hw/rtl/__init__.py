"""The machine as synthesizable logic (Amaranth), one unit a file; its time is docs/timing.md to the cycle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hw.rtl.registers import OFFSET, REGISTERS, Control, Error, Register, Status

if TYPE_CHECKING:
    from hw.rtl.top import Vdla
    from hw.rtl.verilog import to_verilog

__all__ = ["OFFSET", "REGISTERS", "Control", "Error", "Register", "Status", "Vdla", "to_verilog"]


def __getattr__(name: str) -> Any:
    # Drivers on boards need the registers, and have no Amaranth.
    if name == "Vdla":
        from hw.rtl.top import Vdla

        return Vdla
    if name == "to_verilog":
        from hw.rtl.verilog import to_verilog

        return to_verilog
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
