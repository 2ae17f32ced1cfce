"""The machine as synthesizable logic (Amaranth), one unit a file; its time is docs/timing.md to the cycle."""

from hw.rtl.registers import OFFSET, REGISTERS, Control, Error, Register, Status
from hw.rtl.top import Vdla
from hw.rtl.verilog import to_verilog

__all__ = ["OFFSET", "REGISTERS", "Control", "Error", "Register", "Status", "Vdla", "to_verilog"]
