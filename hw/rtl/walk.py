"""The two walks of a LOAD or STORE: over the bursts of its runs, and over the pieces of its beats.

docs/timing.md, section 3, says what runs, bursts, beats and pieces are.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from amaranth.lib import data

from hw.config import Config
from hw.isa import COUNT_BITS
from hw.rtl.axi import ADDRESS_BITS
from hw.rtl.hdl import Cat, Component, In, Module, Mux, Out, Signal
from hw.rtl.layouts import transfer_layout
from hw.rtl.logic import exact_log2, minimum
from hw.timing import PAGE


def job_layout(cfg: Config) -> data.StructLayout:
    """A decoded transfer: its fields, whether each row is one run, and the bytes of a run."""
    lengths = {"whole": 1, "run_bytes": cfg.segment_bits + COUNT_BITS}
    return data.StructLayout({**transfer_layout(cfg).members, **lengths})


class Decoded(NamedTuple):
    """A LOAD or STORE on its way into the walks: where it begins and whether each row is one run, and a cycle later
    all of it as job_layout, behind the queue's block RAM and the multiplier."""

    dram: Any
    whole: Signal
    job: Any


def decoded(m: Module, transfer: Any, cfg: Config) -> Decoded:
    """Decode a LOAD or STORE."""
    job, whole = Signal(job_layout(cfg)), Signal()
    m.d.comb += whole.eq((transfer.x_dram == transfer.seg) | (transfer.x_size == 1))
    m.d.sync += [
        *(job[n].eq(transfer[n]) for n in transfer_layout(cfg).members),
        job.whole.eq(whole),
        job.run_bytes.eq(Mux(whole, transfer.seg * transfer.x_size, transfer.seg)),
    ]
    return Decoded(transfer.dram, whole, job)


class Bursts:
    """How runs are cut into bursts of at most `longest` beats, none across the end of a page."""

    def __init__(self, longest: int, bus_bytes: int) -> None:
        page_words = PAGE // bus_bytes
        self._span = min(longest, page_words)
        self._page_bits = exact_log2(page_words)
        self._power_of_two = self._span & (self._span - 1) == 0
        self.bits = self._span.bit_length()
        """Bits of a burst's beats."""

    def limit(self, word: Any) -> Any:
        """Beats of a burst that begins at bus word `word` of a run that does not end before."""
        if self._power_of_two:
            limit = self._span - Mux(self._near_page_end(word), word[: exact_log2(self._span)], 0)
        else:
            limit = minimum((1 << self._page_bits) - word[: self._page_bits], self._span)
        return limit[: self.bits]

    def behind(self, word: Any, beats: Any) -> Any:
        """Where in its page the next burst of a run begins, behind the one of `beats` at `word`."""
        if self._power_of_two:
            # Such a burst is of `span` beats or ends with its page: no sum has to be waited for.
            return Mux(self._near_page_end(word), 0, word + self._span)[: self._page_bits]
        return (word + beats)[: self._page_bits]

    def left_behind(self, m: Module, left: Any, beats: Any) -> tuple[Any, Any]:
        """`left - beats` as its lower `bits` and whether others are set, by a short subtraction."""
        low, high = Signal(self.bits + 1), left[self.bits :]
        m.d.comb += low.eq(left[: self.bits] - beats)
        return low[: self.bits], Mux(low[-1], high > 1, high != 0)

    def _near_page_end(self, word: Any) -> Any:
        """Whether `word` is one of the last `span` of its page: only there is the page's end nearer than `span`."""
        return word[exact_log2(self._span) : self._page_bits].all()


def burst_of(limit: Any, near: Any, far: Any) -> tuple[Any, Any]:
    """The burst of at most `limit` beats of a run that has `near` beats left, or more if `far`.

    Returns its beats, and whether the run ends with it.
    """
    ends = ~far & (near <= limit)
    return Mux(ends, near, limit), ends


class BurstWalker(Component):
    """The bursts of a transfer, one after the other.

    With `load`, takes `job`, whose `dram` and `whole` have been there a cycle before; it must stay until the last
    burst is passed. From the next cycle on, while `valid`, `word` (the bus word's index), `beats` and `last` (of the
    transfer) describe a burst, and `next` goes to the following one. Of addresses only the lower `address_bits` are
    looked at, which must number the bytes of a page.

    `next` may depend on all outputs and come late: the walk does not wait for it, but goes one burst ahead.
    """

    def __init__(self, cfg: Config, address_bits: int = ADDRESS_BITS) -> None:
        self._cfg, self._address_bits = cfg, address_bits
        self._low = exact_log2(cfg.bus_bytes)
        super().__init__(
            {
                "dram": In(address_bits),
                "whole": In(1),
                "load": In(1),
                "job": In(job_layout(cfg)),
                "valid": Out(1),
                "word": Out(address_bits - self._low),
                "beats": Out(range(cfg.burst_beats + 1)),
                "last": Out(1),
                "next": In(1),
            }
        )

    def takes(self, m: Module, transfer: Decoded, load: Any) -> None:
        """Wire it to what is decoded, to take it when `load` says so."""
        m.d.comb += [
            self.dram.eq(transfer.dram),
            self.whole.eq(transfer.whole),
            self.job.eq(transfer.job),
            self.load.eq(load),
        ]

    def elaborate(self, platform: object) -> Module:
        m, cfg, job = Module(), self._cfg, self.job
        # The burst that the walk stands at is shown, unless one that it has left is kept for `next`.
        walking, keeping, go = (Signal(name=n) for n in ("walking", "keeping", "go"))
        word, length = Signal.like(self.word, name="at_word"), Signal.like(self.beats, name="length")
        # The run that comes after this one stands ready: where it begins, its beats, and where its row began.
        ahead, row = (Signal(self._address_bits, name=n) for n in ("ahead", "row"))
        left, ahead_left = (Signal(len(job.run_bytes) + 1, name=n) for n in ("left", "ahead_left"))
        # Runs that follow it in its row, rows that follow this one's.
        x_left, y_left = (Signal(COUNT_BITS, name=n) for n in ("x_left", "y_left"))
        run_end, last_run, row_end = (Signal(name=n) for n in ("run_end", "last_run", "row_end"))
        # The run behind it is found from its row's beginning.
        from_row = Signal()
        here = Cat(word, length, run_end & last_run)
        kept = Signal(len(here))
        m.d.comb += [
            go.eq(walking & ~keeping),
            self.valid.eq(walking | keeping),
            Cat(self.word, self.beats, self.last).eq(Mux(keeping, kept, here)),
        ]
        m.d.sync += keeping.eq(self.valid & ~self.next)
        with m.If(~keeping):
            m.d.sync += kept.eq(here)

        begin = Signal.like(ahead)
        m.d.comb += begin.eq(Mux(from_row, row, ahead) + Mux(row_end, job.y_dram, job.x_dram))

        def beats(address: Any) -> Any:
            return (address[: self._low] + job.run_bytes + (cfg.bus_bytes - 1)) >> self._low

        bursts = Bursts(cfg.burst_beats, cfg.bus_bytes)
        next_word, next_left, place = Signal.like(self.word), Signal.like(left), Signal.like(self.word)
        near, far = Signal(bursts.bits), Signal()
        low, high = bursts.left_behind(m, left, length)
        with m.If(self.load):
            m.d.comb += [place.eq(row >> self._low), next_word.eq(place), next_left.eq(beats(row))]
        with m.Elif(run_end):
            m.d.comb += [place.eq(ahead >> self._low), next_word.eq(place), next_left.eq(ahead_left)]
        with m.Else():
            m.d.comb += [
                place.eq(bursts.behind(word, length)),
                next_word.eq(word + length),
                next_left.eq(left - length),
            ]
        with m.If(self.load | run_end):
            m.d.comb += [near.eq(next_left), far.eq(next_left[bursts.bits :].any())]
        with m.Else():
            m.d.comb += [near.eq(low), far.eq(high)]
        next_beats, next_end = burst_of(bursts.limit(place), near, far)
        with m.If(self.load | go):
            m.d.sync += [word.eq(next_word), left.eq(next_left), length.eq(next_beats), run_end.eq(next_end)]
        with m.If(self.load | (go & run_end)):
            m.d.sync += [ahead.eq(begin), ahead_left.eq(beats(begin))]
        with m.If(self.load):
            m.d.sync += [
                walking.eq(1),
                x_left.eq(job.x_size - 2),
                row_end.eq(job.whole | (job.x_size == 2)),
                from_row.eq(job.whole | (job.x_size == 2)),
                last_run.eq(job.whole & (job.y_size == 1)),
                y_left.eq(job.y_size - 1 - job.whole),
            ]
            with m.If(job.whole):
                m.d.sync += row.eq(begin)
        with m.Elif(~walking):
            # Where the first run begins, its row does; the next one is in a new row if each row is one run.
            m.d.sync += [row.eq(self.dram), from_row.eq(1), row_end.eq(self.whole)]
        with m.Elif(go & run_end):
            m.d.sync += [walking.eq(~last_run), last_run.eq(row_end & (y_left == 0))]
            with m.If(row_end):
                m.d.sync += [row.eq(begin), x_left.eq(job.x_size - 1), y_left.eq(y_left - 1)]
                m.d.sync += [row_end.eq(job.whole), from_row.eq(job.whole)]
            with m.Else():
                m.d.sync += [x_left.eq(x_left - 1), row_end.eq(x_left == 1), from_row.eq(x_left == 1)]
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
