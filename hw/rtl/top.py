"""The machine: its ports, and the units between them."""

from __future__ import annotations

from typing import Any

from hw.config import Config
from hw.isa import Unit
from hw.rtl import axi
from hw.rtl.control import ControlUnit
from hw.rtl.core import Core
from hw.rtl.hdl import ClockDomain, ClockSignal, Component, DomainRenamer, Module, Out, ResetSignal, Signal
from hw.rtl.logic import exact_log2
from hw.timing import CAUSES

CAUSE_BITS = (len(CAUSES) - 1).bit_length()


class Vdla(Component):
    """One VDLA machine.  Clock and reset are `clk` and `rst` (synchronous, active high).

    Ports: the memory port `axi_*`, the control registers `s_axil_*`, `interrupt`, and for simulation `trace_*`:

    - `trace_running`: 1 from cycle 0 of a program (docs/timing.md) to the cycle of its last retirement, both included;
    - `trace_dispatch`: the next instruction goes to its unit's queue in this cycle;
    - `trace_UNIT_start`, `trace_UNIT_retire`: the next instruction of the unit starts, retires in this cycle;
    - `trace_compute_last`: this is the last cycle of a compute instruction in the issue stage;
    - `trace_cause`: index into `hw.timing.CAUSES` of this cycle's cause. The cycles after the last compute
      instruction, called `drain` in docs/timing.md, show as `fetch` until it is known that none follows.

    `packed` makes two products of the multiplier array with one DSP48: same results, half the multipliers, more logic.
    """

    def __init__(self, cfg: Config, packed: bool = False) -> None:
        self.cfg, self._packed = cfg, packed
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
        m, cfg = Module(), self.cfg
        core, control = Core(cfg, self._packed), ControlUnit(cfg)
        # The reset reaches the machine through a register, which is 1 from power-up on.
        held = Signal(init=1)
        m.d.sync += held.eq(0)
        for name, block, reset in (("control", control, held), ("core", core, held | control.reset)):
            domain: Any = ClockDomain(name, local=True)
            m.domains += domain
            m.d.comb += [domain.clk.eq(ClockSignal()), domain.rst.eq(reset)]
            m.submodules[name] = DomainRenamer(name)(block)
        for name in axi.lite_members():
            mine, theirs = getattr(self, name), getattr(control, name)
            m.d.comb += mine.eq(theirs) if self.signature.members[name].flow is Out else theirs.eq(mine)
        self._memory_port(m, core, held)
        m.d.sync += [
            control.read_error.eq(self.axi_rvalid & self.axi_rready & (self.axi_rresp != 0)),
            control.write_error.eq(self.axi_bvalid & self.axi_bready & (self.axi_bresp != 0)),
        ]
        m.d.comb += [
            core.start.eq(control.start),
            core.address.eq(control.address),
            core.length.eq(control.length),
            core.stop.eq(control.stop),
            *(getattr(control, n).eq(getattr(core, n)) for n in ("outstanding", "retires", "last", "waiting")),
            *(getattr(control, n).eq(getattr(core, n)) for n in ("cause", "working", "illegal")),
            self.interrupt.eq(control.interrupt),
            self.trace_running.eq(control.running),
            self.trace_dispatch.eq(core.dispatch.any()),
            self.trace_compute_last.eq(core.last),
            self.trace_cause.eq(core.cause),
        ]
        for unit in Unit:
            name = unit.name.lower()
            m.d.comb += [
                getattr(self, f"trace_{name}_start").eq(core.starts[unit]),
                getattr(self, f"trace_{name}_retire").eq(core.retires[unit]),
            ]
        return m

    def _memory_port(self, m: Module, core: Core, held: Signal) -> None:
        # The bus sees no request in the first cycle of a reset either.
        silent = Signal()
        m.d.comb += silent.eq(ResetSignal() | held)
        low = exact_log2(self.cfg.bus_bytes)
        for ch, identity in (("ar", core.arid), ("aw", 0)):
            valid, ready = getattr(core, f"{ch}valid"), getattr(core, f"{ch}ready")
            m.d.comb += [
                getattr(self, f"axi_{ch}valid").eq(valid & ~silent),
                ready.eq(getattr(self, f"axi_{ch}ready")),
                getattr(self, f"axi_{ch}id").eq(identity),
                getattr(self, f"axi_{ch}addr").eq(getattr(core, f"{ch}word") << low),
                getattr(self, f"axi_{ch}len").eq(getattr(core, f"{ch}beats") - 1),
                getattr(self, f"axi_{ch}size").eq(low),
                getattr(self, f"axi_{ch}burst").eq(axi.BurstType.INCR),
                getattr(self, f"axi_{ch}cache").eq(axi.Cache.BUFFERABLE | axi.Cache.MODIFIABLE),
            ]
        m.d.comb += [
            core.rvalid.eq(self.axi_rvalid),
            self.axi_rready.eq(core.rready),
            core.rid.eq(self.axi_rid),
            core.rlast.eq(self.axi_rlast),
            core.rdata.eq(self.axi_rdata),
            self.axi_wvalid.eq(core.wvalid & ~silent),
            core.wready.eq(self.axi_wready),
            self.axi_wdata.eq(core.wdata),
            self.axi_wstrb.eq(core.wstrb),
            self.axi_wlast.eq(core.wlast),
            core.bvalid.eq(self.axi_bvalid),
            self.axi_bready.eq(core.bready),
        ]
