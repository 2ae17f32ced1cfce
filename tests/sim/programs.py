"""Random legal programs and configurations that are hard on the simulators' timing.

Few accumulators (so that hazards are frequent), short and long copies, unaligned addresses, tokens in all four
directions. Every pop has an earlier push in program order, so no program deadlocks. The micro-ops are loaded first
and never changed; otherwise the programs may race, which matters to nothing but the bits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hw import isa
from hw.config import Config, MemoryConfig
from hw.isa import Alu, AluOp, AluSource, Buffer, Gemm, Instruction, Load, Requant, Store, Sync, Unit, Uop

MEMORY_BYTES = 1 << 17
PROGRAM = 1 << 16
DATA = 1 << 15
BLOCKS = ((1, 16, 16), (1, 4, 8), (1, 16, 4), (2, 8, 32), (4, 16, 8))
"""batch, block_in, block_out of the random configurations: few, because each needs its own compiled kernels."""


@dataclass(frozen=True)
class Case:
    """A program in a memory image, ready to run (`memory` is to be copied first)."""

    cfg: Config
    memory: np.ndarray
    program: list[Instruction]
    uops: list[Uop]
    address: int

    def used_uops(self) -> dict[int, list[Uop]]:
        """The micro-ops of each compute instruction."""
        return {
            i: self.uops[m.uop_begin : m.uop_begin + m.uop_count]
            for i, m in enumerate(self.program)
            if isinstance(m, Gemm | Alu | Requant)
        }

    def run_arguments(self) -> tuple[np.ndarray, int, int, Config]:
        return self.memory.copy(), self.address, len(self.program), self.cfg


def place(program: list[Instruction], cfg: Config, seed: int = 0, uops: list[Uop] | None = None) -> Case:
    """The program somewhere in the page at PROGRAM, random bytes (and first the micro-ops, at 0) below DATA."""
    address = PROGRAM + 64 * (seed % 64)
    memory = np.zeros(MEMORY_BYTES, np.uint8)
    memory[:DATA] = np.random.default_rng(seed).integers(0, 256, DATA)
    if uops:
        data = isa.encode_uops(uops, cfg)
        memory[: data.size] = data
    data = isa.encode_program(program, cfg)
    memory[address : address + data.size] = data
    return Case(cfg, memory, program, uops or [], address)


def random_config(rng: np.random.Generator) -> Config:
    """A small machine: several block sizes, batch, odd buffer depths, bus width and memory."""

    def pick(*options: int) -> int:
        return int(rng.choice(options))

    batch, block_in, block_out = BLOCKS[pick(*range(len(BLOCKS)))]
    vector = batch * block_out
    params = -(-8 // batch)
    axi = "axi4" if rng.random() < 0.3 else "axi3"
    stall = rng.random() < 0.6
    memory = MemoryConfig(
        read_latency=pick(1, 2, 5, 17, 28),
        write_latency=pick(1, 2, 9, 16),
        read_outstanding=pick(1, 2, 3, 8),
        write_outstanding=pick(1, 2, 8),
        stall_seed=int(rng.integers(0, 1 << 32)) if stall else None,
        stall_rate=float(rng.choice([0.05, 0.3, 0.8])) if stall else 0.0,
    )
    return Config(
        batch=batch,
        block_in=block_in,
        block_out=block_out,
        uop_buffer=8 * pick(16, 33),
        inp_buffer=batch * block_in * pick(9, 16, 40),
        wgt_buffer=block_in * block_out * pick(3, 5, 8),
        acc_buffer=4 * vector * pick(7, 12, 40),
        out_buffer=vector * pick(7, 12, 40),
        aux_buffer=vector * (params * pick(1, 2, 3) + pick(0, 1, 5)),
        token_depth=pick(1, 2, 63),
        load_queue=pick(2, 3, 32),
        compute_queue=pick(2, 3, 32),
        store_queue=pick(2, 3, 32),
        bus_bits=pick(32, 64, 64, 128),
        axi=axi,
        burst_beats=pick(1, 4, 16) if axi == "axi3" else pick(4, 64, 256),
        instruction_bits=pick(256, 256, 512),
        memory=memory,
    )


def random_case(seed: int, length: int = 40, cfg: Config | None = None) -> Case:
    """A random program of about `length` instructions, on a random configuration unless one is given."""
    rng = np.random.default_rng(seed)
    cfg = random_config(rng) if cfg is None else cfg
    maker = _Maker(rng, cfg)
    # Loaded first and never changed.
    uops = [maker.uop() for _ in range(cfg.uop_depth)]
    size = len(uops) * cfg.uop_bytes
    program: list[Instruction] = [Load(buffer=Buffer.UOP, seg=size, push_next=True), Sync(pop_prev=True)]
    for _ in range(length):
        program.append(maker.instruction(uops))
    return place(_with_tokens(rng, program, cfg.token_depth), cfg, seed, uops)


class _Maker:
    def __init__(self, rng: np.random.Generator, cfg: Config) -> None:
        self.rng, self.cfg = rng, cfg

    def below(self, stop: int) -> int:
        return int(self.rng.integers(0, max(1, stop)))

    def uop(self) -> Uop:
        cfg = self.cfg
        return Uop(
            overwrite=self.rng.random() < 0.3,
            dst=self.below(cfg.acc_depth // 3),
            src=self.below(min(cfg.inp_depth // 3, cfg.aux_depth - cfg.param_vectors + 1, cfg.acc_depth // 3)),
            wgt=self.below(cfg.wgt_depth // 2),
        )

    def instruction(self, uops: list[Uop]) -> Instruction:
        kind = self.rng.choice(5, p=[0.3, 0.3, 0.15, 0.1, 0.15])
        if kind == 0:
            return self.load()
        if kind == 4:
            copy = self.copy(self.cfg.out_buffer)
            copy["dram"] += DATA
            return Store(**copy)
        if self.rng.random() < 0.1:
            return Sync()
        return self.compute(uops, int(kind))

    def copy(self, sram_bytes: int, dram_bytes: int = DATA) -> dict[str, Any]:
        """Loop fields of a copy that stays inside `sram_bytes` and `dram_bytes`."""
        rng = self.rng
        seg = 1 + self.below(min(sram_bytes, int(rng.choice([4, 40, 700]))))
        x_size, y_size = 1 + self.below(int(rng.choice([1, 2, 9]))), 1 + self.below(int(rng.choice([1, 2, 4])))
        x_dram = seg if rng.random() < 0.5 else self.below(300)
        y_dram = self.below(3000)
        while True:
            room = sram_bytes - seg
            x_sram = min(self.below(2 * seg), room // max(1, x_size - 1)) if x_size > 1 else 0
            room -= (x_size - 1) * x_sram
            y_sram = min(self.below(2 * seg), room // max(1, y_size - 1)) if y_size > 1 else 0
            room -= (y_size - 1) * y_sram
            dram_room = dram_bytes - seg - (x_size - 1) * x_dram - (y_size - 1) * y_dram
            if dram_room >= 0:
                return {
                    "sram": self.below(room + 1), "dram": self.below(dram_room + 1), "seg": seg,
                    "x_size": x_size, "x_dram": x_dram, "x_sram": x_sram,
                    "y_size": y_size, "y_dram": y_dram, "y_sram": y_sram,
                }  # fmt: skip
            x_size, y_dram = 1, y_dram // 2

    def load(self) -> Load:
        buffer = Buffer(1 + self.below(3))
        size = getattr(self.cfg, f"{buffer.name.lower()}_buffer")
        fill = self.rng.random() < 0.15
        return Load(buffer=buffer, fill=fill, value=self.below(256) if fill else 0, **self.copy(size))

    def compute(self, uops: list[Uop], kind: int) -> Instruction:
        rng, cfg = self.rng, self.cfg
        begin = self.below(len(uops))
        count = 1 + self.below(min(len(uops) - begin, int(rng.choice([1, 3, 9]))))
        chosen = uops[begin : begin + count]
        n, m = 1 + self.below(int(rng.choice([1, 3, 5]))), 1 + self.below(int(rng.choice([1, 4, 12])))

        def walk(depth: int, most: int) -> tuple[int, int, int]:
            """Base and strides so that base + most + the loops' reach stays below depth."""
            room = depth - 1 - most
            inner = min(self.below(3), room // max(1, m - 1))
            room -= (m - 1) * inner
            outer = min(self.below(4), room // max(1, n - 1))
            room -= (n - 1) * outer
            return self.below(room + 1), outer, inner

        loops: dict[str, Any] = {"uop_begin": begin, "uop_count": count, "iter_out": n, "iter_in": m}
        most_dst, most_src = max(u.dst for u in chosen), max(u.src for u in chosen)
        to_out = rng.random() < 0.4 and most_dst < cfg.out_depth
        depth = min(cfg.acc_depth, cfg.out_depth) if to_out else cfg.acc_depth
        dst_base, dst_out, dst_in = walk(depth, most_dst)
        loops |= {"dst_base": dst_base, "dst_out": dst_out, "dst_in": dst_in}
        if kind == 1:
            base, outer, inner = walk(cfg.inp_depth, most_src)
            wbase, wouter, winner = walk(cfg.wgt_depth, max(u.wgt for u in chosen))
            return Gemm(**loops, src_base=base, src_out=outer, src_in=inner, wgt_base=wbase, wgt_out=wouter,
                        wgt_in=winner)  # fmt: skip
        if kind == 3:
            base = self.below(cfg.aux_depth - cfg.param_vectors + 1 - most_src)
            low = int(rng.integers(-512, 512))
            return Requant(**loops, to_out=to_out, src_base=base, out_base=dst_base * to_out, low=low,
                           high=int(rng.integers(low, 512)), zero_point=int(rng.integers(-512, 512)))  # fmt: skip
        op = AluOp(self.below(6))
        source = AluSource(int(op == AluOp.MULADD) + self.below(3 - int(op == AluOp.MULADD)))
        base, outer, inner = walk(cfg.aux_depth if source == AluSource.AUX else cfg.acc_depth, most_src)
        imm = int(rng.integers(-(1 << 17), 1 << 17)) if source == AluSource.IMM or op == AluOp.MULADD else 0
        return Alu(**loops, op=op, source=source, to_out=to_out, imm=imm, shift=self.below(32), src_base=base,
                   src_out=outer, src_in=inner, out_base=dst_base * to_out)  # fmt: skip


_CHANNELS = (
    (Unit.LOAD, "push_next", Unit.COMPUTE, "pop_prev"),
    (Unit.COMPUTE, "push_prev", Unit.LOAD, "pop_next"),
    (Unit.COMPUTE, "push_next", Unit.STORE, "pop_prev"),
    (Unit.STORE, "push_prev", Unit.COMPUTE, "pop_next"),
)


def _with_tokens(rng: np.random.Generator, program: list[Instruction], depth: int) -> list[Instruction]:
    """Random pushes and pops after the first two instructions; no channel holds more than `depth` at any time."""
    rate = float(rng.choice([0.0, 0.1, 0.5]))
    for producer, push, consumer, pop in _CHANNELS:
        held = 0
        for i in range(2, len(program)):
            item = program[i]
            if item.UNIT == producer and held < depth and rng.random() < rate:
                program[i] = replace(program[i], **{push: True})
                held += 1
            if item.UNIT == consumer and held and rng.random() < 0.8:
                program[i] = replace(program[i], **{pop: True})
                held -= 1
    return program
