"""Functional simulator: the bits of a program, executed in program order. The golden model of the kit."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hw.config import Config
from hw.isa import Opcode
from sim import kernels
from sim.jit import Library, build
from sim.program import F, Program, decode
from sim.state import State, constants


@dataclass(frozen=True)
class FunctionalStats:
    """What a functional run did: counts of instructions and vector operations, DRAM bytes copied, seconds."""

    instructions: int
    gemm_operations: int
    vector_operations: int
    dram_read_bytes: int
    dram_write_bytes: int
    wall_s: float


def run(memory: np.ndarray, program_address: int, instructions: int, cfg: Config) -> FunctionalStats:
    """Execute a program in program order, changing `memory` (uint8, the DRAM from address 0) in place.

    The tokens play no role: for a program without races every legal timing gives these bits. The instructions are
    read before the first one executes, so a program cannot modify itself.

    Raises ProgramError naming the first illegal instruction; those before it have then been executed if the fault
    depends on micro-ops, else none has.
    """
    start = time.perf_counter()
    program = decode(memory, program_address, instructions, cfg)
    state = State(cfg)
    execute(program, memory, state)
    return _stats(program, time.perf_counter() - start)


def execute(program: Program, memory: np.ndarray, state: State, begin: int = 0, end: int | None = None) -> None:
    """Execute instructions begin..end-1 (default: all) of a decoded program on `state`. Raises ProgramError."""
    end = len(program) if end is None else end
    entry = library(constants(program.cfg))["execute_range"]
    stop = entry(begin, end, program.flat, state.parameters, memory, *state.arrays)
    if stop < end:
        raise state.fault_error(stop)


@lru_cache(maxsize=32)
def library(key: tuple[tuple[str, int], ...]) -> Library:
    """The compiled kernels for the constants `key` (see sim.state.constants)."""
    return build([kernels.execute, kernels.execute_range], dict(key))


def operations(program: Program) -> np.ndarray:
    """Vector operations of each instruction, int64[n]; 0 for load, store and sync."""
    compute = np.isin(program.column(F.OPCODE), (Opcode.GEMM, Opcode.ALU, Opcode.REQUANT))
    counts = program.column(F.UOP_COUNT) * program.column(F.ITER_OUT) * program.column(F.ITER_IN)
    return np.where(compute, counts, 0)


def copied_bytes(program: Program) -> tuple[np.ndarray, np.ndarray]:
    """Bytes each instruction copies from and to DRAM, int64[n] each (without the bus's rounding to words)."""
    opcode = program.column(F.OPCODE)
    amount = program.column(F.SEG) * program.column(F.X_SIZE) * program.column(F.Y_SIZE)
    reads = (opcode == Opcode.LOAD) & (program.column(F.FILL) == 0)
    return np.where(reads, amount, 0), np.where(opcode == Opcode.STORE, amount, 0)


def _stats(program: Program, seconds: float) -> FunctionalStats:
    opcode, counts = program.column(F.OPCODE), operations(program)
    gemm = int(counts[opcode == Opcode.GEMM].sum())
    read, written = copied_bytes(program)
    return FunctionalStats(
        instructions=len(program),
        gemm_operations=gemm,
        vector_operations=int(counts.sum()) - gemm,
        dram_read_bytes=int(read.sum()),
        dram_write_bytes=int(written.sum()),
        wall_s=seconds,
    )
