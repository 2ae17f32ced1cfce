"""What can be told of an instruction before it is dispatched: its unit, and whether it is one at all."""

from __future__ import annotations

from typing import Any

from hw import isa
from hw.config import Config
from hw.isa import AluOp, AluSource, Opcode, Unit
from hw.rtl.hdl import Cat, Component, Const, In, Module, Out
from hw.rtl.layouts import instruction_layout, instruction_view

_COUNTS = ("seg", "x_size", "y_size", "uop_count", "iter_out", "iter_in")
"""Fields that must not be 0."""


class Decoder(Component):
    """`unit` has the bit of the instruction's unit. `legal`: opcode, codes, flags and counts are.

    Addresses are not looked at: they would take a multiplier for each loop.
    """

    def __init__(self, cfg: Config) -> None:
        self._cfg = cfg
        super().__init__({"instruction": In(cfg.instruction_bits), "unit": Out(len(Unit)), "legal": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        with m.Switch(self.instruction[: isa.OPCODE_BITS]):
            for kind in isa.INSTRUCTIONS:
                with m.Case(int(kind.OPCODE)):
                    m.d.comb += [self.unit.eq(1 << kind.UNIT), self.legal.eq(self._is_legal(kind.OPCODE))]
        return m

    def _is_legal(self, opcode: Opcode) -> Any:
        word = self.instruction
        view: Any = instruction_view(opcode, self._cfg, word)
        unit = isa.BY_OPCODE[opcode].UNIT
        wrong = [word[instruction_layout(opcode, self._cfg).size :].any()]
        if unit == Unit.LOAD:
            wrong += [view.pop_prev, view.push_prev]
        if unit == Unit.STORE:
            wrong += [view.pop_next, view.push_next]
        for f in isa.fields(opcode, self._cfg)[1:]:
            if f.name in _COUNTS:
                wrong.append(view[f.name] == 0)
            elif f.kind in (AluOp, AluSource):
                wrong.append(view[f.name] > max(f.kind))
        if opcode == Opcode.ALU:
            wrong.append((view.op == AluOp.MULADD) & (view.source == AluSource.IMM))
        if opcode == Opcode.REQUANT:
            wrong.append(view.low > view.high)
        return ~Cat(*wrong).any() if wrong else Const(1)
