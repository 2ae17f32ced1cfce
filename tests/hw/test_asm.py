"""Assembler text and its refusals; the manual page generated from the same declarations."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw import isa
from hw.asm import assemble, disassemble, format_instruction
from hw.config import Config
from hw.errors import AsmError, EncodeError
from hw.manual import PAGE, isa_manual
from tests.hw.strategies import configs, instructions


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.data())
def test_text_round_trips(data):
    cfg = data.draw(configs())
    program = data.draw(st.lists(instructions(cfg), max_size=8))
    text = disassemble(program)
    assert text.count("\n") == len(program)
    assert assemble(text, cfg) == program


def test_a_program_as_one_writes_it():
    text = """
    # fetch a tile, multiply, write back
    load inp dram=0x1000 seg=912 y=16+912+928 push=compute
    gemm uop=0+9 out=14 in=56 dst=0+56+1 src=0+58+1 wgt=0+0+0 pop=load push=store   # one tile
    LOAD wgt fill value=7 seg=4 pop=compute
    alu max aux to_out imm=-3 push=load+store
    store dram=8 seg=64 pop=compute
    """
    assert assemble(text, Config()) == [
        isa.Load(buffer=isa.Buffer.INP, dram=4096, seg=912, y_size=16, y_dram=912, y_sram=928, push_next=True),
        isa.Gemm(
            uop_count=9, iter_out=14, iter_in=56, dst_out=56, dst_in=1, src_out=58, src_in=1,
            pop_prev=True, push_next=True,
        ),
        isa.Load(buffer=isa.Buffer.WGT, fill=True, value=7, seg=4, pop_next=True),
        isa.Alu(
            op=isa.AluOp.MAX, source=isa.AluSource.AUX, to_out=True, imm=-3, push_prev=True, push_next=True
        ),
        isa.Store(dram=8, seg=64, pop_prev=True),
    ]  # fmt: skip


def test_defaults_are_left_out():
    assert format_instruction(isa.Sync()) == "sync"
    assert format_instruction(isa.Gemm()) == "gemm"
    assert format_instruction(isa.Requant(low=0, pop_next=True)) == "requant low=0 pop=store"
    assert format_instruction(isa.Load(buffer=isa.Buffer.AUX, dram=64)) == "load aux dram=0x40"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("gem", "did you mean 'gemm'?"),
        ("load inq", "uop, inp, wgt, aux"),
        ("load", "the end of the line"),
        ("alu add", "imm, acc, aux"),
        ("gemm dts=1+2+3", "did you mean 'dst'?"),
        ("gemm dst=1+2", "3 numbers joined by +"),
        ("gemm in=x", "whole numbers"),
        ("load inp seg", "whole numbers"),
        ("load inp fill=1", "takes no value"),
        ("gemm in=2 in=3", "given twice"),
        ("gemm pop=load pop=load", "given twice"),
        ("store pop=load", "names compute, not 'load'"),
        ("sync pop", "names load or store"),
    ],
)
def test_text_that_does_not_parse_is_refused_with_its_line(line: str, words: str):
    with pytest.raises(AsmError) as caught:
        assemble(f"sync\n\n{line}\n", Config())
    assert caught.value.line == 3
    assert str(caught.value).startswith("line 3: ") and words in str(caught.value)


def test_a_value_that_does_not_fit_is_refused_with_its_line():
    with pytest.raises(EncodeError, match=re.escape("line 2: gemm: field 'dst_in' = 2048 does not fit its 11 bits")):
        assemble("sync\ngemm dst=0+0+2048", Config())


def test_the_manual_page_is_current():
    assert PAGE.read_text(encoding="utf-8") == isa_manual(Config.load("pynq-z1")), "run: python -m hw.manual"


@settings(derandomize=True, deadline=None, max_examples=10)
@given(configs())
def test_the_manual_names_every_field_of_any_configuration(cfg: Config):
    page = isa_manual(cfg)
    for kind in isa.INSTRUCTIONS:
        for f in isa.fields(kind.OPCODE, cfg):
            span = f"{f.offset + f.width - 1}:{f.offset}" if f.width > 1 else str(f.offset)
            assert f"| `{f.name}` | {span} | {f.width}" in page
