"""A plain numpy model of what a program does, written from docs/isa.md's definitions and nothing of `sim`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hw import isa
from hw.config import Config
from hw.isa import Alu, AluOp, AluSource, Buffer, Gemm, Load, Requant, Store


@dataclass
class Golden:
    """One machine's buffers: bytes, and int32 accumulators [acc_depth, batch, block_out].

    `used` tells the micro-ops of each compute instruction that has run.
    """

    cfg: Config
    memory: np.ndarray

    def __post_init__(self) -> None:
        cfg = self.cfg
        self.index = 0
        self.used: dict[int, list[isa.Uop]] = {}
        self.buffers = {
            Buffer.UOP: np.zeros(cfg.uop_buffer, np.uint8),
            Buffer.INP: np.zeros(cfg.inp_buffer, np.uint8),
            Buffer.WGT: np.zeros(cfg.wgt_buffer, np.uint8),
            Buffer.AUX: np.zeros(cfg.aux_buffer, np.uint8),
        }
        self.acc = np.zeros((cfg.acc_depth, cfg.batch, cfg.block_out), np.int32)
        self.out = np.zeros((cfg.out_depth, cfg.batch, cfg.block_out), np.int8)

    def run(self, address: int, count: int) -> None:
        size = self.cfg.instruction_bytes
        program = isa.decode_program(self.memory[address : address + count * size].copy(), self.cfg)
        for self.index, instr in enumerate(program):
            getattr(self, "do_" + type(instr).__name__.lower())(instr)

    def do_sync(self, instr: Any) -> None:
        del instr

    def do_load(self, m: Load) -> None:
        buffer = self.buffers[m.buffer]
        for y in range(m.y_size):
            for x in range(m.x_size):
                to, at = m.sram + y * m.y_sram + x * m.x_sram, m.dram + y * m.y_dram + x * m.x_dram
                buffer[to : to + m.seg] = m.value if m.fill else self.memory[at : at + m.seg]

    def do_store(self, m: Store) -> None:
        data = self.out.reshape(-1).view(np.uint8)
        for y in range(m.y_size):
            for x in range(m.x_size):
                at, to = m.sram + y * m.y_sram + x * m.x_sram, m.dram + y * m.y_dram + x * m.x_dram
                self.memory[to : to + m.seg] = data[at : at + m.seg]

    def points(self, m: Gemm | Alu | Requant) -> Any:
        uops = isa.decode_uops(self.buffers[Buffer.UOP], self.cfg)[m.uop_begin : m.uop_begin + m.uop_count]
        self.used[self.index] = uops
        for u in uops:
            for i in range(m.iter_out):
                for j in range(m.iter_in):
                    yield u, i, j, u.dst + i * m.dst_out + j * m.dst_in

    def vectors(self, buffer: Buffer, *shape: int) -> np.ndarray:
        data = self.buffers[buffer].view(np.int8)
        size = int(np.prod(shape))
        return data[: data.size // size * size].reshape(-1, *shape)

    def write(self, m: Alu | Requant, offset: int, value: np.ndarray) -> None:
        if m.to_out:
            self.out[m.out_base + offset] = np.clip(value, -128, 127)
        else:
            self.acc[m.dst_base + offset] = wrap(value)

    def do_gemm(self, m: Gemm) -> None:
        cfg = self.cfg
        inp = self.vectors(Buffer.INP, cfg.batch, cfg.block_in).astype(np.int64)
        wgt = self.vectors(Buffer.WGT, cfg.block_out, cfg.block_in).astype(np.int64)
        for u, i, j, offset in self.points(m):
            s = m.src_base + u.src + i * m.src_out + j * m.src_in
            w = m.wgt_base + u.wgt + i * m.wgt_out + j * m.wgt_in
            old = 0 if u.overwrite else self.acc[m.dst_base + offset].astype(np.int64)
            self.acc[m.dst_base + offset] = wrap(old + inp[s] @ wgt[w].T)

    def do_alu(self, m: Alu) -> None:
        aux = self.vectors(Buffer.AUX, self.cfg.batch, self.cfg.block_out)
        for u, i, j, offset in self.points(m):
            s = m.src_base + u.src + i * m.src_out + j * m.src_in
            x = self.acc[m.dst_base + offset].astype(np.int64)
            if u.overwrite:
                x = np.full_like(x, isa.ALU_IDENTITY[m.op])
            if m.source == AluSource.IMM:
                y = np.full_like(x, m.imm)
            else:
                y = (self.acc if m.source == AluSource.ACC else aux)[s].astype(np.int64)
            low = (y + (1 << 17)) % (1 << 18) - (1 << 17)
            self.write(m, offset, wrap(alu(m, x, y, low)))

    def do_requant(self, m: Requant) -> None:
        cfg = self.cfg
        for u, _, _, offset in self.points(m):
            at = (m.src_base + u.src) * cfg.aux_vector_bytes
            entry = self.buffers[Buffer.AUX][at : at + 8 * cfg.block_out].copy().view("<i4").reshape(cfg.block_out, 2)
            bias, word = entry[:, 0].astype(np.int64), entry[:, 1].astype(np.int64)
            mult = ((word & 0x3FFFF) + (1 << 17)) % (1 << 18) - (1 << 17)
            shift = (word >> 18) & 63
            value = wrap(self.acc[m.dst_base + offset].astype(np.int64) + bias).astype(np.int64)
            result = np.empty(value.shape, np.int64)
            for b in range(cfg.batch):
                for o in range(cfg.block_out):
                    result[b, o] = half_even(int(value[b, o]) * int(mult[o]), int(shift[o])) + m.zero_point
            self.write(m, offset, np.minimum(np.maximum(result, m.low), m.high))


def alu(m: Alu, x: np.ndarray, y: np.ndarray, low: np.ndarray) -> np.ndarray:
    """The operation's result before wrapping; `low` is the low 18 bits of y, signed."""
    match m.op:
        case AluOp.ADD:
            return x + y
        case AluOp.MUL:
            return x * low
        case AluOp.MAX:
            return np.maximum(x, y)
        case AluOp.MIN:
            return np.minimum(x, y)
        case AluOp.SHR:
            return x >> (y & 31)
    return (x << m.shift) + low * m.imm


def half_even(x: int, shift: int) -> int:
    """x / 2**shift rounded half to even."""
    quotient, rest = divmod(x, 1 << shift)
    twice = 2 * rest
    return quotient + (twice > 1 << shift or (twice == 1 << shift and quotient & 1))


def wrap(value: Any) -> np.ndarray:
    """The low 32 bits, signed."""
    return (np.asarray(value, np.int64) & 0xFFFFFFFF).astype(np.uint32).view(np.int32)
