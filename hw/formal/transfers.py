"""Claims about what the three units hold between an instruction's start and its end.

The queues inside the load and the store unit never ask whether there is room. That there always is follows from the
bound on the instructions in flight: so both stand together in the proof.
"""

from __future__ import annotations

from typing import Any

from hw.config import Config
from hw.formal.bench import Bench, Follower, anything
from hw.formal.queues import flight_state
from hw.rtl.hdl import Cat, Signal
from hw.rtl.load import DONE_LATENCY, LoadUnit
from hw.rtl.read_port import OUTSTANDING_BITS
from hw.rtl.sequencer import LONGEST, Sequencer
from hw.rtl.store import StoreUnit
from hw.rtl.tokens import InFlight
from hw.timing import IN_FLIGHT, STORE_RETIRE


def load_jobs(bus_bits: int, block: type[LoadUnit] = LoadUnit) -> Bench:
    """The load unit's instructions between decoding and the walk over their pieces."""
    bench = Bench("loads before their walk", f"{bus_bits}-bit bus")
    unit = bench.add("load", block(Config(bus_bits=bus_bits)), driven=("start",))
    undone = _behind(bench, unit, DONE_LATENCY, DONE_LATENCY)
    started, decoding = bench.inside("load.started"), bench.inside("load.decoding")
    level, walking = bench.inside("load.jobs.level"), bench.inside("load.walker.valid")
    bench.claim(
        "each load not done is decoded, queued or walked: none lost or doubled",
        undone == started + decoding + level + walking,
    )
    _last_piece(bench, "load.walker")
    _fifo(bench, "load.jobs", push=decoding, pop=bench.inside("load.jobs.r_en"))
    return bench


def store_ends(bus_bits: int, outstanding: int, block: type[StoreUnit] = StoreUnit) -> Bench:
    """The store unit before a memory that holds at most `outstanding` bursts and answers only those it has in full.

    The memory may take data before their address, which has been presented then.
    """
    bench = Bench("stores before their response", f"{bus_bits}-bit bus, {outstanding} bursts")
    m, unit = bench.m, bench.add("store", block(Config(bus_bits=bus_bits)), driven=("start",))
    undone = _behind(bench, unit, STORE_RETIRE, STORE_RETIRE)
    answerable, unanswered = Signal(range(outstanding + 2)), Signal(range(outstanding + 2))
    addressed, written, answered = Signal(), Signal(), Signal()
    m.d.comb += [
        addressed.eq(unit.awvalid & unit.awready),
        written.eq(unit.wvalid & unit.wready & unit.wlast),
        answered.eq(unit.bvalid & unit.bready),
    ]
    m.d.sync += [
        unanswered.eq(unanswered + addressed - answered),
        answerable.eq(answerable + written - answered),
    ]
    bench.assume(~unit.awready | (unanswered != outstanding))
    bench.assume(~unit.bvalid | ((answerable != 0) & (unanswered != 0)))

    issued, owed, waiting = (bench.inside(f"store.{n}") for n in ("issued", "owed", "waiting"))
    bench.claim(
        "no data before its address is presented, no more bursts than the memory holds, no counter overflows",
        unanswered <= outstanding,
        answerable <= unanswered + waiting,
        owed == unanswered + waiting - answerable,
        bench.inside("store.due") == (owed != 0),
        (issued - bench.inside("store.answered"))[:OUTSTANDING_BITS] == unanswered + waiting,
        ~waiting | unit.awvalid,
    )
    decoding, busy, full, valid = (bench.inside(f"store.{n}") for n in ("decoding", "busy", "_full", "valid"))
    walking, level = bench.inside("store.walker.valid"), bench.inside("store.ends.level")
    ends_next = valid & bench.inside("store.end")
    ends = full & bench.inside("store.last_of_all")
    bench.claim(
        "a store's end is in one place of the pipeline, with nothing behind it",
        busy == (bench.inside("store.started") + decoding + walking + ends_next + ends),
        ~ends_next | bench.inside("store.beat_end"),
        ~bench.inside("store.walker.end") | bench.inside("store.walker.beat_end"),
        ~(valid & ~ends_next) | walking,
        ~(full & ~ends) | walking | ends_next,
    )
    bench.claim("each store not done is walked or waits for its response: none lost or doubled", undone == busy + level)
    _last_piece(bench, "store.walker")
    finished = ends & unit.wvalid & unit.wready
    _fifo(bench, "store.ends", push=finished, pop=unit.done)
    return bench


def compute_stages(batch: int, block: type[Sequencer] = Sequencer) -> Bench:
    """The compute unit's decode and issue stage."""
    bench = Bench("compute stages", f"batch {batch}")
    unit = bench.add("sequencer", block(Config(batch=batch)), driven=("start",))
    undone = _behind(bench, unit, LONGEST, unit.latency)
    bench.claim(
        "each instruction not done is in one of the two stages: none lost or doubled",
        undone == bench.inside("sequencer.decoded") + unit.issuing,
        ~bench.inside("sequencer.prepared") | bench.inside("sequencer.decoded"),
    )
    bench.claim("nothing is complete before the cycle after its end", ~unit.done | (unit.latency != 0))
    return bench


def _behind(bench: Bench, unit: Any, longest: int, latency: Any) -> Any:
    """Put a unit behind the bound on instructions in flight; how many it has started and not done."""
    m = bench.m
    flight = bench.add("flight", InFlight(longest), driven=("start", "done", "latency"))
    undone, inside = Signal(range(2 * IN_FLIGHT + 2)), Signal(range(2 * IN_FLIGHT + 2))
    start = Signal()
    m.d.comb += [
        flight.start.eq(start),
        unit.start.eq(start),
        flight.done.eq(unit.done),
        flight.latency.eq(latency),
        start.eq(anything(1)),
    ]
    m.d.sync += [undone.eq(undone + start - unit.done), inside.eq(inside + start - flight.retire)]
    bench.assume(~start | (flight.room & unit.free))
    flight_state(bench, "flight", flight.room, inside, undone)
    bench.claim("only what was started is done", ~unit.done | (undone != 0))
    return undone


def _last_piece(bench: Bench, path: str) -> None:
    """Claim of a walk over pieces that its end is where all loops end."""
    ends = [bench.inside(f"{path}.{n}") for n in ("seg_end", "x_end", "y_end")]
    bench.claim("a walk's last piece is the last of all its loops", bench.inside(f"{path}.end") == Cat(*ends).all())


def _fifo(bench: Bench, path: str, *, push: Any, pop: Any) -> None:
    """Claim of a SyncFIFO that it is never overrun, and hands everything on once, in order."""
    level, first, last = (bench.inside(f"{path}.{n}") for n in ("level", "consume", "produce"))
    bench.claim(
        "the queue is never pushed when full or popped when empty",
        ~push | (level != IN_FLIGHT),
        ~pop | (level != 0),
        push == bench.inside(f"{path}.w_en"),
    )
    one = Follower(
        bench.m, "one", push=push, pop=pop, inside=level, place=last, value=bench.inside(f"{path}.w_data")
    )  # fmt: skip
    bench.claim(
        "an entry leaves after exactly those that came before it, as it was",
        (last - first)[: len(first)] == level[: len(first)],
        ~one.following | (((one.place - first)[: len(first)] == one.before) & (one.before < level)),
        ~one.following | (bench.word(f"{path}.storage", one.place) == one.value),
        ~one.leaving | (bench.inside(f"{path}.r_data") == one.value),
    )
