"""Layouts of instructions, micro-ops and of what travels between units, from the declarations in hw/isa.py."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from amaranth.lib import data

from hw import isa
from hw.config import Config
from hw.isa import Field, Opcode, Unit
from hw.rtl.hdl import signed, unsigned

BYTE_BITS = 8


def struct_of(fields: Iterable[Field]) -> data.StructLayout:
    """The same fields, in the same places, as an Amaranth layout."""
    return data.StructLayout({f.name: signed(f.width) if f.signed else unsigned(f.width) for f in fields})


def instruction_layout(opcode: Opcode, cfg: Config) -> data.StructLayout:
    """Layout of an instruction, the opcode first."""
    return struct_of(isa.fields(opcode, cfg))


def instruction_view(opcode: Opcode, cfg: Config, word: Any) -> Any:
    """The word seen as that instruction."""
    layout = instruction_layout(opcode, cfg)
    return view_as(layout, word[: layout.size])


def view_as(layout: data.Layout, value: Any) -> Any:
    """The value with the layout's fields as attributes."""
    return data.View(layout, value)


def flags_layout() -> data.StructLayout:
    """The token flags, as they lie behind the opcode of every instruction."""
    return data.StructLayout(dict.fromkeys(isa.FLAGS, unsigned(1)))


def opcodes_of(unit: Unit) -> list[Opcode]:
    """Instructions that the unit executes."""
    return [kind.OPCODE for kind in isa.INSTRUCTIONS if unit == kind.UNIT]


def unit_bits(unit: Unit, cfg: Config) -> int:
    """Bits of the longest instruction of a unit; its queue keeps no more."""
    return max(instruction_layout(op, cfg).size for op in opcodes_of(unit))


def uop_layout(cfg: Config) -> data.StructLayout:
    """Layout of a micro-op."""
    return struct_of(isa.uop_fields(cfg))


def _field(opcode: Opcode, name: str, cfg: Config) -> Any:
    return next(signed(f.width) if f.signed else unsigned(f.width) for f in isa.fields(opcode, cfg) if f.name == name)


def vector_layout(cfg: Config) -> data.StructLayout:
    """What an ALU or REQUANT instruction says to each of its operations."""
    return data.StructLayout(
        {
            "requant": unsigned(1),
            **{n: _field(Opcode.ALU, n, cfg) for n in ("op", "source", "to_out", "imm", "shift")},
            **{n: _field(Opcode.REQUANT, n, cfg) for n in ("zero_point", "low", "high")},
        }
    )


def compute_layout(cfg: Config) -> data.StructLayout:
    """A compute instruction in the issue stage: the fields of all kinds side by side."""
    names = ("dst", "src", "wgt")
    steps = {f"{n}_{part}": unsigned(operand_bits(n, cfg)) for n in names for part in ("base", "out", "in")}
    return data.StructLayout(
        {
            "gemm": unsigned(1),
            "sync": unsigned(1),
            "uop_begin": _field(Opcode.GEMM, "uop_begin", cfg),
            "uop_count": _field(Opcode.GEMM, "uop_count", cfg),
            "iter_out": unsigned(isa.COUNT_BITS),
            "iter_in": unsigned(isa.COUNT_BITS),
            "out_base": unsigned(cfg.out_index_bits),
            **steps,
            "vector": vector_layout(cfg),
        }
    )


def operand_bits(operand: str, cfg: Config) -> int:
    """Width of the index of dst, src or wgt, whatever the instruction."""
    return {"dst": cfg.acc_index_bits, "src": cfg.uop_src_bits, "wgt": cfg.wgt_index_bits}[operand]


def operation_layout(cfg: Config) -> data.StructLayout:
    """One cycle of the issue stage: a GEMM operation, a vector operation, a parameter cycle, or nothing."""
    return data.StructLayout(
        {
            "gemm": unsigned(1),
            "vector": unsigned(1),
            "param": unsigned(1),
            "part": range(max(2, cfg.param_vectors)),
            "overwrite": unsigned(1),
            **{n: unsigned(operand_bits(n, cfg)) for n in ("dst", "src", "wgt")},
            "out": unsigned(cfg.out_index_bits),
            "with": vector_layout(cfg),
        }
    )


def transfer_layout(cfg: Config) -> data.StructLayout:
    """What LOAD and STORE have in common."""
    names = ("dram", "sram", "seg", "x_size", "x_dram", "x_sram", "y_size", "y_dram", "y_sram")
    return data.StructLayout({n: _field(Opcode.STORE, n, cfg) for n in names})
