"""What each instruction does to the buffers and the memory, as kernels (see `sim.jit` for the language).

Arrays: `t` the program rows (`sim.program`), `p` run-time parameters (`P`), `mem` the DRAM image, `uop inp wgt aux acc
out` the buffers (bytes, `acc` in words), `tile` and `lanes` scratch, `fault` where a failed check leaves (code, index,
depth).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from hw.isa import AluOp, AluSource, Buffer, Opcode
from sim.jit import F32, I8, I32, I64, U8, f32, i32, i64, kernel, lane, total, unroll, where
from sim.program import F


class P(IntEnum):
    """Run-time parameters (the array `p`): what need not be compiled in, so that configurations share code."""

    UOP_DEPTH = 0
    INP_DEPTH = 1
    WGT_DEPTH = 2
    ACC_DEPTH = 3
    AUX_DEPTH = 4
    OUT_DEPTH = 5
    DST_OFFSET = 6
    DST_MASK = 7
    SRC_OFFSET = 8
    SRC_MASK = 9
    WGT_OFFSET = 10
    WGT_MASK = 11
    COUNT = 12


class Fault(IntEnum):
    """Which index left its buffer."""

    UOP = 1
    INP = 2
    WGT = 3
    ACC = 4
    AUX = 5
    OUT = 6
    ACC_SOURCE = 7


@kernel
def uop_word(c: Any, uop: U8, index: int) -> int:
    """The micro-op word `index`, an unsigned 32-bit or a 64-bit number."""
    word = i64(0)
    for k in unroll(c.uop_bytes):
        word |= i64(uop[index * c.uop_bytes + k]) << (8 * k)
    return word


@kernel
def outside(c: Any, fault: I64, code: int, last: int, depth: int) -> int:
    """1, and the fault recorded, if the index `last` is outside a buffer of `depth`."""
    if last < depth:
        return 0
    fault[0] = code
    fault[1] = last
    fault[2] = depth
    return 1


@kernel
def check_compute(c: Any, row: int, t: I64, p: I64, uop: U8, fault: I64) -> int:
    """1 if any index of a compute instruction leaves its buffer, which `fault` then names."""
    op = t[row + F.OPCODE]
    begin = t[row + F.UOP_BEGIN]
    count = t[row + F.UOP_COUNT]
    if outside(c, fault, Fault.UOP, begin + count - 1, p[P.UOP_DEPTH]):
        return 1
    outer = t[row + F.ITER_OUT] - 1
    inner = t[row + F.ITER_IN] - 1
    reach_dst = outer * t[row + F.DST_OUT] + inner * t[row + F.DST_IN]
    reach_src = t[row + F.SRC_BASE] + outer * t[row + F.SRC_OUT] + inner * t[row + F.SRC_IN]
    reach_wgt = t[row + F.WGT_BASE] + outer * t[row + F.WGT_OUT] + inner * t[row + F.WGT_IN]
    for u in range(begin, begin + count):
        word = uop_word(c, uop, u)
        dst = ((word >> p[P.DST_OFFSET]) & p[P.DST_MASK]) + reach_dst
        src = ((word >> p[P.SRC_OFFSET]) & p[P.SRC_MASK]) + reach_src
        if outside(c, fault, Fault.ACC, dst + t[row + F.DST_BASE], p[P.ACC_DEPTH]):
            return 1
        if op == Opcode.GEMM:
            wgt = ((word >> p[P.WGT_OFFSET]) & p[P.WGT_MASK]) + reach_wgt
            if outside(c, fault, Fault.INP, src, p[P.INP_DEPTH]):
                return 1
            if outside(c, fault, Fault.WGT, wgt, p[P.WGT_DEPTH]):
                return 1
        else:
            if t[row + F.TO_OUT] and outside(c, fault, Fault.OUT, dst + t[row + F.OUT_BASE], p[P.OUT_DEPTH]):
                return 1
            if op == Opcode.REQUANT:
                last = ((word >> p[P.SRC_OFFSET]) & p[P.SRC_MASK]) + t[row + F.SRC_BASE] + c.param_vectors - 1
                if outside(c, fault, Fault.AUX, last, p[P.AUX_DEPTH]):
                    return 1
            elif t[row + F.SOURCE] == AluSource.ACC:
                if outside(c, fault, Fault.ACC_SOURCE, src, p[P.ACC_DEPTH]):
                    return 1
            elif t[row + F.SOURCE] == AluSource.AUX:
                if outside(c, fault, Fault.AUX, src, p[P.AUX_DEPTH]):
                    return 1
    return 0


@kernel
def transpose_tile(c: Any, wgt: I8, w: int, tile: F32) -> int:
    """tile[k][o] = wgt[w][o][k] as floats, for `gemm`."""
    base = w * c.block_out * c.block_in
    for k in range(c.block_in):
        for o in range(c.block_out):
            tile[k * c.block_out + o] = f32(wgt[base + o * c.block_in + k])
    return 0


@kernel
def gemm(c: Any, row: int, t: I64, p: I64, uop: U8, inp: I8, wgt: I8, acc: I32, tile: F32) -> int:
    """The GEMM instruction. A tile that several operations share is transposed once into floats: sums of block_in
    products of 8-bit numbers stay below 2^24, so float arithmetic is exact."""
    begin = t[row + F.UOP_BEGIN]
    inner = t[row + F.ITER_IN]
    dst_in = t[row + F.DST_IN]
    src_in = t[row + F.SRC_IN]
    wgt_in = t[row + F.WGT_IN]
    sharing = inner * t[row + F.ITER_OUT] if t[row + F.WGT_OUT] == 0 else inner
    shared = wgt_in == 0 and sharing > 3
    for u in range(begin, begin + t[row + F.UOP_COUNT]):
        word = uop_word(c, uop, u)
        overwrite = word & 1
        dst = ((word >> p[P.DST_OFFSET]) & p[P.DST_MASK]) + t[row + F.DST_BASE]
        src = ((word >> p[P.SRC_OFFSET]) & p[P.SRC_MASK]) + t[row + F.SRC_BASE]
        tile_index = ((word >> p[P.WGT_OFFSET]) & p[P.WGT_MASK]) + t[row + F.WGT_BASE]
        held = i64(0) - 1
        for i in range(t[row + F.ITER_OUT]):
            d = dst + i * t[row + F.DST_OUT]
            s = src + i * t[row + F.SRC_OUT]
            w = tile_index + i * t[row + F.WGT_OUT]
            if shared and held != w:
                transpose_tile(c, wgt, w, tile)
                held = w
            for _j in range(inner):
                for b in unroll(c.batch):
                    a = (d * c.batch + b) * c.block_out
                    x = inp[(s * c.batch + b) * c.block_in : (s * c.batch + b) * c.block_in + c.block_in]
                    if shared:
                        xf = f32(x)
                        product = f32(acc[0 : 0 + c.block_out] & 0)
                        for k in unroll(c.block_in):
                            product += lane(xf, k) * tile[k * c.block_out : k * c.block_out + c.block_out]
                        if overwrite:
                            acc[a : a + c.block_out] = i32(product)
                        else:
                            acc[a : a + c.block_out] = acc[a : a + c.block_out] + i32(product)
                    else:
                        for o in range(c.block_out):
                            m = (w * c.block_out + o) * c.block_in
                            dot = total(x * wgt[m : m + c.block_in])
                            acc[a + o] = dot if overwrite else acc[a + o] + dot
                d += dst_in
                s += src_in
                w += wgt_in
    return 0


@kernel
def alu(c: Any, row: int, t: I64, p: I64, uop: U8, aux: I8, acc: I32, out: I8) -> int:
    """The ALU instruction."""
    op = t[row + F.OP]
    source = t[row + F.SOURCE]
    imm = i32(t[row + F.IMM])
    shift = i32(t[row + F.SHIFT])
    begin = t[row + F.UOP_BEGIN]
    identity = i32(0)
    if op == AluOp.MUL:
        identity = 1
    elif op == AluOp.MAX:
        identity = -(1 << 31)
    elif op == AluOp.MIN:
        identity = (1 << 31) - 1
    for u in range(begin, begin + t[row + F.UOP_COUNT]):
        word = uop_word(c, uop, u)
        overwrite = word & 1
        offset = (word >> p[P.DST_OFFSET]) & p[P.DST_MASK]
        src = ((word >> p[P.SRC_OFFSET]) & p[P.SRC_MASK]) + t[row + F.SRC_BASE]
        for i in range(t[row + F.ITER_OUT]):
            for j in range(t[row + F.ITER_IN]):
                e = offset + i * t[row + F.DST_OUT] + j * t[row + F.DST_IN]
                s = (src + i * t[row + F.SRC_OUT] + j * t[row + F.SRC_IN]) * c.batch * c.block_out
                d = (e + t[row + F.DST_BASE]) * c.batch * c.block_out
                r = (e + t[row + F.OUT_BASE]) * c.batch * c.block_out
                for b in unroll(c.batch):
                    x = acc[d + b * c.block_out : d + b * c.block_out + c.block_out]
                    if overwrite:
                        x = x & 0 | identity
                    y = x & 0 | imm
                    if source == AluSource.ACC:
                        y = acc[s + b * c.block_out : s + b * c.block_out + c.block_out]
                    elif source == AluSource.AUX:
                        y = i32(aux[s + b * c.block_out : s + b * c.block_out + c.block_out])
                    v = x + y
                    if op == AluOp.MUL:
                        v = x * ((y << 14) >> 14)
                    elif op == AluOp.MAX:
                        v = max(x, y)
                    elif op == AluOp.MIN:
                        v = min(x, y)
                    elif op == AluOp.SHR:
                        v = x >> (y & 31)
                    elif op == AluOp.MULADD:
                        v = (x << shift) + ((y << 14) >> 14) * imm
                    if t[row + F.TO_OUT]:
                        out[r + b * c.block_out : r + b * c.block_out + c.block_out] = min(max(v, -128), 127)
                    else:
                        acc[d + b * c.block_out : d + b * c.block_out + c.block_out] = v
    return 0


@kernel
def requant(c: Any, row: int, t: I64, p: I64, uop: U8, aux: I8, acc: I32, out: I8, lanes: I64) -> int:
    """The REQUANT instruction; `lanes` holds bias, multiplier and shift of the lanes during one micro-op."""
    begin = t[row + F.UOP_BEGIN]
    zero_point = t[row + F.ZERO_POINT]
    low = t[row + F.LOW]
    high = t[row + F.HIGH]
    for u in range(begin, begin + t[row + F.UOP_COUNT]):
        word = uop_word(c, uop, u)
        offset = (word >> p[P.DST_OFFSET]) & p[P.DST_MASK]
        entry = (((word >> p[P.SRC_OFFSET]) & p[P.SRC_MASK]) + t[row + F.SRC_BASE]) * c.batch * c.block_out
        for o in range(c.block_out):
            bias = i32(0)
            scale = i32(0)
            for k in unroll(4):
                bias |= (aux[entry + o * 8 + k] & 255) << (8 * k)
                scale |= (aux[entry + o * 8 + 4 + k] & 255) << (8 * k)
            lanes[o] = bias
            lanes[c.block_out + o] = (scale << 14) >> 14
            lanes[2 * c.block_out + o] = (scale >> 18) & 63
        for i in range(t[row + F.ITER_OUT]):
            for j in range(t[row + F.ITER_IN]):
                e = offset + i * t[row + F.DST_OUT] + j * t[row + F.DST_IN]
                d = (e + t[row + F.DST_BASE]) * c.batch * c.block_out
                r = (e + t[row + F.OUT_BASE]) * c.batch * c.block_out
                for b in unroll(c.batch):
                    x = acc[d + b * c.block_out : d + b * c.block_out + c.block_out]
                    v = i64(x + i32(lanes[0 : 0 + c.block_out]))
                    p = v * lanes[c.block_out : c.block_out + c.block_out]
                    s = lanes[2 * c.block_out : 2 * c.block_out + c.block_out]
                    half = (s & 0 | 1) << max(s - 1, 0)
                    rounded = (p + half - 1 + ((p >> s) & 1)) >> s
                    q = i32(min(max(where(s == 0, p, rounded) + zero_point, low), high))
                    if t[row + F.TO_OUT]:
                        out[r + b * c.block_out : r + b * c.block_out + c.block_out] = min(max(q, -128), 127)
                    else:
                        acc[d + b * c.block_out : d + b * c.block_out + c.block_out] = q
    return 0


@kernel
def load(c: Any, row: int, t: I64, mem: U8, buffer: U8) -> int:
    """The LOAD instruction, into the buffer it names."""
    seg = t[row + F.SEG]
    for y in range(t[row + F.Y_SIZE]):
        for x in range(t[row + F.X_SIZE]):
            to = t[row + F.SRAM] + y * t[row + F.Y_SRAM] + x * t[row + F.X_SRAM]
            if t[row + F.FILL]:
                for k in range(seg):
                    buffer[to + k] = t[row + F.VALUE]
            else:
                a = t[row + F.DRAM] + y * t[row + F.Y_DRAM] + x * t[row + F.X_DRAM]
                for k in range(seg):
                    buffer[to + k] = mem[a + k]
    return 0


@kernel
def store(c: Any, row: int, t: I64, mem: U8, out: U8) -> int:
    """The STORE instruction."""
    for y in range(t[row + F.Y_SIZE]):
        for x in range(t[row + F.X_SIZE]):
            a = t[row + F.SRAM] + y * t[row + F.Y_SRAM] + x * t[row + F.X_SRAM]
            to = t[row + F.DRAM] + y * t[row + F.Y_DRAM] + x * t[row + F.X_DRAM]
            for k in range(t[row + F.SEG]):
                mem[to + k] = out[a + k]
    return 0


@kernel
def execute(
    c: Any, i: int, t: I64, p: I64, mem: U8, uop: U8, inp: I8, wgt: I8, aux: I8, acc: I32, out: I8, tile: F32,
    lanes: I64, fault: I64,
) -> int:  # fmt: skip
    """Do instruction `i`; 1 if it is illegal (nothing is done then, and `fault` says why)."""
    row = i * F.ROW
    op = t[row + F.OPCODE]
    if op == Opcode.LOAD:
        if t[row + F.BUFFER] == Buffer.UOP:
            load(c, row, t, mem, uop)
        elif t[row + F.BUFFER] == Buffer.INP:
            load(c, row, t, mem, inp)
        elif t[row + F.BUFFER] == Buffer.WGT:
            load(c, row, t, mem, wgt)
        else:
            load(c, row, t, mem, aux)
        return 0
    if op == Opcode.STORE:
        store(c, row, t, mem, out)
        return 0
    if op == Opcode.SYNC:
        return 0
    if check_compute(c, row, t, p, uop, fault):
        return 1
    if op == Opcode.GEMM:
        gemm(c, row, t, p, uop, inp, wgt, acc, tile)
    elif op == Opcode.ALU:
        alu(c, row, t, p, uop, aux, acc, out)
    else:
        requant(c, row, t, p, uop, aux, acc, out, lanes)
    return 0


@kernel
def execute_range(
    c: Any, begin: int, end: int, t: I64, p: I64, mem: U8, uop: U8, inp: I8, wgt: I8, aux: I8, acc: I32, out: I8,
    tile: F32, lanes: I64, fault: I64,
) -> int:  # fmt: skip
    """Do instructions begin..end-1 in order; the index of the first illegal one, or `end`."""
    for i in range(begin, end):
        if execute(c, i, t, p, mem, uop, inp, wgt, aux, acc, out, tile, lanes, fault):
            return i
    return end
