"""Tokens: every inserted program proves, and the proof agrees with brute force over all interleavings."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw import isa
from hw.config import Config
from hw.dependence import check_ranges, footprint, insert_tokens, insert_tokens_mapped, prove
from hw.errors import DeadlockError, EncodeError, ProgramError
from hw.random_program import random_program, without_tokens
from tests.hw.machine import conflicts, explore
from tests.hw.strategies import configs

TINY = Config.load("tiny")
UOPS = isa.encode_uops([isa.Uop(dst=k, src=k, wgt=k) for k in range(8)], TINY)
LOAD_UOPS = isa.Load(buffer=isa.Buffer.UOP, seg=UOPS.size)
MEMORY = np.concatenate([UOPS, np.zeros(8192 - UOPS.size, np.uint8)])

campaign = settings(derandomize=True, deadline=None, max_examples=60)
seeds = st.integers(0, 2**32 - 1)


def small_program(rng: np.random.Generator, n: int, aligned: bool) -> list[isa.Instruction]:
    """Few instructions on few vectors and few blocks of DRAM; aligned ones touch exactly their bounding blocks."""
    program: list[isa.Instruction] = [LOAD_UOPS]
    while len(program) < n:
        at, size = int(rng.integers(4)), int(rng.integers(1, 4))
        dram = 1024 + 64 * int(rng.integers(6))
        if not aligned:
            dram += int(rng.integers(64))
        shape: dict[str, Any] = {}
        if not aligned:
            shape = {"y_size": int(rng.integers(1, 4)), "y_dram": int(rng.integers(200)), "y_sram": 4}
        kind = int(rng.integers(5))
        if kind == 0:
            buffer = (isa.Buffer.INP, isa.Buffer.WGT)[int(rng.integers(2))]
            vector = 4 if buffer == isa.Buffer.INP else 16
            program.append(isa.Load(buffer=buffer, dram=dram, sram=at * vector, seg=size * vector, **shape))
        elif kind == 1:
            program.append(isa.Gemm(iter_in=size, src_base=at, src_in=1, wgt_base=at))
        elif kind == 2:
            op, source = isa.AluOp.ADD, isa.AluSource.IMM
            program.append(isa.Alu(op=op, source=source, to_out=True, iter_in=size, dst_in=1, out_base=at))
        elif kind == 3:
            program.append(isa.Store(dram=dram, sram=at * 4, seg=size * 4, **shape))
        else:
            program.append(isa.Sync() if rng.random() < 0.3 else isa.Gemm(iter_in=size, src_base=at, src_in=1))
    return program


def verdict(program: list[isa.Instruction], cfg: Config) -> str:
    try:
        prove(program, cfg, MEMORY)
    except DeadlockError:
        return "deadlock"
    except ProgramError as error:
        return "leak" if "left at the end" in str(error) else "race"
    return "safe"


@campaign
@given(seeds, st.integers(2, 9), st.integers(1, 3))
def test_inserted_tokens_are_safe_in_every_interleaving(seed: int, n: int, depth: int):
    cfg = TINY.with_(token_depth=depth)
    program = insert_tokens(small_program(np.random.default_rng(seed), n, aligned=False), cfg, MEMORY)
    assert explore(program, cfg, conflicts(program, cfg, MEMORY)) == "safe"
    prove(program, cfg, MEMORY)


@campaign
@given(seeds, st.integers(3, 8))
def test_the_proof_agrees_with_brute_force_when_tokens_are_taken_away(seed: int, n: int):
    cfg = TINY.with_(load_queue=32, compute_queue=32, store_queue=32)
    program = insert_tokens(small_program(np.random.default_rng(seed), n, aligned=True), cfg, MEMORY)
    pairs = conflicts(program, cfg, MEMORY)
    ends = (("push_next", "pop_prev"), ("push_prev", "pop_next"))
    for unit, (push, pop) in [(0, ends[0]), (1, ends[1]), (1, ends[0]), (2, ends[1])]:
        other = unit + (1 if push == "push_next" else -1)
        sources = [k for k, p in enumerate(program) if p.UNIT == unit and getattr(p, push)]
        targets = [k for k, p in enumerate(program) if p.UNIT == other and getattr(p, pop)]
        assert len(sources) == len(targets)
        for source, target in zip(sources, targets, strict=True):
            assert source < target
            mutant = list(program)
            mutant[source] = dataclasses.replace(mutant[source], **{push: False})
            mutant[target] = dataclasses.replace(mutant[target], **{pop: False})
            assert verdict(mutant, cfg) == explore(mutant, cfg, pairs)


@campaign
@given(seeds, st.integers(3, 7), st.integers(1, 3))
def test_the_proof_agrees_with_brute_force_on_random_flags(seed: int, n: int, depth: int):
    cfg = TINY.with_(load_queue=32, compute_queue=32, store_queue=32, token_depth=depth)
    rng = np.random.default_rng(seed)
    program = insert_tokens(small_program(rng, n, aligned=True), cfg, MEMORY)
    for _ in range(int(rng.integers(1, 4))):
        k = int(rng.integers(len(program)))
        legal = [f for f in isa.FLAGS if not (program[k].UNIT == 0 and "prev" in f)]
        legal = [f for f in legal if not (program[k].UNIT == 2 and "next" in f)]
        flag = legal[int(rng.integers(len(legal)))]
        program[k] = dataclasses.replace(program[k], **{flag: not getattr(program[k], flag)})
    expected = explore(program, cfg, conflicts(program, cfg, MEMORY))
    found = verdict(program, cfg)
    # Several things can be wrong at once; both must agree on whether anything is.
    assert (found == "safe") == (expected == "safe"), (found, expected)


@settings(derandomize=True, deadline=None, max_examples=25)
@given(seeds, configs())
def test_random_programs_prove_on_random_configurations(seed: int, cfg: Config):
    made = random_program(np.random.default_rng(seed), cfg, 40)
    check_ranges(made.program, cfg, made.memory)
    prove(made.program, cfg, made.memory)
    stop = made.program_address + len(made.program) * cfg.instruction_bytes
    assert isa.decode_program(made.memory[made.program_address : stop], cfg) == made.program
    again = random_program(np.random.default_rng(seed), cfg, 40)
    assert again.program == made.program and np.array_equal(again.memory, made.memory)


@settings(derandomize=True, deadline=None, max_examples=20)
@given(seeds, st.integers(1, 4))
def test_tokens_outstanding_in_program_order_stay_within_the_counters(seed: int, depth: int):
    cfg = TINY.with_(token_depth=depth)
    made = random_program(np.random.default_rng(seed), cfg, 80)
    for source, target, push, pop in ((0, 1, "push_next", "pop_prev"), (1, 0, "push_prev", "pop_next"),
                                      (1, 2, "push_next", "pop_prev"), (2, 1, "push_prev", "pop_next")):  # fmt: skip
        count = 0
        for instr in made.program:
            count -= instr.UNIT == target and getattr(instr, pop)
            assert count >= 0
            count += instr.UNIT == source and getattr(instr, push)
            assert count <= depth
        assert count == 0


def test_insertion_keeps_the_instructions_and_maps_them():
    made = random_program(np.random.default_rng(5), TINY, 60, tokens=False)
    result, positions = insert_tokens_mapped(made.program, TINY, made.memory)
    bare = without_tokens(result)
    assert [bare[p] for p in positions] == made.program
    extra = set(range(len(result))) - set(positions.tolist())
    assert all(isinstance(result[k], isa.Sync) for k in extra)
    assert insert_tokens(result, TINY, made.memory) == insert_tokens(bare, TINY, made.memory)


def test_tokens_of_a_tile():
    program = [
        LOAD_UOPS,
        isa.Load(buffer=isa.Buffer.INP, dram=64, seg=16),
        isa.Gemm(iter_in=4, src_in=1),
        isa.Alu(op=isa.AluOp.SHR, source=isa.AluSource.IMM, imm=2, to_out=True),
        isa.Store(dram=1024, seg=4),
        isa.Load(buffer=isa.Buffer.INP, dram=128, seg=16),
        isa.Alu(op=isa.AluOp.ADD, source=isa.AluSource.IMM, to_out=True),
    ]
    tokens = [{f for f in isa.FLAGS if getattr(i, f)} for i in insert_tokens(program, TINY, MEMORY)]
    assert tokens == [
        set(), {"push_next"}, {"pop_prev", "push_prev"}, {"push_next"}, {"pop_prev", "push_prev"}, {"pop_next"},
        {"pop_next"},
    ]  # fmt: skip


def test_a_load_after_a_store_of_the_same_bytes_goes_through_a_sync():
    program = [isa.Store(dram=1024, seg=4), isa.Load(buffer=isa.Buffer.INP, dram=1026, seg=2)]
    result = insert_tokens(program, TINY)
    assert result == [
        dataclasses.replace(program[0], push_prev=True),
        isa.Sync(pop_next=True, push_prev=True),
        dataclasses.replace(program[1], pop_next=True),
    ]
    backwards = insert_tokens(program[::-1], TINY)
    assert backwards[1] == isa.Sync(pop_prev=True, push_next=True)


def test_a_compute_instruction_that_knows_of_the_store_relays():
    add = isa.Alu(op=isa.AluOp.ADD, source=isa.AluSource.IMM, to_out=True)
    program = [LOAD_UOPS, add, isa.Store(dram=1024, seg=4), add, isa.Load(buffer=isa.Buffer.INP, dram=1024, seg=4)]
    result = insert_tokens(program, TINY, MEMORY)
    assert len(result) == len(program)
    assert result[3] == dataclasses.replace(add, pop_next=True, push_prev=True)


@pytest.mark.parametrize("pitch", [128, 130, 100])
def test_interleaved_rows_in_dram_do_not_conflict(pitch: int):
    """Stores of one half of each row and a load of the other half need no order."""
    rows: dict[str, Any] = {"seg": 4, "y_size": 3, "y_dram": pitch, "y_sram": 4}
    program = [isa.Store(dram=1024, **rows), isa.Load(buffer=isa.Buffer.INP, dram=1024 + 64, **rows)]
    assert (len(insert_tokens(program, TINY)) == 2) == (pitch >= 128)


def test_unknown_micro_ops_count_as_everything():
    program = [LOAD_UOPS, isa.Load(buffer=isa.Buffer.INP, sram=512, seg=4), isa.Gemm()]
    assert insert_tokens(program, TINY)[1].push_next
    assert not insert_tokens(program, TINY, MEMORY)[1].push_next


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ([isa.Gemm()], "micro-op 0 is used, but no load has written it"),
        ([LOAD_UOPS, isa.Gemm(src_base=255, iter_in=2, src_in=1)], r"inp vectors 255..256 are outside 0..255"),
        ([LOAD_UOPS, isa.Gemm(uop_count=8, wgt_base=60)], r"wgt vectors 60..67 are outside 0..63"),
        ([LOAD_UOPS, isa.Gemm(uop_begin=255, uop_count=2)], "micro-ops 255..256 are outside"),
        ([LOAD_UOPS, isa.Gemm(iter_in=0)], "field 'iter_in': is 0"),
        ([isa.Load(buffer=isa.Buffer.INP, sram=1020, seg=8)], "inp bytes 1020..1027 are outside 0..1023"),
        ([isa.Load(buffer=isa.Buffer.INP, seg=0)], "field 'seg': is 0"),
        ([isa.Store(dram=2**32 - 2, seg=4)], "outside the 32-bit space"),
        ([isa.Load(buffer=isa.Buffer.INP, push_prev=True)], "field 'push_prev': there is no unit before load"),
        ([isa.Store(pop_next=True)], "there is no unit behind store"),
        ([LOAD_UOPS, isa.Alu(op=isa.AluOp.MULADD, source=isa.AluSource.IMM)], "source must be ACC or AUX"),
        ([LOAD_UOPS, isa.Requant(src_base=255)], "aux vectors 255..262 are outside"),
        ([LOAD_UOPS, isa.Requant(low=3, high=2)], "field 'low': 3 is more than high"),
        ([isa.Load(buffer=isa.Buffer.UOP, dram=9000, seg=4)], "not in the image given"),
    ],
)
def test_illegal_instructions_are_refused_with_index_and_field(program: list[isa.Instruction], words: str):
    for check in (check_ranges, prove):
        with pytest.raises(ProgramError, match=words) as caught:
            check(program, TINY, MEMORY)
        assert caught.value.index == len(program) - 1 and caught.value.field


def test_values_that_do_not_fit_are_refused():
    for check in (check_ranges, prove):
        with pytest.raises(EncodeError):
            check([isa.Store(dram=1 << 32)], TINY, MEMORY)


def test_micro_ops_that_the_program_stores_are_refused():
    with pytest.raises(ProgramError, match="they must be constants"):
        insert_tokens([isa.Store(dram=0, seg=4), LOAD_UOPS], TINY, MEMORY)


def test_deadlock_says_who_waits_for_whom():
    with pytest.raises(DeadlockError) as caught:
        prove([isa.Sync(pop_prev=True, push_next=True), isa.Store(pop_prev=True, seg=4)], TINY)
    assert "compute at instruction 0 waits for a token from load" in str(caught.value)
    assert "store at instruction 1 waits for a token from compute" in str(caught.value)


def test_deadlock_through_a_full_queue_is_found():
    """The token that compute waits for is pushed by a load that cannot be dispatched behind compute's full queue."""
    program = [isa.Sync(pop_prev=True), *[isa.Sync()] * 5, isa.Load(buffer=isa.Buffer.INP, fill=True, push_next=True)]
    with pytest.raises(DeadlockError, match="dispatch of instruction 4 waits for room in the compute queue"):
        prove(program, TINY)
    prove(program, TINY.with_(compute_queue=6))


def test_deadlock_through_a_full_counter_is_found():
    push = isa.Load(buffer=isa.Buffer.INP, fill=True, push_next=True)
    wait = dataclasses.replace(push, push_next=False, pop_next=True)
    program = [push] * 3 + [wait] + [isa.Sync(pop_prev=True)] * 2 + [isa.Sync(pop_prev=True, push_prev=True)]
    prove(program, TINY.with_(token_depth=3))
    prove(program, TINY.with_(token_depth=2))
    blocked = [*program[:3], isa.Sync(pop_next=True), *program[4:]]
    with pytest.raises(DeadlockError, match="load at instruction 2 waits for compute to take a token"):
        prove(blocked, TINY.with_(token_depth=2))


def test_a_leak_names_channel_and_instruction():
    with pytest.raises(ProgramError, match="1 token from compute to store left at the end; .* instruction 1"):
        prove([isa.Sync(), isa.Sync(push_next=True)], TINY)


def test_a_race_names_both_instructions():
    program = [LOAD_UOPS, isa.Load(buffer=isa.Buffer.INP, seg=4, dram=64), isa.Gemm()]
    with pytest.raises(
        ProgramError, match=r"instruction 2: gemm .* instruction [01] \(load\).*token from load"
    ) as caught:
        prove(program, TINY, MEMORY)
    assert caught.value.index == 2


def test_footprints_are_in_bytes():
    assert footprint(isa.Load(buffer=isa.Buffer.WGT, dram=100, sram=3, seg=5, x_size=2, x_dram=7, x_sram=9), TINY) == (
        [("dram", 100, 112)], [("wgt", 3, 17)],
    )  # fmt: skip
    reads, writes = footprint(isa.Gemm(), TINY)
    assert ("inp", 0, TINY.inp_buffer) in reads and writes == [("acc", 0, TINY.acc_buffer)]


def test_tokens_of_twenty_thousand_instructions():
    cfg = Config()
    made = random_program(np.random.default_rng(1), cfg, 2000, tokens=False)
    program = made.program * 10
    result = insert_tokens(program, cfg, made.memory)
    prove(result, cfg, made.memory)
