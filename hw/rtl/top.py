"""The machine: its ports, and the units between them."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from hw.config import Config
from hw.isa import Unit
from hw.rtl import axi
from hw.timing import CAUSES

CAUSE_BITS = (len(CAUSES) - 1).bit_length()


class Vdla(wiring.Component):
    """One VDLA machine.  Clock and reset are `clk` and `rst` (synchronous, active high).

    Ports: the memory port `axi_*`, the control registers `s_axil_*`, `interrupt`, and for simulation `trace_*`:

    - `trace_running`: 1 from cycle 0 of a program (docs/timing.md) to the cycle of its last retirement, both included;
    - `trace_dispatch`: the next instruction goes to its unit's queue in this cycle;
    - `trace_UNIT_start`, `trace_UNIT_retire`: the next instruction of the unit starts, retires in this cycle;
    - `trace_compute_last`: this is the last cycle of a compute instruction in the issue stage;
    - `trace_cause`: index into `hw.timing.CAUSES` of this cycle's cause. The cycles after the last compute
      instruction, called `drain` in docs/timing.md, show as `fetch` until it is known that none follows.
    """

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        units = [u.name.lower() for u in Unit]
        super().__init__(
            {
                **axi.master_members(cfg),
                **axi.lite_members(),
                "interrupt": Out(1),
                "trace_running": Out(1),
                "trace_dispatch": Out(1),
                **{f"trace_{u}_start": Out(1) for u in units},
                **{f"trace_{u}_retire": Out(1) for u in units},
                "trace_compute_last": Out(1),
                "trace_cause": Out(CAUSE_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        return Module()
