"""A compiled model made without the compiler: two layers on VDLA and one on the CPU, for the `tiny` machine.

x int8[3,4] -> fc (matrix product, halved) -> t int8[3,4] -> relu -> r int8[3,4] -> dequantize -> y float32[3,4]
"""

from __future__ import annotations

from functools import cache

import llvmlite.binding as llvm
import numpy as np

from hw.config import Config
from hw.isa import (
    Alu,
    AluOp,
    AluSource,
    Buffer,
    Gemm,
    Instruction,
    Load,
    Requant,
    Store,
    Sync,
    Uop,
    encode_program,
    encode_uops,
)
from runtime.artifact import Artifact, CpuCode, CpuStep, Segment, TensorSpec, VdlaLayer, VdlaStep

ROWS = 3
X, T, R, Y, UOPS, WEIGHTS, PARAMS, PROGRAM = 0, 64, 128, 192, 256, 320, 384, 512
SCALE = 0.5

_KERNEL = f"""
define void @dequantize(ptr %from, ptr %to) {{
entry:
  br label %loop
loop:
  %i = phi i64 [0, %entry], [%next, %loop]
  %source = getelementptr i8, ptr %from, i64 %i
  %value = load i8, ptr %source, align 1
  %real = sitofp i8 %value to float
  %scaled = fmul float %real, {SCALE}
  %target = getelementptr float, ptr %to, i64 %i
  store float %scaled, ptr %target, align 4
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, {ROWS * 4}
  br i1 %more, label %loop, label %done
done:
  ret void
}}
"""


@cache
def cpu_object() -> bytes:
    """The dequantize kernel as a relocatable object for this machine."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(reloc="pic", codemodel="default")
    return machine.emit_object(llvm.parse_assembly(_KERNEL))


def weights() -> np.ndarray:
    """int8[4 out, 4 in]."""
    return np.random.default_rng(7).integers(-8, 8, (4, 4)).astype(np.int8)


def program(config: Config) -> list[Instruction]:
    """Twelve instructions; the first seven are fc."""
    size = ROWS * 4
    params_at = config.param_vectors
    return [
        Load(buffer=Buffer.UOP, dram=UOPS, seg=3 * config.uop_bytes),
        Load(buffer=Buffer.INP, dram=X, seg=size),
        Load(buffer=Buffer.WGT, dram=WEIGHTS, seg=16),
        Load(buffer=Buffer.AUX, dram=PARAMS, seg=config.param_bytes, push_next=True),
        Gemm(uop_begin=0, iter_in=ROWS, dst_in=1, src_in=1, pop_prev=True),
        Requant(uop_begin=1, iter_in=ROWS, dst_in=1, to_out=True, push_next=True),
        Store(dram=T, seg=size, pop_prev=True, push_prev=True),
        Sync(pop_next=True, push_prev=True),
        Load(buffer=Buffer.AUX, dram=T, sram=params_at * 4, seg=size, pop_next=True, push_next=True),
        Alu(op=AluOp.ADD, source=AluSource.AUX, uop_begin=2, iter_in=ROWS, dst_in=1, src_base=params_at, src_in=1,
            pop_prev=True),
        Alu(op=AluOp.MAX, source=AluSource.IMM, imm=0, to_out=True, uop_begin=1, iter_in=ROWS, dst_in=1,
            push_next=True),
        Store(dram=R, seg=size, pop_prev=True),
    ]  # fmt: skip


def artifact(config: Config | None = None) -> Artifact:
    """The compiled model."""
    config = config or Config.load("tiny")
    uops = [Uop(overwrite=True), Uop(), Uop(overwrite=True)]
    params = np.array([[0, (1 << 16) | (17 << 18)]] * 4, np.int32)
    code = encode_program(program(config), config)
    return Artifact(
        model="handmade",
        config=config,
        arena_bytes=PROGRAM + code.size,
        inputs=(TensorSpec("x", (ROWS, 4), "int8", X),),
        outputs=(TensorSpec("y", (ROWS, 4), "float32", Y),),
        segments=(
            Segment("uops", UOPS, encode_uops(uops, config)),
            Segment("fc.weight", WEIGHTS, weights().view(np.uint8).reshape(-1)),
            Segment("fc.params", PARAMS, params.view(np.uint8).reshape(-1)),
            Segment("program", PROGRAM, code),
        ),
        steps=(
            VdlaStep(
                PROGRAM,
                12,
                (
                    VdlaLayer("fc", "dense", 0, 7, macs=ROWS * 16, nodes=("MatMul_0",)),
                    VdlaLayer("relu", "relu", 7, 12, nodes=("Relu_1",)),
                ),
            ),
            CpuStep("dequantize", (R, Y), "y", "dequantize", "results leave the integers on the CPU", ("Dq_2",)),
        ),
        cpu_code=CpuCode(cpu_object(), llvm.get_process_triple()),
        info={"compile": {"wall_s": 0.25, "passes": [["import", 0.05], ["lower", 0.2]]}},
    )


def expected(x: np.ndarray) -> np.ndarray:
    """What the model computes, by numpy; float32[3,4]."""
    acc = x.astype(np.int64) @ weights().astype(np.int64).T
    halved = np.clip(np.rint(acc / 2), -128, 127)
    return (np.maximum(halved, 0) * SCALE).astype(np.float32)


def example_input(seed: int = 0) -> np.ndarray:
    """int8[3,4]."""
    return np.random.default_rng(seed).integers(-128, 128, (ROWS, 4)).astype(np.int8)
