"""The command queue before a unit (docs/timing.md, 2.1)."""

from __future__ import annotations

from typing import Any

from hw import isa
from hw.config import Config
from hw.isa import Unit
from hw.rtl.hdl import Component, In, Memory, Module, Mux, Out, Signal
from hw.rtl.layouts import flags_layout, unit_bits


class CommandQueue(Component):
    """Instructions dispatched and not started.

    An instruction `push`ed in a cycle is `visible` in the next, its token `flags` with it; the word itself comes from
    block RAM and stands at `instruction` from the cycle after its `pop` until the next pop.
    """

    def __init__(self, cfg: Config, unit: Unit, depth: int) -> None:
        self._depth = depth
        self._bits = unit_bits(unit, cfg)
        super().__init__(
            {
                "push": In(1),
                "word": In(self._bits),
                "room": Out(1),
                "visible": Out(1),
                "flags": Out(flags_layout()),
                "pop": In(1),
                "instruction": Out(self._bits),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        flag_bits = slice(isa.OPCODE_BITS, isa.OPCODE_BITS + flags_layout().size)
        m.submodules.words = words = Memory(shape=self._bits, depth=self._depth, init=[])
        m.submodules.flags = flags = Memory(shape=flags_layout().size, depth=self._depth, init=[])
        write, read = words.write_port(), words.read_port()
        flag_write, flag_read = flags.write_port(), flags.read_port(domain="comb")
        count = Signal(range(self._depth + 1))
        tail, head = (Signal(range(self._depth), name=n) for n in ("tail", "head"))
        m.d.comb += [
            self.room.eq(count != self._depth),
            self.visible.eq(count != 0),
            write.addr.eq(tail),
            write.data.eq(self.word),
            write.en.eq(self.push),
            flag_write.addr.eq(tail),
            flag_write.data.eq(self.word[flag_bits]),
            flag_write.en.eq(self.push),
            flag_read.addr.eq(head),
            self.flags.eq(flag_read.data),
            read.addr.eq(head),
            read.en.eq(self.pop),
            self.instruction.eq(read.data),
        ]
        with m.If(self.push):
            m.d.sync += tail.eq(self._next(tail))
        with m.If(self.pop):
            m.d.sync += head.eq(self._next(head))
        m.d.sync += count.eq(count + self.push - self.pop)
        return m

    def _next(self, pointer: Any) -> Any:
        return Mux(pointer == self._depth - 1, 0, pointer + 1)
