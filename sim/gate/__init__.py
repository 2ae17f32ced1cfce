"""Gate-level simulator: the netlist of a synthesis for the 7 series, Verilated, in the RTL's native bench."""

from __future__ import annotations

from sim.gate.netlist import library, netlist
from sim.gate.run import run

__all__ = ["library", "netlist", "run"]
