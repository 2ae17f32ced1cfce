"""Encoding: round trips, refusals, and the layout as declared."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw import isa
from hw.config import Config
from hw.errors import EncodeError, ProgramError
from hw.random_program import random_instruction
from tests.hw.strategies import configs, instructions

quick = settings(derandomize=True, deadline=None, max_examples=60)


@quick
@given(st.data())
def test_encode_and_decode_are_inverse(data):
    cfg = data.draw(configs())
    program = data.draw(st.lists(instructions(cfg), max_size=8))
    raw = isa.encode_program(program, cfg)
    assert raw.dtype == np.uint8 and raw.size == len(program) * cfg.instruction_bytes
    assert isa.decode_program(raw, cfg) == program
    for instr in program:
        word = isa.encode(instr, cfg)
        assert isa.decode(word, cfg) == isa.decode(word.to_bytes(cfg.instruction_bytes, "little"), cfg) == instr


@quick
@given(configs())
def test_layouts_are_dense_and_fit(cfg: Config):
    for kind in isa.INSTRUCTIONS:
        layout = isa.fields(kind.OPCODE, cfg)
        assert [f.name for f in layout[:5]] == ["opcode", *isa.FLAGS]
        end = 0
        for f in layout:
            assert f.offset == end and f.width >= 1 and f.doc
            end += f.width
        assert end <= cfg.instruction_bits
        assert {f.name for f in layout[1:]} == {f.name for f in dataclasses.fields(kind)}


@quick
@given(configs(), st.integers(0, 2**32 - 1))
def test_every_over_wide_field_is_refused(cfg: Config, seed: int):
    rng = np.random.default_rng(seed)
    for kind in isa.INSTRUCTIONS:
        good = random_instruction(rng, cfg, kind)
        for f in isa.fields(kind.OPCODE, cfg)[1:]:
            low, high = (-(1 << (f.width - 1)), (1 << (f.width - 1)) - 1) if f.signed else (0, (1 << f.width) - 1)
            for value in (low - 1, high + 1):
                with pytest.raises(EncodeError) as caught:
                    isa.encode(dataclasses.replace(good, **{f.name: value}), cfg)
                error = caught.value
                assert (error.instr, error.field, error.value) == (kind.__name__.lower(), f.name, value)
                assert error.width == f.width and f"{low}..{high}" in str(error)
            if f.kind is None:
                for value in (low, high):
                    edge = dataclasses.replace(good, **{f.name: value})
                    assert isa.decode(isa.encode(edge, cfg), cfg) == edge


@quick
@given(st.data())
def test_micro_ops_round_trip(data):
    cfg = data.draw(configs())
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    uops = [random_instruction(rng, cfg, isa.Uop) for _ in range(9)]
    raw = isa.encode_uops(uops, cfg)
    assert raw.size == 9 * cfg.uop_bytes
    assert isa.decode_uops(raw, cfg) == uops
    columns = isa.uop_columns(raw, cfg)
    assert columns["dst"].tolist() == [u.dst for u in uops]
    for f in isa.uop_fields(cfg):
        with pytest.raises(EncodeError):
            isa.encode_uops([dataclasses.replace(uops[0], **{f.name: 1 << f.width})], cfg)


def test_micro_ops_of_a_large_machine_take_eight_bytes():
    cfg = Config(acc_buffer=1 << 20, inp_buffer=1 << 20, wgt_buffer=1 << 20)
    assert isa.uop_bits(cfg) > 32 and cfg.uop_bytes == 8
    uop = isa.Uop(overwrite=True, dst=cfg.acc_depth - 1, src=cfg.inp_depth - 1, wgt=cfg.wgt_depth - 1)
    assert isa.decode_uops(isa.encode_uops([uop], cfg), cfg) == [uop]


def test_known_words():
    cfg = Config()
    assert isa.encode(isa.Sync(), cfg) == 6
    assert isa.encode(isa.Sync(pop_prev=True, push_next=True), cfg) == 6 | 1 << 3 | 1 << 6
    assert isa.encode_uops([isa.Uop(overwrite=True, dst=2, src=3, wgt=4)], cfg).tolist() == [5, 48, 0, 2]


def test_numpy_integers_encode_like_ints():
    fields: dict[str, Any] = {"dram": np.int64(4096), "y_sram": np.int32(7)}
    cfg = Config()
    plain = isa.Load(buffer=isa.Buffer.INP, dram=4096, y_sram=7)
    assert isa.encode(isa.Load(buffer=isa.Buffer.INP, **fields), cfg) == isa.encode(plain, cfg)


@pytest.mark.parametrize("word", [0, 7])
def test_an_unknown_opcode_is_refused(word: int):
    with pytest.raises(ProgramError, match="unknown opcode"):
        isa.decode(word, Config())
    with pytest.raises(ProgramError, match="unknown opcode"):
        isa.fields(word, Config())


def test_an_unknown_operation_is_refused_with_its_index():
    cfg = Config()
    op = next(f for f in isa.fields(isa.Opcode.ALU, cfg) if f.name == "op")
    bad = int(isa.Opcode.ALU) | 7 << op.offset
    raw = np.concatenate([isa.encode_program([isa.Sync()], cfg), np.frombuffer(bad.to_bytes(32, "little"), np.uint8)])
    with pytest.raises(ProgramError, match="instruction 1, field 'op'.*5 MULADD") as caught:
        isa.decode_program(raw, cfg)
    assert caught.value.index == 1


def test_set_bits_beyond_the_fields_are_refused():
    cfg = Config()
    with pytest.raises(ProgramError, match="must be 0"):
        isa.decode(isa.encode(isa.Sync(), cfg) | 1 << 255, cfg)
    with pytest.raises(ProgramError, match="not a multiple"):
        isa.decode_program(b"123", cfg)


def test_twenty_thousand_instructions_encode_and_decode():
    cfg, rng = Config(), np.random.default_rng(0)
    program = [random_instruction(rng, cfg) for _ in range(1000)] * 20
    assert isa.decode_program(isa.encode_program(program, cfg), cfg) == program
