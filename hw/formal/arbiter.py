"""Claims about the arbiter of the memory port's read side."""

from __future__ import annotations

from hw.config import Config
from hw.formal.bench import Bench
from hw.rtl.axi import ReadId
from hw.rtl.hdl import Cat, Mux, Signal
from hw.rtl.read_port import ReadPort


def read_arbiter(slowest: int, outstanding: int, block: type[ReadPort] = ReadPort) -> Bench:
    """The arbiter before a memory that refuses an address for at most `slowest` cycles in a row.

    The memory holds at most `outstanding` bursts and delivers no beat that was not asked for. Either master may raise
    and withdraw its requests at will.
    """
    bench = Bench("read arbiter", f"{outstanding} bursts, refused for {slowest}")
    m, port = bench.m, bench.add("port", block(Config()))
    inside, refused = Signal(range(outstanding + 2)), Signal(range(slowest + 2))
    accepted, refusing, granted = Signal(), Signal(), Signal()
    m.d.comb += [
        accepted.eq(port.arvalid & port.arready),
        refusing.eq(port.arvalid & ~port.arready),
        granted.eq(port.fetch_granted | port.load_granted),
    ]
    m.d.sync += [
        inside.eq(inside + accepted - (port.rvalid & port.rready & port.rlast)),
        refused.eq(Mux(refusing, refused + 1, 0)),
    ]
    bench.assume(~port.rvalid | (inside != 0))
    bench.assume(~port.arready | (inside != outstanding))
    bench.assume((refused != slowest) | port.arready)

    bench.claim(
        "one grant a cycle, and only of what is requested",
        ~(port.fetch_granted & port.load_granted),
        ~port.fetch_granted | port.fetch_request,
        ~port.load_granted | port.load_request,
    )
    bench.claim("fetch comes first", ~(port.load_granted & port.fetch_request))
    bench.claim("nothing is granted once stopped", ~(port.stop & granted))
    bench.claim(
        "it counts the bursts granted and not delivered, without overflow or underflow",
        inside <= outstanding,
        bench.inside("port.outstanding") == inside + port.arvalid + bench.inside("port.delivered"),
        port.outstanding == ((inside != 0) | port.arvalid | bench.inside("port.delivered")),
        ~bench.inside("port.full"),
    )

    due, who, word, beats = Signal(), Signal(), Signal.like(port.arword), Signal.like(port.arbeats)
    with m.If(granted):
        m.d.sync += [
            due.eq(1),
            who.eq(Mux(port.fetch_granted, ReadId.FETCH, ReadId.LOAD)),
            word.eq(Mux(port.fetch_granted, port.fetch_word, port.load_word)),
            beats.eq(Mux(port.fetch_granted, port.fetch_beats, port.load_beats)),
        ]
    with m.Elif(accepted):
        m.d.sync += due.eq(0)
    bench.claim("no grant while the one before it is refused (none lost)", ~(granted & refusing))
    bench.claim(
        "each grant is presented once, from the next cycle until it is accepted, as it was (none doubled or overtaken)",
        port.arvalid == due,
        ~due | (Cat(port.arid, port.arword, port.arbeats) == Cat(who, word, beats)),
    )
    going = port.rvalid & ~port.stop
    bench.claim(
        "a beat goes to the master whose ID it carries, and to nobody once stopped",
        port.fetch_beat == (going & (port.rid == ReadId.FETCH)),
        port.load_beat == (going & (port.rid == ReadId.LOAD)),
    )
    wanted = Mux(port.rid == ReadId.LOAD, port.load_ready, port.fetch_ready)
    bench.claim(
        "a beat is taken when its master takes it, and always once stopped", port.rready == (port.stop | wanted)
    )

    waited = {}
    for name, restart in (("fetch", 0), ("load", port.fetch_granted)):
        request, done = getattr(port, f"{name}_request"), getattr(port, f"{name}_granted")
        waited[name] = waits = Signal.like(refused, name=f"{name}_waited")
        m.d.sync += waits.eq(Mux(request & ~done & ~port.stop & ~restart, waits + 1, 0))
    bench.claim(
        "a fetch request is granted as soon as no address is refused: it waits no longer than one can be",
        waited["fetch"] <= refused,
        refused <= slowest,
    )
    bench.claim("a load request too, counted anew from each grant to fetch", waited["load"] <= refused)
    return bench
