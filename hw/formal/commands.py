"""Claims about the core's wiring of queues, token counters and instructions in flight.

The proofs of the single blocks assume that neighbours push only where there is room and pop only what is there; here
the neighbours are the machine's, and these assumptions become claims.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hw import isa
from hw.config import Config
from hw.formal.bench import Bench, anything
from hw.isa import Unit
from hw.rtl.core import Core
from hw.rtl.hdl import Module, Signal
from hw.rtl.layouts import unit_bits
from hw.rtl.sequencer import LONGEST
from hw.timing import CAUSES

PAIRS = ((Unit.LOAD, Unit.COMPUTE), (Unit.COMPUTE, Unit.LOAD), (Unit.COMPUTE, Unit.STORE), (Unit.STORE, Unit.COMPUTE))
"""Whose tokens the four counters hold: from, to."""
TOKEN_BITS = 12
"""Width of the counts of tokens pushed and popped; above the bits of every token depth."""


class Commands(Core):
    """The core without its units and its fetch unit, whose outputs may be anything."""

    def __init__(self, cfg: Config) -> None:
        super().__init__(cfg)
        self.fetch: Any = SimpleNamespace(
            dispatch=Signal(len(Unit), name="dispatched"),
            instruction=Signal(cfg.instruction_bits, name="fetched"),
            room=Signal(len(Unit), name="queue_room"),
        )
        self.units = {unit: _stand_in(unit, cfg) for unit in Unit}

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += [s.eq(anything(len(s))) for s in (self.fetch.dispatch, self.fetch.instruction)]
        for unit in self.units.values():
            m.d.comb += [s.eq(anything(len(s))) for s in (unit.free, unit.done, unit.latency, unit.busy, unit.cause)]
        self._commands(m, self.fetch, self.units)
        return m


def _stand_in(unit: Unit, cfg: Config) -> Any:
    def port(name: str, shape: Any = 1) -> Any:
        return Signal(shape, name=f"{unit.name.lower()}_{name}")

    return SimpleNamespace(
        start=port("begins"), instruction=port("works_on", unit_bits(unit, cfg)), free=port("free"), done=port("done"),
        latency=port("latency", range(LONGEST + 1)), busy=port("busy"), cause=port("cause", range(len(CAUSES))),
    )  # fmt: skip


def commands(queue_depth: int, token_depth: int, block: type[Commands] = Commands) -> Bench:
    """Queues, token counters and instructions in flight, between units that may do anything.

    What is left to assume, and is claimed of the fetch unit: it dispatches only to a queue that has room.
    """
    cfg = Config(
        load_queue=queue_depth, compute_queue=queue_depth, store_queue=queue_depth, token_depth=token_depth
    )  # fmt: skip
    bench = Bench("tokens of the machine", f"queues {queue_depth}, tokens {token_depth}")
    m, core = bench.m, bench.add("core", block(cfg))
    fetch = core.fetch
    bench.assume((fetch.dispatch & ~fetch.room) == 0)
    queues_hold, flights_hold = [], []
    pushed: dict[tuple[Unit, Unit], Any] = {}
    popped: dict[tuple[Unit, Unit], Any] = {}
    for unit in Unit:
        name, start = unit.name.lower(), core.starts[unit]
        held = bench.inside(f"core.{name}_queue.count")
        queues_hold += [held <= queue_depth, ~start | (held != 0), ~fetch.dispatch[unit] | (held != queue_depth)]
        flights_hold.append(~start | (bench.inside(f"core.{name}_flight.room") & core.units[unit].free))
        flags, pushes = bench.inside(f"core.{name}_queue.flags"), bench.inside(f"core.{name}_flight.push")
        for side, other in enumerate((unit - 1, unit + 1)):
            if other in set(Unit):
                popped[Unit(other), unit] = start & flags[isa.FLAGS.index("pop_prev") + side]
                pushed[unit, Unit(other)] = pushes[side]
    bench.claim("no queue is pushed when full or popped when empty", *queues_hold)
    bench.claim("an instruction starts only if its unit is free and has a place for it in flight", *flights_hold)
    conserved, bounded = [], []
    for pair in PAIRS:
        names = "_".join(u.name.lower() for u in pair)
        count = bench.inside(f"core.tokens_{names}.count")
        given, taken = (Signal(TOKEN_BITS, name=f"{names}_{n}") for n in ("given", "taken"))
        m.d.sync += [given.eq(given + pushed[pair]), taken.eq(taken + popped[pair])]
        conserved.append((given - taken)[:TOKEN_BITS] == count)
        bounded += [count <= token_depth, ~popped[pair] | (count != 0), ~pushed[pair] | (count != token_depth)]
    bench.claim(
        "each token that a retirement pushes is popped by one start: the counters hold the difference", *conserved
    )
    bench.claim("no instruction starts without its tokens, none retires without room for those it pushes", *bounded)
    return bench
