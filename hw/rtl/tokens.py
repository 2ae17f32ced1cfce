"""Token counters, and the instructions of a unit between start and retirement (docs/timing.md, section 2)."""

from __future__ import annotations

from hw.rtl.hdl import Array, Component, In, Module, Out, Signal
from hw.timing import IN_FLIGHT


class TokenCounter(Component):
    """Tokens on their way from one unit to another: what is pushed in a cycle can be popped in the next.

    The producer pushes only while there is `room`, the consumer pops only while `available`; both say how the
    counter stood at the beginning of the cycle.
    """

    def __init__(self, depth: int) -> None:
        self.depth = depth
        super().__init__({"push": In(1), "pop": In(1), "available": Out(1), "room": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        count = Signal(range(self.depth + 1))
        m.d.comb += [self.available.eq(count != 0), self.room.eq(count != self.depth)]
        m.d.sync += count.eq(count + self.push - self.pop)
        return m


class InFlight(Component):
    """The instructions that have started and not retired, in order.

    `start` adds one, with the directions (bit 0: previous unit, bit 1: next) in which it will push. `done` says that
    the oldest one not yet done will be complete in `latency` (at least 1) cycles. `retire` is set in the cycle in which
    the oldest retires; it waits for `token_room` in the directions `push`ed. `room`: another one may start.
    """

    def __init__(self, latency: int) -> None:
        self._latency = latency
        super().__init__(
            {
                "start": In(1),
                "pushes": In(2),
                "done": In(1),
                "latency": In(range(latency + 1)),
                "token_room": In(2),
                "room": Out(1),
                "retire": Out(1),
                "push": Out(2),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        count = Signal(range(IN_FLIGHT + 1))
        tail, working, head = (Signal(range(IN_FLIGHT), name=n) for n in ("tail", "working", "head"))
        pushes = Array(Signal(2, name=f"pushes_{k}") for k in range(IN_FLIGHT))
        done = Array(Signal(name=f"done_{k}") for k in range(IN_FLIGHT))
        timers = Array(Signal(range(self._latency), name=f"timer_{k}") for k in range(IN_FLIGHT))

        for timer in timers:
            with m.If(timer != 0):
                m.d.sync += timer.eq(timer - 1)
        with m.If(self.start):
            m.d.sync += [pushes[tail].eq(self.pushes), tail.eq(_next(tail))]
        with m.If(self.done):
            m.d.sync += [timers[working].eq(self.latency - 1), done[working].eq(1), working.eq(_next(working))]
        blocked = (pushes[head] & ~self.token_room).any()
        m.d.comb += [
            self.retire.eq(done[head] & (timers[head] == 0) & ~blocked),
            self.push.eq(pushes[head] & self.retire.replicate(len(self.push))),
            self.room.eq(count != IN_FLIGHT),
        ]
        with m.If(self.retire):
            m.d.sync += [done[head].eq(0), head.eq(_next(head))]
        m.d.sync += count.eq(count + self.start - self.retire)
        return m


def _next(pointer: Signal) -> Signal:
    return (pointer + 1) % IN_FLIGHT
