"""A Zynq-7000 design without the vendor's block design: the machine, the processor's primitive and what joins them.

The primitive is PS7 as the device library names it. Of its ports, clock 0 with its reset, the master GP0, the slave HP0
and the interrupts from the fabric are used; place and route ties the other inputs, as the vendor's wrapper does.
"""

from __future__ import annotations

from typing import Any

from amaranth.back import verilog
from amaranth.hdl import Instance
from amaranth.lib.cdc import FFSynchronizer

from hw.config import Config
from hw.errors import ConfigError
from hw.rtl import axi
from hw.rtl.hdl import Cat, ClockDomain, Component, Const, Module, Out, Signal
from hw.synth.zynq import MASTER, SLAVE, port_widths
from hw.synth.zynq_bridge import Bridge

TOP = "zynq_top"
CLOCK = "fabric_clk"
"""Net of the clock behind its buffer, by which timing tools know it."""
HP_BITS = 64
HP_ID_BITS = 6
HP_SIZE_BITS = 2
INTERRUPTS = 20
HEARTBEAT_BITS = 26


class ZynqTop(Component):
    """The whole design. Its only pins are up to four LEDs: interrupt, running, heartbeat, out of reset."""

    def __init__(self, cfg: Config, leds: int = 0) -> None:
        self._cfg, self._leds = cfg, leds
        super().__init__({"led": Out(leds)} if leds else {})

    def elaborate(self, platform: object) -> Module:
        m, cfg = Module(), self._cfg
        clocks, resets = Signal(4), Signal(4)
        reset = Signal()
        domain: Any = ClockDomain("sync")
        m.domains += domain
        fabric = Signal(name=CLOCK)
        m.submodules.clock_buffer = Instance("BUFG", i_I=clocks[0], o_O=fabric)
        m.d.comb += [domain.clk.eq(fabric), domain.rst.eq(reset)]
        m.submodules.reset = FFSynchronizer(~resets[0], reset, init=1)
        m.submodules.bridge = bridge = Bridge()
        machine = {name: Signal(width, name=name) for name, (_, width) in port_widths(cfg).items()}
        interrupt, running = Signal(), Signal()
        m.submodules.vdla = Instance(
            "vdla",
            i_clk=fabric,
            i_rst=reset,
            o_interrupt=interrupt,
            o_trace_running=running,
            **{f"{way[0]}_{n}": machine[n] for n, (way, _) in _instance_ports(cfg).items()},
        )
        for name, member in axi.lite_members(f"{SLAVE}_").items():
            ours, theirs = machine[name], getattr(bridge, "lite_" + name.removeprefix(f"{SLAVE}_"))
            m.d.comb += theirs.eq(ours) if member.flow is Out else ours.eq(theirs)
        ports: dict[str, Any] = {
            "o_FCLKCLK": clocks,
            "o_FCLKRESETN": resets,
            "i_IRQF2P": Cat(interrupt, Const(0, INTERRUPTS - 1)),
            "i_MAXIGP0ACLK": fabric,
            "i_SAXIHP0ACLK": fabric,
        }
        self._general_port(bridge, ports)
        self._memory_port(m, machine, ports)
        m.submodules.processor = Instance("PS7", **ports)
        if self._leds:
            beat = Signal(HEARTBEAT_BITS)
            m.d.sync += beat.eq(beat + 1)
            m.d.comb += self.led.eq(Cat(interrupt, running, beat[-1], ~reset))
        return m

    def _general_port(self, bridge: Bridge, ports: dict[str, Any]) -> None:
        """GP0, the processor being the master: what the bridge takes in, PS7 gives out."""
        for name, member in bridge.signature.members.items():
            if name.startswith("gp_"):
                direction = "i" if member.flow is Out else "o"
                ports[f"{direction}_MAXIGP0{name.removeprefix('gp_').upper()}"] = getattr(bridge, name)

    def _memory_port(self, m: Module, machine: dict[str, Any], ports: dict[str, Any]) -> None:
        """HP0, the machine being the master. IDs are widened and come back as they went."""
        for name, (direction, width) in port_widths(self._cfg).items():
            if not name.startswith(f"{MASTER}_"):
                continue
            field = name.removeprefix(f"{MASTER}_")
            wide = Signal(_hp_width(field, width), name=f"hp_{field}")
            if direction == "out":
                m.d.comb += wide.eq(machine[name])
            else:
                m.d.comb += machine[name].eq(wide)
            ports[f"{'i' if direction == 'out' else 'o'}_SAXIHP0{field.upper()}"] = wide


def check_port(cfg: Config) -> None:
    """Refuse a machine that the HP port does not fit. Raises ConfigError."""
    if cfg.axi != "axi3":
        raise ConfigError("vdla.axi", "the ports of a Zynq-7000 are AXI3", "try axi3 with burst_beats 16")
    if cfg.bus_bits != HP_BITS:
        raise ConfigError("vdla.bus_bits", f"{cfg.bus_bits} bits are not the width of an HP port", f"try {HP_BITS}")


def top_verilog(cfg: Config, leds: int = 0) -> str:
    """Verilog of the design around the module ``vdla``; the top module is TOP.

    Raises ConfigError if the HP port does not fit the machine.
    """
    check_port(cfg)
    return verilog.convert(ZynqTop(cfg, leds), name=TOP, emit_src=False)


def _instance_ports(cfg: Config) -> dict[str, tuple[str, int]]:
    return {name: ("o" if way == "out" else "i", width) for name, (way, width) in port_widths(cfg).items()}


def _hp_width(field: str, width: int) -> int:
    """Width of a field of the HP port: of IDs (``arid``) and burst sizes it is the port's own."""
    if field in ("arid", "awid", "wid", "rid", "bid"):
        return HP_ID_BITS
    return HP_SIZE_BITS if field in ("arsize", "awsize") else width
