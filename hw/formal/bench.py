"""A block under proof: what surrounds it is free, what it promises is claimed.

The bench sees the registers and memories of the block by name, so that claims can say what always holds of the state
(an invariant is proved by one step of induction; the same claim about inputs and outputs only would need as many steps
as the queue has places).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from amaranth.back import rtlil
from amaranth.hdl import Elaboratable, Value
from amaranth.hdl._ir import Fragment  # Amaranth has no public way to name a signal inside a block.
from amaranth.hdl._mem import MemoryInstance

from hw.rtl.hdl import Const, In, Module, Mux, Signal

if TYPE_CHECKING:
    AnySeq: Any
    Assert: Any
    Assume: Any
else:
    from amaranth.asserts import AnySeq
    from amaranth.hdl import Assert, Assume

__all__ = ["Bench", "Follower", "anything", "distance"]


class _Opened(Elaboratable):
    """A fragment as something to elaborate."""

    def __init__(self, fragment: Fragment) -> None:
        self._fragment = fragment

    def elaborate(self, platform: object) -> Fragment:
        return self._fragment


def anything(width: int) -> Any:
    """A value that may be anything in any cycle."""
    return AnySeq(width)


class Bench:
    """One proof: blocks, what is assumed of their inputs, what is claimed.

    `name` and `size` (such as `depth 3`) identify it in the table. All inputs of the blocks are free unless driven.
    """

    def __init__(self, name: str, size: str) -> None:
        self.name, self.size = name, size
        self.claims: list[str] = []
        self.m = Module()
        self._fragments: dict[str, Fragment] = {}
        self._ports: set[int] = set()

    def add(self, name: str, block: Any, driven: tuple[str, ...] = ()) -> Any:
        """Put a block in; its inputs that are not `driven` by the bench may be anything in any cycle."""
        self._fragments[name] = fragment = Fragment.get(block, None)
        self.m.submodules[name] = _Opened(fragment)
        for port, member in block.signature.members.items():
            value = Value.cast(getattr(block, port))
            self._ports.add(id(value))
            if member.flow is In and port not in driven:
                self.m.d.comb += value.eq(anything(len(value)))
        return block

    def inside(self, path: str) -> Any:
        """The signal `block.signal` or `block.submodule.signal`, no port of a block of the bench."""
        *blocks, name = path.split(".")
        for reads in (False, True):
            found = {id(s): s for s in self._signals(self._fragment(blocks), reads) if s.name == name}
            found = {key: s for key, s in found.items() if key not in self._ports}
            if len(found) == 1:
                return next(iter(found.values()))
        raise LookupError(f"{len(found)} signals are called {path}")

    def word(self, path: str, address: Any) -> Any:
        """What the memory `block.memory` holds at an address."""
        memory = self._fragment(path.split("."))
        if not isinstance(memory, MemoryInstance):
            raise LookupError(f"{path} is no memory")
        data = memory._data
        at, value = Signal(range(data.depth)), Signal(len(Signal(data.shape)))
        self.m.d.comb += at.eq(address)
        memory.read_port(domain="comb", addr=at, data=value, en=Const(1), transparent_for=())
        return value

    def assume(self, condition: Any) -> None:
        """Leave out all behaviour in which `condition` is ever false."""
        self.m.d.comb += Assume(condition)

    def claim(self, text: str, *conditions: Any) -> None:
        """`conditions` hold in every cycle; `text` says in the machine's terms what that means."""
        if text not in self.claims:
            self.claims.append(text)
        for condition in conditions:
            held = Signal()
            self.m.d.comb += [held.eq(condition), Assert(held, text)]

    def rtlil(self) -> str:
        """The bench for yosys, with `top` as its top module."""
        return rtlil.convert(self.m, name="top", ports=[], emit_src=False)

    def _fragment(self, path: list[str]) -> Fragment:
        fragment = self._fragments[path[0]]
        for name in path[1:]:
            fragment = next(f for f, n, _ in fragment.subfragments if n == name)
        return fragment

    @staticmethod
    def _signals(fragment: Fragment, reads: bool) -> Iterator[Any]:
        """The signals that a block drives itself, or those it reads."""
        for statements in fragment.statements.values():
            for statement in statements:
                yield from statement._rhs_signals() if reads else statement._lhs_signals()


class Follower:
    """One entry of a queue, freely chosen, from its way in to its way out.

    `following`: it is inside. `before`: entries that went in before it and are still inside. `place`: where it went.
    `leaving`: it leaves in this cycle, by the order of comings and goings. `value`: what went in.
    """

    def __init__(self, m: Any, name: str, *, push: Any, pop: Any, inside: Any, place: Any, value: Any) -> None:
        self.following = Signal(name=f"{name}_following")
        self.before = Signal(range(2 ** len(inside)), name=f"{name}_before")
        self.place = Signal.like(place, name=f"{name}_place")
        self.value = Signal(len(value), name=f"{name}_value")
        self.entering, self.leaving = Signal(name=f"{name}_entering"), Signal(name=f"{name}_leaving")
        m.d.comb += [
            self.entering.eq(push & ~self.following & anything(1)),
            self.leaving.eq(pop & self.following & (self.before == 0)),
        ]
        with m.If(self.entering):
            m.d.sync += [
                self.following.eq(1),
                self.before.eq(inside - pop),
                self.place.eq(place),
                self.value.eq(value),
            ]
        with m.Elif(self.leaving):
            m.d.sync += self.following.eq(0)
        with m.Elif(self.following & pop):
            m.d.sync += self.before.eq(self.before - 1)


def distance(first: Any, last: Any, depth: int) -> Any:
    """Steps from place `first` to place `last` of a ring of `depth` places."""
    return Mux(last >= first, last - first, last + depth - first)
