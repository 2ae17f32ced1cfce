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


def burst_bits(longest: int, bus_bytes: int) -> int:
    """Bits of a burst's beats."""
    return min(longest, PAGE // bus_bytes).bit_length()


def burst_of(longest: int, word: Any, near: Any, far: Any, bus_bytes: int) -> tuple[Any, Any]:
    """The burst that begins at bus word `word` of a run that has `near` beats left, or more if `far`.

    `near` has as many bits as `burst_bits` says. Returns its beats, and whether the run ends with it.
    """
    page_words = PAGE // bus_bytes
    span = min(longest, page_words)
    if span & (span - 1):
        limit = minimum(page_words - word[: exact_log2(page_words)], span)
    else:
        # Only in the last `span` words of a page is its end nearer than `span`.
        low, page = exact_log2(span), exact_log2(page_words)
        limit = span - Mux(word[low:page].all(), word[:low], 0)
    limit = limit[: burst_bits(longest, bus_bytes)]
    ends = ~far & (near <= limit)
    return Mux(ends, near, limit), ends


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
        # The run that comes after this one stands ready: where it begins, its beats, and where its row began.
        ahead, row = (Signal(ADDRESS_BITS, name=n) for n in ("ahead", "row"))
        length = Signal(cfg.segment_bits + COUNT_BITS)
        left, ahead_left = (Signal(len(length) + 1, name=n) for n in ("left", "ahead_left"))
        x_dram, y_dram = Signal.like(job.x_dram), Signal.like(job.y_dram)
        # Runs that follow it in its row, rows that follow this one's.
        x_size, x_left, y_left = (Signal(COUNT_BITS, name=n) for n in ("x_size", "x_left", "y_left"))
        run_end, last_run, row_end = (Signal(name=n) for n in ("run_end", "last_run", "row_end"))
        m.d.comb += self.last.eq(run_end & last_run)

        size, runs = Signal.like(length), Signal(COUNT_BITS)
        origin, step, begin = (Signal(ADDRESS_BITS, name=n) for n in ("origin", "step", "begin"))
        m.d.comb += [
            size.eq(Mux(self.load, Mux(job.whole, job.row_bytes, job.seg), length)),
            runs.eq(Mux(job.whole, 0, job.x_size - 1)),
            origin.eq(Mux(self.load, job.dram, Mux(row_end, row, ahead))),
            step.eq(Mux(self.load, Mux(job.whole, job.y_dram, job.x_dram), Mux(row_end, y_dram, x_dram))),
            begin.eq(origin + step),
        ]

        def beats(address: Any) -> Any:
            return (address[: self._low] + size + (cfg.bus_bytes - 1)) >> self._low

        # The next burst is worked out whether or not `next` asks for it.
        next_word, next_left = Signal.like(self.word), Signal.like(left)
        with m.If(self.load):
            m.d.comb += [next_word.eq(job.dram >> self._low), next_left.eq(beats(job.dram))]
        with m.Elif(run_end):
            m.d.comb += [next_word.eq(ahead >> self._low), next_left.eq(ahead_left)]
        with m.Else():
            m.d.comb += [next_word.eq(self.word + self.beats), next_left.eq(left - self.beats)]
        bits = burst_bits(cfg.burst_beats, cfg.bus_bytes)
        near, far = next_left[:bits], next_left[bits:].any()
        next_beats, next_end = burst_of(cfg.burst_beats, next_word, near, far, cfg.bus_bytes)
        with m.If(self.load | self.next):
            m.d.sync += [self.word.eq(next_word), left.eq(next_left), self.beats.eq(next_beats), run_end.eq(next_end)]
        with m.If(self.load | (self.next & run_end)):
            m.d.sync += [ahead.eq(begin), ahead_left.eq(beats(begin))]
        with m.If(self.load):
            m.d.sync += [
                self.valid.eq(1),
                length.eq(size),
                row.eq(Mux(job.whole, begin, job.dram)),
                x_dram.eq(job.x_dram),
                y_dram.eq(job.y_dram),
                x_size.eq(runs),
                x_left.eq(Mux(job.whole, 0, job.x_size - 2)),
                row_end.eq(job.whole | (job.x_size == 2)),
                last_run.eq(job.whole & (job.y_size == 1)),
                y_left.eq(job.y_size - 1 - job.whole),
            ]
        with m.Elif(self.next & run_end):
            m.d.sync += [self.valid.eq(~last_run), last_run.eq(row_end & (y_left == 0))]
            with m.If(row_end):
                m.d.sync += [row.eq(begin), x_left.eq(x_size), row_end.eq(x_size == 0), y_left.eq(y_left - 1)]
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
            "first": first_layout(cfg),
        }
    )


def first_layout(cfg: Config) -> data.StructLayout:
    """What is told of a piece where it is worked out, for the first one of a transfer."""
    return data.StructLayout(
        {"length": range(cfg.bus_bytes + 1), **dict.fromkeys(("beat_end", "seg_end", "x_end", "y_end"), 1)}
    )


def piece_at(position: Any, left: Any, last_segment: Any, bus_bytes: int) -> tuple[Any, Any, Any]:
    """The piece at a position in a bus word, of a segment that has `left` bytes left.

    Returns its length, whether it ends its beat (`last_segment`: the run ends with the segment), and the segment.
    """
    room, near = bus_bytes - position, left[: bus_bytes.bit_length()]
    short = ~left[len(near) :].any()
    ends = short & (near <= room)
    return Mux(ends, near, room), ~(short & (near < room)) | (ends & last_segment), ends


def pieces_of(m: Module, job: Any, cfg: Config, fill: Any = 0) -> Any:
    """A decoded transfer reduced to what the walk over its pieces needs."""
    result = Signal(pieces_layout(cfg))
    m.d.comb += [
        *(result[n].eq(job[n]) for n in ("sram", "seg", "x_size", "x_sram", "y_size", "y_sram")),
        *(result[n].eq(Mux(fill, 0, job[n])) for n in ("dram", "x_dram", "y_dram")),
        result.whole.eq(job.whole & ~fill),
        result.fill.eq(fill),
    ]
    first = result.first
    length, beat_end, seg_end = piece_at(result.dram, job.seg, ~result.whole | first.x_end, cfg.bus_bytes)
    m.d.comb += [
        first.x_end.eq(job.x_size == 1),
        first.y_end.eq(job.y_size == 1),
        first.length.eq(length),
        first.beat_end.eq(beat_end),
        first.seg_end.eq(seg_end),
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
            behind.eq(self.position + self.length),
            next_segment.eq(segment + job.x_sram),
            next_row.eq(row + job.y_sram),
            next_run_position.eq(Mux(job.whole, behind, run_position + job.x_dram)),
            next_row_position.eq(row_position + job.y_dram),
        ]
        # The next piece is worked out whether or not `next` asks for it; the first of a transfer has been before.
        new, next_position, next_left = self.job, Signal.like(run_position), Signal.like(seg_left)
        next_x_end, next_y_end = Signal(), Signal()
        m.d.comb += [
            next_position.eq(Mux(seg_end, Mux(x_end, next_row_position, next_run_position), 0)),
            next_left.eq(Mux(seg_end, job.seg, seg_left - self.length)),
            next_x_end.eq(Mux(seg_end, Mux(x_end, job.x_size == 1, x_left == 1), x_end)),
            next_y_end.eq(Mux(seg_end & x_end, y_left == 1, y_end)),
        ]
        length, beat_end, ends = piece_at(next_position, next_left, ~job.whole | next_x_end, self._cfg.bus_bytes)
        with m.If(self.load):
            m.d.sync += [
                self.position.eq(new.dram),
                self.length.eq(new.first.length),
                self.beat_end.eq(new.first.beat_end),
                seg_left.eq(new.seg),
                seg_end.eq(new.first.seg_end),
                x_end.eq(new.first.x_end),
                y_end.eq(new.first.y_end),
                self.end.eq(new.first.seg_end & new.first.x_end & new.first.y_end),
            ]
        with m.Elif(self.next):
            m.d.sync += [
                self.position.eq(next_position),
                self.length.eq(length),
                self.beat_end.eq(beat_end),
                seg_left.eq(next_left),
                seg_end.eq(ends),
                x_end.eq(next_x_end),
                y_end.eq(next_y_end),
                self.end.eq(ends & next_x_end & next_y_end),
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
