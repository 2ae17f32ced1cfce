"""The load unit (docs/timing.md, section 5): address generator, data side, and the way into the buffers."""

from __future__ import annotations

from typing import Any

from amaranth.lib import data, fifo

from hw.config import Config
from hw.isa import Buffer, Opcode, Unit
from hw.rtl.axi import ADDRESS_BITS
from hw.rtl.hdl import Component, In, Module, Mux, Out, Signal
from hw.rtl.layouts import BYTE_BITS, instruction_view, unit_bits, view_as
from hw.rtl.logic import exact_log2, rotate_bytes
from hw.rtl.walk import BurstWalker, Decoded, PieceWalker, decoded, pieces_layout, pieces_of
from hw.timing import IN_FLIGHT, SRAM_WRITE

DONE_LATENCY = SRAM_WRITE - 1
"""From the walk over a load's last piece, which is one cycle behind the data channel, to its completion."""


def piece_layout(cfg: Config) -> data.StructLayout:
    """A piece on its way into a buffer, as hw.rtl.banks.LoadBuffer takes it."""
    return data.StructLayout(
        {
            "buffer": range(len(Buffer)),
            "word": cfg.sram_address_bits - exact_log2(cfg.bus_bytes),
            "bytes": cfg.bus_bits,
            "mask_low": cfg.bus_bytes,
            "mask_high": cfg.bus_bytes,
        }
    )


class LoadUnit(Component):
    """Loads and fills.

    `start` takes an instruction, which stands at `instruction` from the next cycle on; `free` permits the next start.
    While `request`, a burst of `beats` at bus word `word` is wanted, until it is `granted`. `beat` says that a beat of
    a load is on the channel at `data`; it is taken if `ready`. `done`: the walk over the oldest instruction has ended,
    it will be complete in DONE_LATENCY cycles. `write`: `piece` goes into its buffer.
    """

    def __init__(self, cfg: Config) -> None:
        self._cfg = cfg
        super().__init__(
            {
                "start": In(1),
                "instruction": In(unit_bits(Unit.LOAD, cfg)),
                "free": Out(1),
                "request": Out(1),
                "word": Out(ADDRESS_BITS - exact_log2(cfg.bus_bytes)),
                "beats": Out(range(cfg.burst_beats + 1)),
                "granted": In(1),
                "beat": In(1),
                "data": In(cfg.bus_bits),
                "ready": Out(1),
                "done": Out(1),
                "working": Out(1),
                "write": Out(1),
                "piece": Out(piece_layout(cfg)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m, cfg = Module(), self._cfg
        started, decoding = (Signal(name=n) for n in ("started", "decoding"))
        m.d.sync += [started.eq(self.start), decoding.eq(started)]
        load = instruction_view(Opcode.LOAD, cfg, self.instruction)
        fill, into, constant = Signal(), Signal(range(len(Buffer))), Signal(BYTE_BITS)
        transfer = decoded(m, load, cfg)
        m.d.sync += [fill.eq(load.fill), into.eq(load.buffer), constant.eq(load.value)]
        self._addresses(m, transfer, started, load.fill, fill, decoding)

        layout = data.StructLayout({"pieces": pieces_layout(cfg), "buffer": range(len(Buffer)), "value": BYTE_BITS})
        m.submodules.jobs = jobs = fifo.SyncFIFO(width=layout.size, depth=IN_FLIGHT)
        entry, head = Signal(layout), view_as(layout, jobs.r_data)
        m.d.comb += [
            entry.pieces.eq(pieces_of(m, transfer.job, cfg, fill)),
            entry.buffer.eq(into),
            entry.value.eq(constant),
            jobs.w_data.eq(entry),
            jobs.w_en.eq(decoding),
        ]

        m.submodules.walker = walker = PieceWalker(cfg)
        held, holding = Signal(cfg.bus_bits), Signal()
        buffer, value = Signal.like(entry.buffer), Signal.like(entry.value)
        step, ending, beat_room, no_fill = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            step.eq(walker.valid & (walker.fill | holding)),
            ending.eq(step & walker.end),
            walker.next.eq(step),
            walker.job.eq(head.pieces),
            walker.load.eq(jobs.r_rdy & (~walker.valid | ending)),
            jobs.r_en.eq(walker.load),
            # A beat can be taken when the pieces of the one before end, unless a fill comes first.
            beat_room.eq(~holding | (step & walker.beat_end)),
            no_fill.eq(Mux(walker.valid & ~ending, ~walker.fill, ~(jobs.r_rdy & head.pieces.fill))),
            self.ready.eq(beat_room & no_fill),
            self.done.eq(ending),
            self.working.eq(step),
        ]
        with m.If(walker.load):
            m.d.sync += [buffer.eq(head.buffer), value.eq(head.value)]
        with m.If(self.beat & self.ready):
            m.d.sync += [held.eq(self.data), holding.eq(1)]
        with m.Elif(step & walker.beat_end & ~walker.fill):
            m.d.sync += holding.eq(0)
        self._align(m, walker, step, buffer, Mux(walker.fill, value.replicate(cfg.bus_bytes), held))
        return m

    def _addresses(
        self, m: Module, transfer: Decoded, started: Signal, load_fill: Any, fill: Signal, decoding: Signal
    ) -> None:
        """The address generator: busy from the start to the grant of the last burst (fills: to start + DECODE)."""
        m.submodules.bursts = bursts = BurstWalker(self._cfg)
        busy, filling, begin = Signal(), Signal(), Signal()
        m.d.sync += filling.eq(decoding & fill)
        # The same as decoding & ~fill, of which many wait.
        m.d.sync += begin.eq(started & ~load_fill)
        bursts.takes(m, transfer, begin)
        m.d.comb += [
            bursts.next.eq(self.granted),
            self.request.eq(bursts.valid),
            self.word.eq(bursts.word),
            self.beats.eq(bursts.beats),
            self.free.eq(~busy),
        ]
        with m.If(self.start):
            m.d.sync += busy.eq(1)
        with m.Elif(filling | (self.granted & bursts.last)):
            m.d.sync += busy.eq(0)

    def _align(self, m: Module, walker: PieceWalker, step: Signal, buffer: Signal, source: Any) -> None:
        """Two registers between the walk and the buffers: one before, one behind the rotation."""
        cfg = self._cfg
        low = exact_log2(cfg.bus_bytes)
        valid, which, word = Signal(), Signal.like(buffer), Signal.like(self.piece.word)
        raw, rotation, offset = Signal(cfg.bus_bits), Signal(low), Signal(low)
        length = Signal.like(walker.length)
        m.d.sync += [
            valid.eq(step),
            which.eq(buffer),
            word.eq(walker.sram >> low),
            raw.eq(source),
            rotation.eq(walker.sram[:low] - walker.position),
            offset.eq(walker.sram[:low]),
            length.eq(walker.length),
        ]
        ones = (1 << length) - 1
        mask = Signal(2 * cfg.bus_bytes)
        m.d.comb += mask.eq(ones << offset)
        m.d.sync += [
            self.write.eq(valid),
            self.piece.buffer.eq(which),
            self.piece.word.eq(word),
            self.piece.bytes.eq(rotate_bytes(m, raw, rotation, BYTE_BITS)),
            self.piece.mask_low.eq(mask[: cfg.bus_bytes]),
            self.piece.mask_high.eq(mask[cfg.bus_bytes :]),
        ]
