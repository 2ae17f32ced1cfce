"""The two walks of a LOAD or STORE: over the bursts of its runs, and over the pieces of its beats.

docs/timing.md, section 3, says what runs, bursts, beats and pieces are.
"""

from __future__ import annotations

from typing import Any

from amaranth.lib import data

from hw.config import Config
from hw.isa import COUNT_BITS
from hw.rtl.axi import ADDRESS_BITS
from hw.rtl.hdl import Component, In, Module, Mux, Out, Signal
from hw.rtl.layouts import transfer_layout
from hw.rtl.logic import exact_log2, minimum
from hw.timing import PAGE


def is_whole(job: Any) -> Any:
    """Whether each row of a transfer is one run."""
    return (job.x_dram == job.seg) | (job.x_size == 1)


def burst_beats(longest: int, word: Any, left: Any, bus_bytes: int) -> Any:
    """Beats of the burst that begins at bus word `word` of a run that has `left` beats left."""
    page_words = PAGE // bus_bytes
    to_page = page_words - word[: exact_log2(page_words)]
    return minimum(to_page, left, longest)


class BurstWalker(Component):
    """The bursts of a transfer, one after the other.

    With `load`, takes `job`; from the next cycle on, while `valid`, `word` (the bus word's index), `beats` and `last`
    (of the transfer) describe a burst, and `next` goes to the following one.
    """

    def __init__(self, cfg: Config) -> None:
        self._cfg = cfg
        self._low = exact_log2(cfg.bus_bytes)
        super().__init__(
            {
                "load": In(1),
                "job": In(transfer_layout(cfg)),
                "valid": Out(1),
                "word": Out(ADDRESS_BITS - self._low),
                "beats": Out(range(cfg.burst_beats + 1)),
                "last": Out(1),
                "next": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m, cfg, job = Module(), self._cfg, self.job
        length = Signal(cfg.segment_bits + COUNT_BITS)
        run, row = Signal(ADDRESS_BITS), Signal(ADDRESS_BITS)
        x_dram, y_dram = Signal.like(job.x_dram), Signal.like(job.y_dram)
        x_size, x_left, y_left = (Signal(COUNT_BITS, name=n) for n in ("x_size", "x_left", "y_left"))
        left = Signal(len(length) + 1)

        def beats_of(address: Any, size: Any) -> Any:
            return (address[: self._low] + size + (cfg.bus_bytes - 1)) >> self._low

        m.d.comb += self.beats.eq(burst_beats(cfg.burst_beats, self.word, left, cfg.bus_bytes))
        run_end, row_end = Signal(), Signal()
        m.d.comb += [
            run_end.eq(left == self.beats),
            row_end.eq(x_left == 0),
            self.last.eq(run_end & row_end & (y_left == 0)),
        ]
        following = Signal(ADDRESS_BITS)
        m.d.comb += following.eq(Mux(row_end, row + y_dram, run + x_dram))
        with m.If(self.load):
            first_length = Signal.like(length)
            runs_left = Signal(COUNT_BITS)
            m.d.comb += [
                first_length.eq(Mux(is_whole(job), job.seg * job.x_size, job.seg)),
                runs_left.eq(Mux(is_whole(job), 0, job.x_size - 1)),
            ]
            m.d.sync += [
                self.valid.eq(1),
                length.eq(first_length),
                run.eq(job.dram),
                row.eq(job.dram),
                x_dram.eq(job.x_dram),
                y_dram.eq(job.y_dram),
                x_size.eq(runs_left),
                x_left.eq(runs_left),
                y_left.eq(job.y_size - 1),
                self.word.eq(job.dram >> self._low),
                left.eq(beats_of(job.dram, first_length)),
            ]
        with m.Elif(self.next):
            with m.If(~run_end):
                m.d.sync += [self.word.eq(self.word + self.beats), left.eq(left - self.beats)]
            with m.Else():
                m.d.sync += [
                    self.valid.eq(~self.last),
                    run.eq(following),
                    self.word.eq(following >> self._low),
                    left.eq(beats_of(following, length)),
                ]
                with m.If(row_end):
                    m.d.sync += [row.eq(following), x_left.eq(x_size), y_left.eq(y_left - 1)]
                with m.Else():
                    m.d.sync += x_left.eq(x_left - 1)
        return m


def pieces_layout(cfg: Config) -> data.StructLayout:
    """What the walk over pieces needs of a transfer; of DRAM addresses only the place in a bus word."""
    transfer = transfer_layout(cfg).members
    low = exact_log2(cfg.bus_bytes)
    return data.StructLayout(
        {
            **{n: transfer[n] for n in ("sram", "seg", "x_size", "x_sram", "y_size", "y_sram")},
            "dram": low,
            "x_dram": low,
            "y_dram": low,
            "whole": 1,
            "fill": 1,
        }
    )


def pieces_of(m: Module, job: Any, cfg: Config, fill: Any = 0) -> Any:
    """A transfer's View reduced to what the walk over its pieces needs."""
    result = Signal(pieces_layout(cfg))
    m.d.comb += [
        *(result[n].eq(job[n]) for n in ("sram", "seg", "x_size", "x_sram", "y_size", "y_sram")),
        *(result[n].eq(Mux(fill, 0, job[n])) for n in ("dram", "x_dram", "y_dram")),
        result.whole.eq(is_whole(job) & ~fill),
        result.fill.eq(fill),
    ]
    return result


class PieceWalker(Component):
    """The pieces of a transfer, one after the other; for a fill, the words it writes.

    With `load`, takes `job`; from the next cycle on, while `valid`, `sram`, `position` (in the bus word) and `length`,
    all in bytes, describe a piece, and `next` goes to the following one. `beat_end` marks the last piece of a beat,
    `end` that of the transfer. `load` may come together with the last `next`.
    """

    def __init__(self, cfg: Config) -> None:
        self._cfg = cfg
        self._low = exact_log2(cfg.bus_bytes)
        super().__init__(
            {
                "load": In(1),
                "job": In(pieces_layout(cfg)),
                "valid": Out(1),
                "fill": Out(1),
                "sram": Out(cfg.sram_address_bits),
                "position": Out(self._low),
                "length": Out(range(cfg.bus_bytes + 1)),
                "beat_end": Out(1),
                "end": Out(1),
                "next": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m, cfg = Module(), self._cfg
        job = Signal(pieces_layout(cfg))
        segment, row = Signal(cfg.sram_address_bits), Signal(cfg.sram_address_bits)
        run_position, row_position = Signal(self._low), Signal(self._low)
        seg_left = Signal(cfg.segment_bits)
        x_left, y_left = Signal(COUNT_BITS), Signal(COUNT_BITS)
        seg_end, x_end, y_end = Signal(), Signal(), Signal()
        room = Signal(range(cfg.bus_bytes + 1))
        behind = Signal(range(2 * cfg.bus_bytes))
        m.d.comb += [
            room.eq(cfg.bus_bytes - self.position),
            self.length.eq(minimum(room, seg_left)),
            behind.eq(self.position + self.length),
            seg_end.eq(seg_left == self.length),
            x_end.eq(x_left == 0),
            y_end.eq(y_left == 0),
            self.fill.eq(job.fill),
            self.end.eq(seg_end & x_end & y_end),
            self.beat_end.eq((self.length == room) | (seg_end & (~job.whole | x_end))),
        ]
        next_segment, next_row = Signal.like(segment), Signal.like(row)
        next_run_position, next_row_position = Signal.like(run_position), Signal.like(row_position)
        m.d.comb += [
            next_segment.eq(segment + job.x_sram),
            next_row.eq(row + job.y_sram),
            next_run_position.eq(Mux(job.whole, behind, run_position + job.x_dram)),
            next_row_position.eq(row_position + job.y_dram),
        ]
        with m.If(self.load):
            new = self.job
            m.d.sync += [
                job.eq(new),
                self.valid.eq(1),
                self.sram.eq(new.sram),
                segment.eq(new.sram),
                row.eq(new.sram),
                self.position.eq(new.dram),
                run_position.eq(new.dram),
                row_position.eq(new.dram),
                seg_left.eq(new.seg),
                x_left.eq(new.x_size - 1),
                y_left.eq(new.y_size - 1),
            ]
        with m.Elif(self.next):
            with m.If(~seg_end):
                m.d.sync += [
                    seg_left.eq(seg_left - self.length),
                    self.sram.eq(self.sram + self.length),
                    self.position.eq(0),
                ]
            with m.Else():
                m.d.sync += [self.valid.eq(~self.end), seg_left.eq(job.seg)]
                with m.If(~x_end):
                    m.d.sync += [
                        x_left.eq(x_left - 1),
                        self.sram.eq(next_segment),
                        segment.eq(next_segment),
                        self.position.eq(next_run_position),
                        run_position.eq(next_run_position),
                    ]
                with m.Else():
                    m.d.sync += [
                        x_left.eq(job.x_size - 1),
                        y_left.eq(y_left - 1),
                        self.sram.eq(next_row),
                        segment.eq(next_row),
                        row.eq(next_row),
                        self.position.eq(next_row_position),
                        run_position.eq(next_row_position),
                        row_position.eq(next_row_position),
                    ]
        return m
