"""Illegal programs: one ProgramError that names instruction, field and what would be right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hw import asm
from hw.config import Config
from hw.errors import ProgramError
from hw.isa import Alu, AluOp, AluSource, Buffer, Gemm, Instruction, Load, Requant, Store, Sync, Uop
from sim import cycle, functional
from tests.sim.programs import MEMORY_BYTES, place

CFG = Config(out_buffer=16 * 100)
SIMULATORS = pytest.mark.parametrize("run", [functional.run, cycle.run], ids=["functional", "cycle"])

STATIC = [
    (Load(buffer=Buffer.INP, seg=0), "seg", "is 0"),
    (Load(buffer=Buffer.INP, x_size=0), "x_size", "is 0"),
    (Store(y_size=0), "y_size", "is 0"),
    (Gemm(uop_count=0), "uop_count", "is 0"),
    (Gemm(iter_out=0), "iter_out", "is 0"),
    (Requant(iter_in=0), "iter_in", "is 0"),
    (Load(buffer=Buffer.INP, pop_prev=True), "pop_prev", "no previous neighbour"),
    (Store(push_next=True), "push_next", "no next neighbour"),
    (Alu(op=AluOp.MULADD, source=AluSource.IMM), "source", "MULADD"),
    (Requant(low=3, high=2), "low", "3 is more than high = 2"),
    (Load(buffer=Buffer.WGT, sram=32760, seg=9), "sram", "byte 32769 of the wgt buffer of 32768 bytes"),
    (Load(buffer=Buffer.UOP, fill=True, seg=100, y_size=400, y_sram=100), "sram", "of the uop buffer"),
    (Store(sram=1590, seg=11), "sram", "byte 1601 of the out buffer of 1600 bytes"),
    (Load(buffer=Buffer.INP, dram=MEMORY_BYTES), "dram", f"of a memory of {MEMORY_BYTES:#x} bytes"),
    (Store(dram=2**32 - 1), "dram", "of a memory of"),
    (Load(buffer=Buffer.INP, dram=MEMORY_BYTES - 4, seg=2, x_size=3, x_dram=2), "dram", "of a memory of"),
]


@SIMULATORS
@pytest.mark.parametrize("bad, field, text", STATIC, ids=lambda v: v if isinstance(v, str) else type(v).__name__)
def test_before_anything_runs(run: Callable[..., Any], bad: Instruction, field: str, text: str) -> None:
    case = place([Load(buffer=Buffer.INP, seg=4), Sync(), bad, Store(dram=2**31)], CFG)
    with pytest.raises(ProgramError, match=text) as caught:
        run(*case.run_arguments())
    assert (caught.value.index, caught.value.field) == (2, field)


UOPS = [Uop(dst=4, src=3, wgt=2)]
DYNAMIC = [
    (Gemm(dst_base=2047), "dst_base", "accumulator 2051; the accumulator buffer holds 0..2047"),
    (Gemm(src_base=2040, iter_in=6, src_in=1), "src_base", "input vector 2048"),
    (Gemm(wgt_base=100, iter_out=2, wgt_out=26), "wgt_base", "weight tile 128; the weight buffer holds 0..127"),
    (Gemm(uop_begin=8191, uop_count=2), "uop_begin", "micro-op 8192"),
    (Alu(op=AluOp.ADD, source=AluSource.ACC, src_base=2045), "src_base", "accumulator 2048"),
    (Alu(op=AluOp.ADD, source=AluSource.AUX, src_base=2045), "src_base", "auxiliary vector 2048"),
    (Alu(op=AluOp.ADD, source=AluSource.IMM, to_out=True, out_base=96), "out_base", "output vector 100"),
    (Requant(src_base=2038), "src_base", "auxiliary vector 2048"),
    (Requant(to_out=True, out_base=90, iter_in=7, dst_in=1), "out_base", "output vector 100"),
]


@SIMULATORS
@pytest.mark.parametrize("bad, field, text", DYNAMIC, ids=lambda v: v if isinstance(v, str) else type(v).__name__)
def test_when_the_micro_ops_are_known(run: Callable[..., Any], bad: Instruction, field: str, text: str) -> None:
    program = [Load(buffer=Buffer.UOP, seg=CFG.uop_bytes, push_next=True), Sync(pop_prev=True), bad]
    with pytest.raises(ProgramError, match=text) as caught:
        run(*place(program, CFG, uops=UOPS).run_arguments())
    assert (caught.value.index, caught.value.field) == (2, field)


@SIMULATORS
def test_cleared_memory_does_not_run(run: Callable[..., Any]) -> None:
    with pytest.raises(ProgramError, match="unknown opcode 0") as caught:
        run(np.zeros(4096, np.uint8), 64, 3, CFG)
    assert caught.value.index == 0


@SIMULATORS
@pytest.mark.parametrize(
    "memory, address, count, text",
    [
        (np.zeros(4096, np.uint8), 4, 1, "multiple of 32 bytes; try 0x0"),
        (np.zeros(4096, np.uint8), 4064, 2, "leaves the memory of 0x1000 bytes"),
        (np.zeros(4096, np.uint8), 0, -1, "0 or more"),
        (np.zeros(4096, np.int8), 0, 1, "numpy array of uint8"),
        (np.zeros((64, 64), np.uint8), 0, 1, "one-dimensional"),
        (np.zeros(8192, np.uint8)[::2], 0, 1, "contiguous"),
    ],
)
def test_bad_arguments(run: Callable[..., Any], memory: np.ndarray, address: int, count: int, text: str) -> None:
    with pytest.raises(ProgramError, match=text):
        run(memory, address, count, CFG)


@SIMULATORS
def test_bits_beyond_the_fields_are_refused(run: Callable[..., Any]) -> None:
    case = place(asm.assemble("sync\nsync", CFG), CFG)
    memory = case.memory.copy()
    memory[case.address + 2 * CFG.instruction_bytes - 1] = 0x80
    with pytest.raises(ProgramError, match="beyond the last field") as caught:
        run(memory, case.address, 2, CFG)
    assert caught.value.index == 1
