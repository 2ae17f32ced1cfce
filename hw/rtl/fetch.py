"""Instruction fetch and dispatch (docs/timing.md, section 4)."""

from __future__ import annotations

from hw.config import Config
from hw.isa import Unit
from hw.rtl.axi import ADDRESS_BITS
from hw.rtl.decode import Decoder
from hw.rtl.hdl import Array, Cat, Component, In, Memory, Module, Mux, Out, Signal
from hw.rtl.layouts import BYTE_BITS
from hw.rtl.logic import exact_log2
from hw.rtl.walk import Bursts, burst_of
from hw.timing import FETCH_FIFO

LENGTH_BITS = 32
"""Width of a program's length, instructions."""


class Fetch(Component):
    """Reads the program and hands its instructions, in order, to the queues.

    `start` takes the program's `address` (aligned to bus word and instruction) and `length`, which have stood still for
    two cycles in which `stop` was up or nothing was left to fetch; fetching begins in the next cycle. While `request`,
    a burst of `beats` at bus word `word` is wanted, until `granted`. Each `beat` at `data` is taken at once. `dispatch`
    has one bit a unit; `instruction` goes into that unit's queue if it has `room`.
    `illegal`: the next instruction is not one; it is not dispatched.
    """

    def __init__(self, cfg: Config) -> None:
        self._cfg = cfg
        super().__init__(
            {
                "start": In(1),
                "address": In(ADDRESS_BITS),
                "length": In(LENGTH_BITS),
                "stop": In(1),
                "request": Out(1),
                "word": Out(ADDRESS_BITS - exact_log2(cfg.bus_bytes)),
                "beats": Out(range(cfg.burst_beats + 1)),
                "granted": In(1),
                "beat": In(1),
                "data": In(cfg.bus_bits),
                "room": In(len(Unit)),
                "dispatch": Out(len(Unit)),
                "instruction": Out(cfg.instruction_bits),
                "illegal": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m, cfg = Module(), self._cfg
        bus, size = cfg.bus_bytes, cfg.instruction_bytes
        unit = min(bus, size)
        beat_units, instruction_units, fifo_units = bus // unit, size // unit, FETCH_FIFO * size // unit
        longest = min(cfg.burst_beats, FETCH_FIFO * size // (2 * bus))

        # Room is reserved when a burst is granted and given back when an instruction is dispatched.
        room = Signal(range(-fifo_units, fifo_units + 1), init=fifo_units)  # what the next burst would leave
        wanted = Signal()  # beats is not 0
        dispatched = self.dispatch.any()
        m.d.comb += self.request.eq(wanted & (room >= 0) & ~self.stop)
        # The burst that follows stands ready: where it begins, the beats left before it, and its own. Without a program
        # it is the first burst of the next one, so that a start is like a grant; a reset must not forget it.
        after_word = Signal(len(self.word), reset_less=True)
        after_left = Signal(LENGTH_BITS + exact_log2(instruction_units), reset_less=True)
        after_beats = Signal.like(self.beats, reset_less=True)
        shift, running = Signal(), Signal()
        passed = Signal.like(self.beats)
        m.d.comb += [
            shift.eq(self.start | self.granted),
            running.eq(self.start | wanted),
            passed.eq(Mux(running, after_beats, 0)),
        ]
        # What is left is a long number: whether much is left after a burst follows from a short subtraction.
        bursts = Bursts(longest, bus)
        near, far = bursts.left_behind(m, after_left, passed)
        next_word = Signal.like(after_word)
        m.d.comb += next_word.eq(after_word + passed)
        next_beats, _ = burst_of(bursts.limit(next_word), near, far)
        # What is dispatched is known late: both outcomes stand ready.
        freed, left_over = room + instruction_units, room - after_beats * beat_units
        m.d.sync += room.eq(Mux(dispatched, freed, room))
        with m.If(shift):
            m.d.sync += [
                self.word.eq(after_word),
                self.beats.eq(after_beats),
                wanted.eq(after_beats != 0),
                room.eq(Mux(dispatched, left_over + instruction_units, left_over)),
                after_word.eq(next_word),
                after_left.eq(after_left - passed),
                after_beats.eq(next_beats),
            ]
        with m.Elif(self.stop | ~wanted):
            units = self.length * instruction_units
            m.d.sync += [
                after_word.eq(self.address >> exact_log2(bus)),
                after_left.eq((units + (beat_units - 1)) >> exact_log2(beat_units)),
                after_beats.eq(next_beats),
            ]

        # A register between FIFO and queues, with what the decoder says about the instruction in it.
        held, legal, take = (Signal(name=n) for n in ("held", "legal", "take"))
        unit_bit = Signal(len(Unit))
        head, complete = self._store(m, take, beat_units, instruction_units)
        available = Signal(range(FETCH_FIFO + 1))
        left, more = Signal(LENGTH_BITS, name="left"), Signal(name="more")
        m.d.comb += take.eq((available != 0) & (~held | dispatched))
        m.d.sync += available.eq(
            Mux(
                complete,
                Mux(take, available + (beat_units - 1), available + beat_units),
                Mux(take, available - 1, available),
            )
        )
        with m.If(self.start):
            m.d.sync += [left.eq(self.length), more.eq(self.length != 0)]
        with m.Elif(dispatched):
            m.d.sync += [left.eq(left - 1), more.eq(left != 1)]

        m.submodules.decoder = decoder = Decoder(cfg)
        present = Signal()
        m.d.comb += [
            present.eq(held & more & ~self.stop),
            decoder.instruction.eq(head),
            self.illegal.eq(present & ~legal),
            self.dispatch.eq(unit_bit & self.room & (present & legal).replicate(len(Unit))),
        ]
        with m.If(take):
            m.d.sync += [held.eq(1), self.instruction.eq(head), unit_bit.eq(decoder.unit), legal.eq(decoder.legal)]
        with m.Elif(dispatched):
            m.d.sync += held.eq(0)
        return m

    def _store(self, m: Module, take: Signal, beat_units: int, instruction_units: int) -> tuple[Signal, Signal]:
        """The FIFO: as many columns as beats make an instruction, or instructions a beat.

        Returns the instruction at its head, and whether one is complete.
        """
        cfg = self._cfg
        columns = max(beat_units, instruction_units)
        column_bits = exact_log2(columns)
        width = BYTE_BITS * min(cfg.bus_bytes, cfg.instruction_bytes)
        rows = FETCH_FIFO // beat_units
        write_row, read_row = (Signal(range(rows), name=f"{side}_row") for side in ("write", "read"))
        write_column, read_column = (Signal(column_bits, name=f"{side}_column") for side in ("write", "read"))
        outputs = []
        for c in range(columns):
            m.submodules[f"column_{c}"] = column = Memory(shape=width, depth=rows, init=[])
            write, read = column.write_port(), column.read_port(domain="comb")
            whole_beat = beat_units > 1
            m.d.comb += [
                write.addr.eq(write_row),
                write.data.eq(self.data.word_select(c, width) if whole_beat else self.data),
                write.en.eq(self.beat if whole_beat else self.beat & (write_column == c)),
                read.addr.eq(read_row),
            ]
            outputs.append(read.data)
        head, complete = Signal(cfg.instruction_bits), Signal()
        if beat_units > 1:
            m.d.comb += [complete.eq(self.beat), head.eq(Array(outputs)[read_column])]
            with m.If(take):
                m.d.sync += read_column.eq(read_column + 1)
            last_column = read_column == columns - 1
        else:
            m.d.comb += [complete.eq(self.beat & (write_column == columns - 1)), head.eq(Cat(*outputs))]
            with m.If(self.beat):
                m.d.sync += write_column.eq(write_column + 1)
            last_column = 1
        with m.If(complete):
            m.d.sync += write_row.eq(write_row + 1)
        with m.If(take & last_column):
            m.d.sync += read_row.eq(read_row + 1)
        return head, complete
