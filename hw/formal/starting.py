"""Claims about how the control registers start and stop the core."""

from __future__ import annotations

from hw.config import Config
from hw.formal.bench import Bench
from hw.rtl.control import ControlUnit
from hw.rtl.hdl import Signal


def program_start(bus_bits: int, block: type[ControlUnit] = ControlUnit) -> Bench:
    """The control unit, whatever software writes and whatever the core says."""
    bench = Bench("program start", f"{bus_bits}-bit bus")
    m, control = bench.m, bench.add("control", block(Config(bus_bits=bus_bits)))
    was_reset, was_stopped, quiet = Signal(), Signal(), Signal()
    m.d.sync += [
        was_reset.eq(control.reset),
        was_stopped.eq(control.stop & ~control.reset),
        quiet.eq(~control.outstanding),
    ]
    bench.claim(
        "a program starts in the cycle after a reset of the core: only once between two", ~control.start | was_reset
    )
    bench.claim("nothing starts while the core is stopped", ~(control.start & control.stop))
    bench.claim("a stopped core is reset only when nothing is outstanding", ~(control.reset & was_stopped) | quiet)
    return bench
