"""Claims about command queues, token counters, and the instructions between start and retirement."""

from __future__ import annotations

from typing import Any

from hw import isa
from hw.config import Config
from hw.formal.bench import Bench, Follower, distance
from hw.isa import Unit
from hw.rtl.hdl import Array, Signal
from hw.rtl.layouts import flags_layout
from hw.rtl.queue import CommandQueue
from hw.rtl.tokens import InFlight, TokenCounter
from hw.timing import IN_FLIGHT


def command_queue(depth: int, block: type[CommandQueue] = CommandQueue) -> Bench:
    """A command queue that is pushed only while it has room and popped only while something is visible."""
    bench = Bench("command queue", f"depth {depth}")
    m, queue = bench.m, bench.add("queue", block(Config(), Unit.COMPUTE, depth))
    bench.assume(~queue.push | queue.room)
    bench.assume(~queue.pop | queue.visible)
    count, head, tail = (bench.inside(f"queue.{n}") for n in ("count", "head", "tail"))

    inside = Signal(range(2 * depth + 2))
    m.d.sync += inside.eq(inside + queue.push - queue.pop)
    bench.claim("it counts what is inside, and never more than its depth", inside == count, inside <= depth)
    bench.claim("room while not full, visible while not empty", queue.room == (inside != depth))
    bench.claim("what is visible is inside", queue.visible == (inside != 0))
    bench.claim(
        "its pointers are as far apart as it is full",
        head < depth,
        tail < depth,
        (distance(head, tail, depth) == inside) | ((head == tail) & (inside == depth)),
    )

    one = Follower(m, "one", push=queue.push, pop=queue.pop, inside=inside, place=tail, value=queue.word)
    flag_bits = slice(isa.OPCODE_BITS, isa.OPCODE_BITS + flags_layout().size)
    ahead = distance(head, one.place, depth)
    stands, expected = Signal(), Signal.like(one.value)
    with m.If(one.leaving):
        m.d.sync += [stands.eq(1), expected.eq(one.value)]
    with m.Elif(queue.pop):
        m.d.sync += stands.eq(0)
    bench.claim(
        "an instruction leaves after exactly those that came before it (none lost, doubled or overtaken)",
        ~one.following | ((one.place < depth) & (ahead == one.before) & (one.before < inside)),
    )
    bench.claim(
        "it stays what it was",
        ~one.following | (bench.word("queue.words", one.place) == one.value),
        ~one.following | (bench.word("queue.flags", one.place) == one.value[flag_bits]),
    )
    bench.claim("at the head, its own flags show", ~one.leaving | (queue.flags.as_value() == one.value[flag_bits]))
    bench.claim(
        "from its pop to the next, its own word stands at the output", ~stands | (queue.instruction == expected)
    )
    return bench


def token_counter(depth: int, block: type[TokenCounter] = TokenCounter) -> Bench:
    """A token counter whose producer waits for room and whose consumer waits for a token."""
    bench = Bench("token counter", f"depth {depth}")
    m, counter = bench.m, bench.add("counter", block(depth))
    bench.assume(~counter.push | counter.room)
    bench.assume(~counter.pop | counter.available)
    count = bench.inside("counter.count")
    pushed, popped = Signal(16), Signal(16)
    m.d.sync += [pushed.eq(pushed + counter.push), popped.eq(popped + counter.pop)]
    bench.claim("tokens are conserved: pushed less popped is what it counts", (pushed - popped)[:16] == count)
    bench.claim("never more tokens than its depth", count <= depth)
    bench.claim(
        "a token pushed can be popped from the next cycle on, and none else",
        counter.available == (pushed != popped),
        counter.room == (count != depth),
    )
    return bench


def flight_state(bench: Bench, path: str, room: Any, inside: Any, undone: Any) -> None:
    """Claim of an InFlight what holds between its registers, when `inside` are in it and `undone` of them not done."""
    count, head, tail, working = (bench.inside(f"{path}.{n}") for n in ("count", "head", "tail", "working"))
    done = [bench.inside(f"{path}.done_{k}") for k in range(IN_FLIGHT)]
    bench.claim("it counts what is inside, and never more than it has places", inside == count, inside <= IN_FLIGHT)
    bench.claim("room while not full", room == (inside != IN_FLIGHT))
    bench.claim("what is not done is inside", undone <= inside)
    bench.claim(
        "its pointers are as far apart as it is full",
        (tail - head)[:3] == inside[:3],
        (tail - working)[:3] == undone[:3],
    )
    bench.claim(
        "a place is done exactly if its instruction is",
        *(done[k] == ((k - head)[:3] < (inside - undone)[:4]) for k in range(IN_FLIGHT)),
    )


def in_flight(latency: int, block: type[InFlight] = InFlight) -> Bench:
    """The instructions between start and retirement: started while there is room, done only after being started."""
    bench = Bench("instructions in flight", f"latency {latency}")
    m, flight = bench.m, bench.add("flight", block(latency))
    head, tail = bench.inside("flight.head"), bench.inside("flight.tail")
    pushes = Array(bench.inside(f"flight.pushes_{k}") for k in range(IN_FLIGHT))
    timers = Array(bench.inside(f"flight.timer_{k}") for k in range(IN_FLIGHT))
    inside, undone = Signal(range(2 * IN_FLIGHT + 2)), Signal(range(2 * IN_FLIGHT + 2))
    m.d.sync += [inside.eq(inside + flight.start - flight.retire), undone.eq(undone + flight.start - flight.done)]
    bench.assume(~flight.start | flight.room)
    bench.assume(~flight.done | (undone != 0))
    bench.assume((flight.latency != 0) & (flight.latency <= latency))

    flight_state(bench, "flight", flight.room, inside, undone)
    bench.claim("only what is done retires", ~flight.retire | (inside != undone))

    one = Follower(
        m, "one", push=flight.start, pop=flight.retire, inside=inside, place=tail, value=flight.pushes
    )  # fmt: skip
    ahead = (one.place - head)[:3]
    bench.claim(
        "an instruction retires after exactly those that started before it (none lost, doubled or overtaken)",
        ~one.following | ((ahead == one.before) & (one.before < inside)),
        ~one.following | (pushes[one.place] == one.value),
    )
    bench.claim("retiring, it pushes its own tokens, once", ~one.leaving | (flight.push == one.value))
    bench.claim("nothing pushes but a retirement", flight.retire | (flight.push == 0))
    bench.claim("no token is pushed where there is no room", (flight.push & ~flight.token_room) == 0)

    # The time from `done` to the retirement of the followed instruction.
    is_done = one.following & (one.before < inside - undone)
    becomes_done = one.following & flight.done & (one.before == inside - undone)
    left, since = Signal(range(latency + 1)), Signal()
    with m.If(becomes_done):
        m.d.sync += [left.eq(flight.latency - 1), since.eq(1)]
    with m.Elif(left != 0):
        m.d.sync += left.eq(left - 1)
    with m.If(one.leaving):
        m.d.sync += since.eq(0)
    bench.claim("its timer runs from its own end on", ~is_done | ((timers[one.place] == left) & since))
    bench.claim(
        "at the head, it retires as soon as it is complete and its tokens have room",
        ~(one.following & (one.before == 0))
        | (flight.retire == (is_done & (left == 0) & ((one.value & ~flight.token_room) == 0))),
    )
    return bench
