"""Two who ask, one memory."""

from __future__ import annotations

from amaranth.lib.wiring import connect, flipped

from hw.config import Config
from hw.harness.port import MemoryPort
from hw.rtl.hdl import Component, In, Module, Mux, Out, Signal


class Arbiter(Component):
    """Lets `first` and `second` use `memory`, in turns if both ask; each from a request to its end."""

    def __init__(self, cfg: Config) -> None:
        port = MemoryPort(cfg)
        super().__init__({"first": In(port), "second": In(port), "memory": Out(port)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        owner, held, last = Signal(), Signal(), Signal()
        # Who did not ask last goes first, if it asks.
        other = Mux(last, ~self.first.request.valid, self.second.request.valid)
        m.d.comb += owner.eq(Mux(held, last, other))
        # Held from the first cycle of a request on: it must not change until the memory takes it.
        with m.If(self.memory.request.valid):
            m.d.sync += [held.eq(1), last.eq(owner)]
        with m.If(self.memory.done):
            m.d.sync += held.eq(0)
        with m.Switch(owner):
            for index, side in enumerate((self.first, self.second)):
                with m.Case(index):
                    connect(m, flipped(side), flipped(self.memory))
        return m
