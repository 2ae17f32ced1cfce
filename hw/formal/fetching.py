"""Claims about the instruction FIFO of the fetch unit."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Value

from hw.config import Config
from hw.formal.bench import Bench, anything, distance
from hw.isa import Unit
from hw.rtl.fetch import Fetch
from hw.rtl.hdl import Array, Cat, Mux, Signal
from hw.rtl.logic import exact_log2
from hw.timing import FETCH_FIFO

COUNT_BITS = 10
"""Width of counters of beats and instructions that stay below the size of the FIFO."""


def fetch_fifo(bus_bits: int, instruction_bits: int = 256, block: type[Fetch] = Fetch) -> Bench:
    """The fetch unit, started once after a reset, before a memory that delivers only beats it was granted.

    A queue unit takes what is dispatched to it; a `unit` of the FIFO is a beat or an instruction, whichever is less.
    """
    cfg = Config(bus_bits=bus_bits, instruction_bits=instruction_bits)
    bench = Bench("fetch FIFO", f"{bus_bits}-bit bus, {instruction_bits}-bit instructions")
    m, fetch = bench.m, bench.add("fetch", block(cfg))
    unit = min(cfg.bus_bytes, cfg.instruction_bytes)
    beat_units, instruction_units = cfg.bus_bytes // unit, cfg.instruction_bytes // unit
    size = FETCH_FIFO * instruction_units
    dispatched, used = Signal(), Signal()
    m.d.comb += dispatched.eq(fetch.dispatch.any())
    with m.If(fetch.start):
        m.d.sync += used.eq(1)
    under_way, stored = Signal(COUNT_BITS), Signal(COUNT_BITS)
    m.d.sync += [
        under_way.eq(under_way + Mux(fetch.granted, fetch.beats * beat_units, 0) - Mux(fetch.beat, beat_units, 0)),
        stored.eq(stored + Mux(fetch.beat, beat_units, 0) - Mux(dispatched, instruction_units, 0)),
    ]
    bench.assume(~fetch.start | ~used)
    bench.assume(~fetch.granted | fetch.request)
    bench.assume(~fetch.beat | (under_way != 0))

    bench.claim(
        "what is reserved is what is under way or stored, and never more than the FIFO holds",
        bench.inside("fetch.room").as_signed() + under_way + stored + fetch.beats * beat_units == size,
        under_way <= size,
        stored <= size,
        under_way + stored <= size,
        (under_way & (beat_units - 1)) == 0,
    )
    bench.claim(
        "at most one instruction a cycle, to one unit",
        _at_most_one(fetch.dispatch),
        _at_most_one(bench.inside("fetch.unit_bit")),
    )
    bench.claim("an instruction goes only to a queue with room", (fetch.dispatch & ~fetch.room) == 0)
    bench.claim("nothing is dispatched before it is whole", ~dispatched | (stored >= instruction_units))
    bench.claim("nothing is requested or dispatched once stopped", ~fetch.stop | ~(fetch.request | dispatched))
    after_left, after_beats = bench.inside("fetch.after_left"), bench.inside("fetch.after_beats")
    follows = ((after_beats == 0) == (after_left == 0)) & (after_beats <= after_left)
    bench.assume(~fetch.start | follows)
    stopped = Signal()
    m.d.sync += stopped.eq(stopped | fetch.stop)
    bench.assume(~stopped | fetch.stop)
    bench.claim(
        "a burst has at least one beat, no more than are left, and no more than there is room for",
        used | (fetch.beats == 0),
        bench.inside("fetch.wanted") == (fetch.beats != 0),
        ~used | stopped | (fetch.beats == 0) | follows,
        ~fetch.request | ((fetch.beats != 0) & (under_way + stored + fetch.beats * beat_units <= size)),
    )
    bursts = Signal(COUNT_BITS)
    m.d.sync += bursts.eq(Mux(dispatched, 0, bursts + fetch.granted))
    bench.claim(
        "between two dispatches it is granted no more bursts than the FIFO has units (so it cannot starve the loads)",
        bursts * beat_units <= under_way + stored,
    )
    _ring(bench, fetch, stored, beat_units, instruction_units, dispatched)
    return bench


def _at_most_one(bits: Any) -> Any:
    value = Cat(bits)
    return (value & (value - 1)[: len(Unit)]) == 0


def _ring(bench: Bench, fetch: Fetch, stored: Any, beat_units: int, instruction_units: int, dispatched: Any) -> None:
    """The place of every unit, in the FIFO or the decoder's register, and one followed from the bus to its dispatch."""
    m = bench.m
    size = FETCH_FIFO * instruction_units
    columns = max(beat_units, instruction_units)
    held, ahead = bench.inside("fetch.held"), Signal(range(instruction_units + 1))
    m.d.comb += ahead.eq(Mux(held, instruction_units, 0))
    place: dict[str, Any] = {}
    for side in ("write", "read"):
        place[side] = Signal(range(size), name=f"{side}_place")
        moving = columns > 1 and (side == "read") == (beat_units > 1)
        column = bench.inside(f"fetch.{side}_column") if moving else 0
        m.d.comb += place[side].eq(bench.inside(f"fetch.{side}_row") * columns + column)
    bench.claim(
        "its pointers are as far apart as it is full, without the instruction in the decoder's register",
        ~held | (stored >= instruction_units),
        (distance(place["read"], place["write"], size) == stored - ahead)
        | ((stored - ahead == size) & (place["read"] == place["write"])),
        bench.inside("fetch.available") == (stored - ahead) >> exact_log2(instruction_units),
    )

    width = len(Value.cast(fetch.data)) // beat_units
    held_word = fetch.instruction.word_select
    following, at, before, value = Signal(), Signal(range(size)), Signal(COUNT_BITS), Signal(width)
    chosen = Signal(exact_log2(beat_units))
    m.d.comb += chosen.eq(anything(len(chosen)) if beat_units > 1 else 0)
    leaving = dispatched & (before < instruction_units)
    registered = held & (before < instruction_units)
    with m.If(fetch.beat & ~following & anything(1)):
        m.d.sync += [
            following.eq(1),
            at.eq(place["write"] + chosen),
            before.eq(stored + chosen - Mux(dispatched, instruction_units, 0)),
            value.eq(fetch.data.word_select(chosen, width)),
        ]
    with m.Elif(following & leaving):
        m.d.sync += following.eq(0)
    with m.Elif(following & dispatched):
        m.d.sync += before.eq(before - instruction_units)
    words = Array(bench.word(f"fetch.column_{c}", at >> exact_log2(columns)) for c in range(columns))
    bench.claim(
        "what came leaves after exactly what came before it (nothing lost, doubled or overtaken)",
        ~following | (before < stored),
        ~following | registered | (distance(place["read"], at, size) == before - ahead),
    )
    bench.claim(
        "it stays what it was",
        ~following | registered | (words[at[: exact_log2(columns)]] == value),
        ~following | ~registered | (held_word(before[: exact_log2(instruction_units)], width) == value),
    )
    bench.claim(
        "it is dispatched in its place in its instruction",
        ~(following & leaving) | (held_word(before[: exact_log2(instruction_units)], width) == value),
    )
