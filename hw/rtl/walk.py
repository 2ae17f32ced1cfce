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


def job_layout(cfg: Config) -> data.StructLayout:
    """A decoded transfer: its fields, whether each row is one run, and a run's length in bytes if so."""
    lengths = {"whole": 1, "row_bytes": cfg.segment_bits + COUNT_BITS}
    return data.StructLayout({**transfer_layout(cfg).members, **lengths})


def decoded(m: Module, transfer: Any, cfg: Config) -> Any:
    """A LOAD or STORE as job_layout, a cycle later: behind the queue's block RAM and the multiplier."""
    job = Signal(job_layout(cfg))
    m.d.sync += [
        *(job[n].eq(transfer[n]) for n in transfer_layout(cfg).members),
        job.whole.eq((transfer.x_dram == transfer.seg) | (transfer.x_size == 1)),
        job.row_bytes.eq(transfer.seg * transfer.x_size),
    ]
    return job


def burst_of(longest: int, word: Any, left: Any, bus_bytes: int) -> tuple[Any, Any]:
    """Beats of the burst that begins at bus word `word` of a run that has `left` beats left; whether the run ends."""
    page_words = PAGE // bus_bytes
    span = min(longest, page_words)
    if span & (span - 1):
        limit = minimum(page_words - word[: exact_log2(page_words)], span)
    else:
        # Only in the last `span` words of a page is its end nearer than `span`.
        low, page = exact_log2(span), exact_log2(page_words)
        limit = span - Mux(word[low:page].all(), word[:low], 0)
    bits = span.bit_length()
    limit = limit[:bits]
    ends = ~left[bits:].any() & (left[:bits] <= limit)
    return Mux(ends, left[:bits], limit), ends


class BurstWalker(Component):
    """The bursts of a transfer, one after the other.

    With `load`, takes `job`; from the next cycle on, while `valid`, `word` (the bus word's index), `beats` and `last`
    (of the transfer) describe a burst, and `next` goes to the following one. All are registers, `last` is nearly one:
    what `next` depends on may depend on them.
    """

    def __init__(self, cfg: Config) -> None:
        self._cfg = cfg
        self._low = exact_log2(cfg.bus_bytes)
        super().__init__(
            {
                "load": In(1),
                "job": In(job_layout(cfg)),
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
        run, row = (Signal(ADDRESS_BITS, name=n) for n in ("run", "row"))
        x_dram, y_dram = Signal.like(job.x_dram), Signal.like(job.y_dram)
        x_size, x_left, y_left = (Signal(COUNT_BITS, name=n) for n in ("x_size", "x_left", "y_left"))
        left = Signal(len(length) + 1)
        run_end, row_end = (Signal(name=n) for n in ("run_end", "row_end"))
        m.d.comb += self.last.eq(run_end & row_end & (y_left == 0))

        first_length, runs_left = Signal.like(length), Signal(COUNT_BITS)
        following = Signal(ADDRESS_BITS)
        m.d.comb += [
            first_length.eq(Mux(job.whole, job.row_bytes, job.seg)),
            runs_left.eq(Mux(job.whole, 0, job.x_size - 1)),
            following.eq(Mux(row_end, row, run) + Mux(row_end, y_dram, x_dram)),
        ]
        # What comes next is worked out whether or not `next` asks for it.
        begin, size = Signal(ADDRESS_BITS), Signal.like(length)
        next_word, next_left = Signal.like(self.word), Signal.like(left)
        m.d.comb += [
            begin.eq(Mux(self.load, job.dram, following)),
            size.eq(Mux(self.load, first_length, length)),
            next_word.eq(begin >> self._low),
            next_left.eq((begin[: self._low] + size + (cfg.bus_bytes - 1)) >> self._low),
        ]
        with m.If(~self.load & ~run_end):
            m.d.comb += [next_word.eq(self.word + self.beats), next_left.eq(left - self.beats)]
        next_beats, next_end = burst_of(cfg.burst_beats, next_word, next_left, cfg.bus_bytes)
        with m.If(self.load | self.next):
            m.d.sync += [self.word.eq(next_word), left.eq(next_left), self.beats.eq(next_beats), run_end.eq(next_end)]
        with m.If(self.load):
            m.d.sync += [
                self.valid.eq(1),
                length.eq(first_length),
                run.eq(job.dram),
                row.eq(job.dram),
                x_dram.eq(job.x_dram),
                y_dram.eq(job.y_dram),
                x_size.eq(runs_left),
                x_left.eq(runs_left),
                row_end.eq(job.whole | (job.x_size == 1)),
                y_left.eq(job.y_size - 1),
            ]
        with m.Elif(self.next & run_end):
            m.d.sync += [self.valid.eq(~self.last), run.eq(following)]
            with m.If(row_end):
                m.d.sync += [row.eq(following), x_left.eq(x_size), row_end.eq(x_size == 0), y_left.eq(y_left - 1)]
            with m.Else():
                m.d.sync += [x_left.eq(x_left - 1), row_end.eq(x_left == 1)]
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
    """A decoded transfer reduced to what the walk over its pieces needs."""
    result = Signal(pieces_layout(cfg))
    m.d.comb += [
        *(result[n].eq(job[n]) for n in ("sram", "seg", "x_size", "x_sram", "y_size", "y_sram")),
        *(result[n].eq(Mux(fill, 0, job[n])) for n in ("dram", "x_dram", "y_dram")),
        result.whole.eq(job.whole & ~fill),
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
        segment, row = (Signal(cfg.sram_address_bits, name=n) for n in ("segment", "row"))
        run_position, row_position = (Signal(self._low, name=n) for n in ("run_position", "row_position"))
        seg_left = Signal(cfg.segment_bits)
        x_left, y_left = (Signal(COUNT_BITS, name=n) for n in ("x_left", "y_left"))
        seg_end, x_end, y_end = (Signal(name=n) for n in ("seg_end", "x_end", "y_end"))
        behind = Signal(range(2 * cfg.bus_bytes))
        next_segment, next_row = Signal.like(segment), Signal.like(row)
        next_run_position, next_row_position = Signal.like(run_position), Signal.like(row_position)
        m.d.comb += [
            self.fill.eq(job.fill),
            self.end.eq(seg_end & x_end & y_end),
            behind.eq(self.position + self.length),
            next_segment.eq(segment + job.x_sram),
            next_row.eq(row + job.y_sram),
            next_run_position.eq(Mux(job.whole, behind, run_position + job.x_dram)),
            next_row_position.eq(row_position + job.y_dram),
        ]
        # The next piece is worked out whether or not `next` asks for it: what describes a piece is registers.
        new, next_position, next_left = self.job, Signal.like(run_position), Signal.like(seg_left)
        next_x_end, next_y_end, whole = Signal(), Signal(), Signal()
        with m.If(self.load):
            m.d.comb += [
                next_position.eq(new.dram),
                next_left.eq(new.seg),
                next_x_end.eq(new.x_size == 1),
                next_y_end.eq(new.y_size == 1),
                whole.eq(new.whole),
            ]
        with m.Else():
            m.d.comb += [
                next_position.eq(Mux(seg_end, Mux(x_end, next_row_position, next_run_position), 0)),
                next_left.eq(Mux(seg_end, job.seg, seg_left - self.length)),
                next_x_end.eq(Mux(seg_end, Mux(x_end, job.x_size == 1, x_left == 1), x_end)),
                next_y_end.eq(Mux(seg_end & x_end, y_left == 1, y_end)),
                whole.eq(job.whole),
            ]
        room, near = Signal(range(cfg.bus_bytes + 1)), Signal(range(cfg.bus_bytes + 1))
        short, ends = Signal(), Signal()
        m.d.comb += [
            room.eq(cfg.bus_bytes - next_position),
            near.eq(next_left),
            short.eq(~next_left[len(near) :].any()),
            ends.eq(short & (near <= room)),
        ]
        with m.If(self.load | self.next):
            m.d.sync += [
                self.position.eq(next_position),
                self.length.eq(Mux(ends, near, room)),
                self.beat_end.eq(~(short & (near < room)) | (ends & (~whole | next_x_end))),
                seg_left.eq(next_left),
                seg_end.eq(ends),
                x_end.eq(next_x_end),
                y_end.eq(next_y_end),
            ]
        with m.If(self.load):
            m.d.sync += [
                job.eq(new),
                self.valid.eq(1),
                self.sram.eq(new.sram),
                segment.eq(new.sram),
                row.eq(new.sram),
                run_position.eq(new.dram),
                row_position.eq(new.dram),
                x_left.eq(new.x_size - 1),
                y_left.eq(new.y_size - 1),
            ]
        with m.Elif(self.next):
            with m.If(~seg_end):
                m.d.sync += self.sram.eq(self.sram + self.length)
            with m.Elif(~x_end):
                m.d.sync += [
                    x_left.eq(x_left - 1),
                    self.sram.eq(next_segment),
                    segment.eq(next_segment),
                    run_position.eq(next_run_position),
                ]
            with m.Else():
                m.d.sync += [
                    self.valid.eq(~self.end),
                    x_left.eq(job.x_size - 1),
                    y_left.eq(y_left - 1),
                    self.sram.eq(next_row),
                    segment.eq(next_row),
                    row.eq(next_row),
                    run_position.eq(next_row_position),
                    row_position.eq(next_row_position),
                ]
        return m
