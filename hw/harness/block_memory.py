"""The FPGA's own block RAM as the machine's memory."""

from __future__ import annotations

from hw.config import Config
from hw.harness.port import MemoryPort
from hw.rtl.hdl import Component, In, Memory, Module, Signal
from hw.rtl.layouts import BYTE_BITS


class BlockMemory(Component):
    """`size` bytes, a bus word a cycle."""

    def __init__(self, cfg: Config, size: int) -> None:
        self._cfg, self._depth = cfg, size // cfg.bus_bytes
        super().__init__({"port": In(MemoryPort(cfg))})

    def elaborate(self, platform: object) -> Module:
        m, port = Module(), self.port
        m.submodules.memory = memory = Memory(shape=self._cfg.bus_bits, depth=self._depth, init=[])
        into, out = memory.write_port(granularity=BYTE_BITS), memory.read_port()
        request = port.request.p
        word, left = Signal(range(self._depth)), Signal.like(request.beats)
        writing, valid, advance = Signal(), Signal(), Signal()
        m.d.comb += [
            port.request.ready.eq((left == 0) & ~valid),
            port.write.ready.eq(writing & (left != 0)),
            into.addr.eq(word),
            into.data.eq(port.write.p.data),
            into.en.eq(port.write.p.strobe & (port.write.valid & port.write.ready).replicate(len(into.en))),
            out.addr.eq(word),
            out.en.eq(~writing & (left != 0) & (~valid | port.read.ready)),
            port.read.valid.eq(valid),
            port.read.p.eq(out.data),
            advance.eq(out.en | (port.write.valid & port.write.ready)),
            port.done.eq((valid & port.read.ready & (left == 0)) | (advance & writing & (left == 1))),
        ]
        with m.If(out.en):
            m.d.sync += valid.eq(1)
        with m.Elif(port.read.ready):
            m.d.sync += valid.eq(0)
        with m.If(advance):
            m.d.sync += [word.eq(word + 1), left.eq(left - 1)]
        with m.If(port.request.valid & port.request.ready):
            m.d.sync += [word.eq(request.word), left.eq(request.beats), writing.eq(request.write)]
        return m
