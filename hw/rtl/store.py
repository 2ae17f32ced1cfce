"""The store unit (docs/timing.md, section 7)."""

from __future__ import annotations

from typing import Any

from amaranth.lib import fifo

from hw.config import Config
from hw.isa import Opcode, Unit
from hw.rtl.axi import ADDRESS_BITS
from hw.rtl.hdl import Component, Const, In, Module, Mux, Out, Signal, signed
from hw.rtl.layouts import BYTE_BITS, instruction_view, unit_bits
from hw.rtl.logic import exact_log2, rotate_bytes
from hw.rtl.read_port import OUTSTANDING_BITS
from hw.rtl.walk import BurstWalker, Decoded, PieceWalker, decoded, pieces_of
from hw.timing import IN_FLIGHT, PAGE


class StoreUnit(Component):
    """Stores, from the output buffer to the write channels.

    `start` takes an instruction, which stands at `instruction` from the next cycle on; `free` permits the next start.
    `read`: bus words `word` and the next of the output buffer are wanted at `low` and `high` in the next cycle, to stay
    there until the next `read`. `done`: the last response of the oldest instruction has come. `stop` ends
    presenting addresses; what has been addressed is still written. `outstanding`: some burst has no response yet.

    A burst's data are presented from the cycle after its address on, accepted or not: AXI lets a memory wait for either
    before it takes the other.
    """

    def __init__(self, cfg: Config) -> None:
        self._cfg = cfg
        self._full = Signal()  # the W register holds a whole beat
        word = ADDRESS_BITS - exact_log2(cfg.bus_bytes)
        super().__init__(
            {
                "start": In(1),
                "instruction": In(unit_bits(Unit.STORE, cfg)),
                "free": Out(1),
                "done": Out(1),
                "working": Out(1),
                "stop": In(1),
                "outstanding": Out(1),
                "read": Out(1),
                "word": Out(cfg.sram_address_bits - exact_log2(cfg.bus_bytes)),
                "low": In(cfg.bus_bits),
                "high": In(cfg.bus_bits),
                "awvalid": Out(1),
                "awready": In(1),
                "awword": Out(word),
                "awbeats": Out(range(cfg.burst_beats + 1)),
                "wvalid": Out(1),
                "wready": In(1),
                "wdata": Out(cfg.bus_bits),
                "wstrb": Out(cfg.bus_bytes),
                "wlast": Out(1),
                "bvalid": In(1),
                "bready": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m, cfg = Module(), self._cfg
        transfer = decoded(m, instruction_view(Opcode.STORE, cfg, self.instruction), cfg)
        started, decoding, busy = (Signal(name=n) for n in ("started", "decoding", "busy"))
        taken, last_of_all = Signal(), Signal()
        m.d.sync += [started.eq(self.start), decoding.eq(started)]
        with m.If(self.start):
            m.d.sync += busy.eq(1)
        with m.Elif(taken & last_of_all):
            m.d.sync += busy.eq(0)
        m.d.comb += taken.eq(self.wvalid & self.wready)
        issued, addressing = self._addresses(m, transfer, decoding, taken)
        # A memory may take the last data before their address.
        m.d.comb += self.free.eq(~busy & ~addressing)
        self._data(m, transfer, decoding, taken, last_of_all)
        self._responses(m, taken & last_of_all, issued)
        return m

    def _addresses(self, m: Module, transfer: Decoded, decoding: Signal, taken: Signal) -> tuple[Signal, Signal]:
        """AW, and the bursts whose data may go.

        Returns how many addresses have been presented before this cycle, modulo its width, and whether some are left.
        """
        m.submodules.bursts = bursts = BurstWalker(self._cfg)
        bursts.takes(m, transfer, decoding)
        issued, owed = (Signal(OUTSTANDING_BITS, name=n) for n in ("issued", "owed"))
        waiting, presented = (Signal(name=n) for n in ("waiting", "presented"))
        self._due = due = Signal(name="due")
        m.d.comb += [
            # Once presented, an address stays until it is accepted. The bound on those owed is never reached with a
            # memory that bounds what is outstanding.
            self.awvalid.eq(bursts.valid & (waiting | (~self.stop & ~owed.all()))),
            self.awword.eq(bursts.word),
            self.awbeats.eq(bursts.beats),
            presented.eq(self.awvalid & ~waiting),
            bursts.next.eq(self.awvalid & self.awready),
            self.wvalid.eq(self._full & due),
        ]
        m.d.sync += [
            waiting.eq(self.awvalid & ~self.awready),
            issued.eq(issued + presented),
            owed.eq(owed + presented - (taken & self.wlast)),
        ]
        with m.If(presented):
            m.d.sync += due.eq(1)
        with m.Elif(taken & self.wlast):
            m.d.sync += due.eq(owed != 1)
        return issued, bursts.valid

    def _data(self, m: Module, transfer: Decoded, decoding: Signal, taken: Signal, last_of_all: Signal) -> None:
        """Three stages that move together: walk, buffer output, W register, which collects the pieces of a beat."""
        cfg = self._cfg
        low = exact_log2(cfg.bus_bytes)
        m.submodules.data_bursts = bursts = BurstWalker(cfg, exact_log2(PAGE))
        bursts.takes(m, transfer, decoding)
        m.submodules.walker = walker = PieceWalker(cfg)
        move, burst_end, last_beat = Signal(), Signal(), Signal()
        beat = Signal(range(cfg.burst_beats + 1), init=1)
        m.d.comb += [
            walker.load.eq(decoding),
            walker.job.eq(pieces_of(m, transfer.job, cfg)),
            move.eq(~self._full | (self._due & self.wready)),
            walker.next.eq(walker.valid & move),
            self.working.eq(walker.next),
            self.read.eq(walker.next),
            self.word.eq(walker.sram >> low),
            last_beat.eq(beat == bursts.beats),
            burst_end.eq(walker.beat_end & last_beat),
            bursts.next.eq(walker.next & burst_end),
        ]
        with m.If(walker.next & walker.beat_end):
            m.d.sync += beat.eq(Mux(burst_end, 1, beat + 1))

        # Second stage: beside the buffer's output, what it is.
        valid, beat_end, burst_last, end = (Signal(name=n) for n in ("valid", "beat_end", "burst_last", "end"))
        offset, position = Signal(low), Signal(low)
        length = Signal.like(walker.length)
        with m.If(move):
            m.d.sync += [
                valid.eq(walker.valid),
                beat_end.eq(walker.beat_end),
                burst_last.eq(burst_end),
                end.eq(walker.end),
                offset.eq(walker.sram[:low]),
                position.eq(walker.position),
                length.eq(walker.length),
            ]
        from_low = Signal(cfg.bus_bytes)
        m.d.comb += from_low.eq(Const(-1, signed(cfg.bus_bytes)) << offset)
        lanes = range(0, cfg.bus_bits, BYTE_BITS)
        joined = Signal(cfg.bus_bits)
        for i, at in enumerate(lanes):
            lane = slice(at, at + BYTE_BITS)
            m.d.comb += joined[lane].eq(Mux(from_low[i], self.low[lane], self.high[lane]))
        aligned = Signal(cfg.bus_bits)
        mask = Signal(cfg.bus_bytes)
        m.d.comb += [
            aligned.eq(rotate_bytes(m, joined, (position - offset)[:low], BYTE_BITS)),
            mask.eq(((1 << length) - 1) << position),
        ]

        # Third stage.
        partial = Signal()
        with m.If(move):
            m.d.sync += [self._full.eq(valid & beat_end), partial.eq((valid & ~beat_end) | (partial & ~valid))]
            with m.If(valid):
                m.d.sync += [
                    self.wstrb.eq(mask | Mux(partial, self.wstrb, 0)),
                    self.wlast.eq(burst_last),
                    last_of_all.eq(end),
                ]
                for i, at in enumerate(lanes):
                    with m.If(mask[i]):
                        m.d.sync += self.wdata[at : at + BYTE_BITS].eq(aligned[at : at + BYTE_BITS])

    def _responses(self, m: Module, finished: Any, issued: Signal) -> None:
        """Responses come in order: an instruction is done when as many have come as had been issued at its end."""
        m.submodules.ends = ends = fifo.SyncFIFO(width=len(issued), depth=IN_FLIGHT)
        answered, following = (Signal.like(issued, name=n) for n in ("answered", "following"))
        m.d.comb += [
            self.bready.eq(1),
            following.eq(answered + 1),
            ends.w_data.eq(issued),
            ends.w_en.eq(finished),
            self.done.eq(self.bvalid & ends.r_rdy & (ends.r_data == following)),
            ends.r_en.eq(self.done),
            self.outstanding.eq((issued != answered) | self.awvalid),
        ]
        with m.If(self.bvalid):
            m.d.sync += answered.eq(following)
