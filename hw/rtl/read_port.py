"""The read side of the memory port: arbiter, AR register, and who gets the beats (docs/timing.md, section 3)."""

from __future__ import annotations

from hw.config import Config
from hw.rtl.axi import ADDRESS_BITS, ReadId
from hw.rtl.hdl import Component, In, Module, Mux, Out, Signal
from hw.rtl.logic import exact_log2

OUTSTANDING_BITS = 10
"""Width of counters of bursts that are under way."""


class ReadPort(Component):
    """Grants one request a cycle, fetch first, into the register that presents it on AR.

    `stop` ends granting and throws away the beats that still come. `outstanding`: some burst has been granted and not
    been delivered in full before the last cycle.
    """

    def __init__(self, cfg: Config) -> None:
        self._cfg = cfg
        word, beats = ADDRESS_BITS - exact_log2(cfg.bus_bytes), range(cfg.burst_beats + 1)
        requests = {}
        for master in ReadId:
            n = master.name.lower()
            requests |= {f"{n}_request": In(1), f"{n}_word": In(word), f"{n}_beats": In(beats), f"{n}_granted": Out(1)}
            requests |= {f"{n}_beat": Out(1), f"{n}_ready": In(1)}
        super().__init__(
            {
                **requests,
                "stop": In(1),
                "outstanding": Out(1),
                "arvalid": Out(1),
                "arready": In(1),
                "arid": Out(ReadId),
                "arword": Out(word),
                "arbeats": Out(beats),
                "rvalid": In(1),
                "rready": Out(1),
                "rid": In(ReadId),
                "rlast": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        free, granted, delivered = Signal(), Signal(), Signal()
        full = Signal()
        outstanding = Signal(OUTSTANDING_BITS)
        fetch = self.fetch_request
        m.d.comb += [
            free.eq((~self.arvalid | self.arready) & ~self.stop & ~full),
            self.fetch_granted.eq(fetch & free),
            self.load_granted.eq(self.load_request & ~fetch & free),
            granted.eq(self.fetch_granted | self.load_granted),
            self.fetch_beat.eq(self.rvalid & (self.rid == ReadId.FETCH) & ~self.stop),
            self.load_beat.eq(self.rvalid & (self.rid == ReadId.LOAD) & ~self.stop),
            self.rready.eq(self.stop | Mux(self.rid == ReadId.LOAD, self.load_ready, self.fetch_ready)),
            self.outstanding.eq(outstanding != 0),
            # Never reached with a memory that bounds what is outstanding, as every real one does.
            full.eq(outstanding.all()),
        ]
        # Who takes a beat says so late in the cycle: it is counted in the next one.
        m.d.sync += [
            delivered.eq(self.rvalid & self.rready & self.rlast),
            outstanding.eq(outstanding + granted - delivered),
        ]
        with m.If(granted):
            m.d.sync += [
                self.arvalid.eq(1),
                self.arid.eq(Mux(fetch, ReadId.FETCH, ReadId.LOAD)),
                self.arword.eq(Mux(fetch, self.fetch_word, self.load_word)),
                self.arbeats.eq(Mux(fetch, self.fetch_beats, self.load_beats)),
            ]
        with m.Elif(self.arready):
            m.d.sync += self.arvalid.eq(0)
        return m
