"""The machine's memory port, as a slave: one burst at a time, reads and writes in turns."""

from __future__ import annotations

from enum import IntEnum

from amaranth.lib import wiring

from hw.config import Config
from hw.harness.port import MemoryPort
from hw.rtl import axi
from hw.rtl.hdl import Component, Module, Mux, Out, Signal
from hw.rtl.logic import exact_log2


class Response(IntEnum):
    """xRESP."""

    OKAY = 0
    DECODE_ERROR = 3


class AxiSlave(Component):
    """Bursts of `axi_*` (the machine's port, seen from the other end) become requests at `memory`.

    Bursts must be of whole bus words at rising addresses, as the machine's are. One that does not lie within `size`
    bytes gets DECODE_ERROR and does nothing.
    """

    def __init__(self, cfg: Config, size: int) -> None:
        self._cfg, self._size = cfg, size
        members = wiring.Signature(axi.master_members(cfg)).flip().members
        super().__init__({**members, "memory": Out(MemoryPort(cfg))})

    def elaborate(self, platform: object) -> Module:
        m, memory = Module(), self.memory
        low = exact_log2(self._cfg.bus_bytes)
        words = self._size >> low
        request = memory.request.p
        identity, left, wrote_last = Signal.like(self.axi_arid), Signal.like(request.beats), Signal()
        inside, reads, writes = Signal(), Signal(), Signal()

        def taken(channel: str, write: int) -> None:
            address, beats = getattr(self, f"axi_{channel}addr") >> low, getattr(self, f"axi_{channel}len") + 1
            m.d.comb += getattr(self, f"axi_{channel}ready").eq(1)
            m.d.sync += [
                identity.eq(getattr(self, f"axi_{channel}id")),
                request.word.eq(address),
                request.beats.eq(beats),
                request.write.eq(write),
                left.eq(beats),
                inside.eq(address + beats <= words),
                wrote_last.eq(write),
            ]

        m.d.comb += [
            self.axi_rid.eq(identity),
            self.axi_bid.eq(identity),
            self.axi_rdata.eq(memory.read.p),
            self.axi_rlast.eq(left == 1),
            memory.write.p.data.eq(self.axi_wdata),
            memory.write.p.strobe.eq(self.axi_wstrb),
        ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [
                    reads.eq(self.axi_arvalid & (wrote_last | ~self.axi_awvalid)),
                    writes.eq(self.axi_awvalid & ~reads),
                ]
                with m.If(reads):
                    taken("ar", 0)
                    m.next = "REQUEST"
                with m.Elif(writes):
                    taken("aw", 1)
                    m.next = "REQUEST"
            with m.State("REQUEST"):
                m.d.comb += memory.request.valid.eq(inside)
                with m.If(~inside):
                    m.next = "NOWHERE"
                with m.Elif(memory.request.ready):
                    m.next = "BEATS"
            with m.State("BEATS"):
                m.d.comb += [
                    self.axi_rvalid.eq(memory.read.valid),
                    memory.read.ready.eq(self.axi_rready),
                    memory.write.valid.eq(self.axi_wvalid & request.write),
                    self.axi_wready.eq(memory.write.ready),
                ]
                with m.If(self.axi_rvalid & self.axi_rready):
                    m.d.sync += left.eq(left - 1)
                with m.If(memory.done & request.write):
                    m.next = "ANSWER"
                with m.Elif(memory.done):
                    m.next = "IDLE"
            with m.State("NOWHERE"):
                beat = Signal()
                m.d.comb += [
                    self.axi_rvalid.eq(~request.write),
                    self.axi_rresp.eq(Response.DECODE_ERROR),
                    self.axi_wready.eq(request.write),
                    beat.eq((self.axi_rvalid & self.axi_rready) | (self.axi_wvalid & self.axi_wready)),
                ]
                with m.If(beat):
                    m.d.sync += left.eq(left - 1)
                    with m.If(left == 1):
                        m.next = "IDLE"
                        with m.If(request.write):
                            m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += [
                    self.axi_bvalid.eq(1),
                    self.axi_bresp.eq(Mux(inside, Response.OKAY, Response.DECODE_ERROR)),
                ]
                with m.If(self.axi_bready):
                    m.next = "IDLE"
        return m
