"""RTL simulator: the Amaranth design, Verilated, in a native bench with the memory port of docs/timing.md."""

from hw.errors import DeadlockError
from sim.rtl.bench import BusError
from sim.rtl.build import RtlBuildError
from sim.rtl.machine import Machine, RtlError, RtlResult, Wave, run

__all__ = ["BusError", "DeadlockError", "Machine", "RtlBuildError", "RtlError", "RtlResult", "Wave", "run"]
