"""The compute unit (docs/timing.md, sections 6 and 8) as kernels.

What an instruction does in the issue stage depends on nothing later, so it is timed whole when it starts. `written`
holds, for each accumulator vector, the cycle of the latest operation that writes it.
"""

from __future__ import annotations

from typing import Any

from hw.isa import AluSource, Opcode, Unit
from hw.timing import (
    DECODE,
    GEMM_HAZARD,
    GEMM_LATENCY,
    SYNC_LATENCY,
    VECTOR_HAZARD,
    VECTOR_LATENCY,
)
from sim.cycle.layout import Cause, S, W
from sim.jit import I64, U8, kernel
from sim.kernels import P, uop_word
from sim.program import F

KIND_GEMM = 1
KIND_VECTOR = 2


@kernel
def start_compute(
    c: Any, s: I64, w: I64, t: I64, p: I64, uop: U8, written: I64, i: int, now: int, load_token: int, store_token: int
) -> int:
    """Start compute instruction `i` in cycle `now`; its tokens were there from `load_token` and `store_token` on."""
    at = i * W.ROW
    moved = max(now + DECODE, s[S.LAST_ISSUE] + 1)
    idle_causes(c, s, w, at, moved, load_token, store_token)
    w[at + W.ISSUE] = moved
    opcode = t[i * F.ROW + F.OPCODE]
    last = moved
    latency = SYNC_LATENCY
    if opcode == Opcode.SYNC:
        w[at + W.CAUSES + Cause.DECODE] += 1
    elif opcode == Opcode.GEMM:
        last = issue_gemm(c, s, w, t, p, uop, written, i, moved)
        latency = GEMM_LATENCY
    else:
        last = issue_vector(c, s, w, t, p, uop, written, i, moved)
        latency = VECTOR_LATENCY
    w[at + W.LAST] = last
    w[at + W.COMPLETE] = last + latency
    s[S.BUSY + Unit.COMPUTE] += last - moved + 1
    s[S.LAST_ISSUE] = last
    s[S.STAGE_FREE + Unit.COMPUTE] = moved
    return 0


@kernel
def idle_causes(c: Any, s: I64, w: I64, at: int, moved: int, load_token: int, store_token: int) -> int:
    """Causes of the cycles between the previous instruction's last and this one's first in the issue stage."""
    cycle = s[S.LAST_ISSUE] + 1
    end = min(max(cycle, w[at + W.DISPATCH] + 1), moved)
    w[at + W.CAUSES + Cause.FETCH] = end - cycle
    cycle = end
    end = min(max(cycle, load_token), moved)
    w[at + W.CAUSES + Cause.WAIT_LOAD] = end - cycle
    cycle = end
    end = min(max(cycle, store_token), moved)
    w[at + W.CAUSES + Cause.WAIT_STORE] = end - cycle
    w[at + W.CAUSES + Cause.DECODE] = moved - end
    return 0


@kernel
def issue_gemm(c: Any, s: I64, w: I64, t: I64, p: I64, uop: U8, written: I64, i: int, moved: int) -> int:
    """Time the operations of GEMM `i` from cycle `moved` on; the cycle of the last."""
    row = i * F.ROW
    at = i * W.ROW
    cycle = moved - 1
    hazard = 0
    if s[S.LAST_KIND] == KIND_VECTOR:
        cycle = max(cycle, s[S.LAST_OPERATION] + VECTOR_LATENCY - 1)
    w[at + W.CAUSES + Cause.SWITCH] = cycle - moved + 1
    begin = t[row + F.UOP_BEGIN]
    inner = t[row + F.ITER_IN]
    dst_in = t[row + F.DST_IN]
    for u in range(begin, begin + t[row + F.UOP_COUNT]):
        word = uop_word(c, uop, u)
        overwrite = word & 1
        base = ((word >> p[P.DST_OFFSET]) & p[P.DST_MASK]) + t[row + F.DST_BASE]
        for o in range(t[row + F.ITER_OUT]):
            d = base + o * t[row + F.DST_OUT]
            for _j in range(inner):
                cycle += 1
                if not overwrite:
                    wait = max(written[d] + GEMM_HAZARD - cycle, 0)
                    hazard += wait
                    cycle += wait
                written[d] = cycle
                d += dst_in
    w[at + W.CAUSES + Cause.HAZARD] = hazard
    w[at + W.CAUSES + Cause.GEMM] = t[row + F.UOP_COUNT] * t[row + F.ITER_OUT] * inner
    s[S.LAST_KIND] = KIND_GEMM
    s[S.LAST_OPERATION] = cycle
    return cycle


@kernel
def issue_vector(c: Any, s: I64, w: I64, t: I64, p: I64, uop: U8, written: I64, i: int, moved: int) -> int:
    """Time the operations of ALU or REQUANT `i` from cycle `moved` on; the cycle of the last."""
    row = i * F.ROW
    at = i * W.ROW
    requant = t[row + F.OPCODE] == Opcode.REQUANT
    two = t[row + F.SOURCE] == AluSource.ACC and t[row + F.OPCODE] == Opcode.ALU
    cycle = moved - 1
    allowed = 0
    if s[S.LAST_KIND] == KIND_GEMM:
        allowed = s[S.LAST_OPERATION] + GEMM_LATENCY
    switch = 0
    hazard = 0
    begin = t[row + F.UOP_BEGIN]
    for u in range(begin, begin + t[row + F.UOP_COUNT]):
        word = uop_word(c, uop, u)
        reads = requant or (word & 1) == 0
        dst = ((word >> p[P.DST_OFFSET]) & p[P.DST_MASK]) + t[row + F.DST_BASE]
        src = ((word >> p[P.SRC_OFFSET]) & p[P.SRC_MASK]) + t[row + F.SRC_BASE]
        if requant:
            cycle += s[S.PARAM_VECTORS]
        for o in range(t[row + F.ITER_OUT]):
            for j in range(t[row + F.ITER_IN]):
                d = dst + o * t[row + F.DST_OUT] + j * t[row + F.DST_IN]
                cycle += 1
                wait = max(allowed - cycle, 0)
                switch += wait
                cycle += wait
                ready = cycle
                if reads:
                    ready = max(ready, written[d] + VECTOR_HAZARD)
                if two:
                    a = src + o * t[row + F.SRC_OUT] + j * t[row + F.SRC_IN]
                    ready = max(ready, written[a] + VECTOR_HAZARD)
                hazard += ready - cycle
                cycle = ready
                if not t[row + F.TO_OUT]:
                    written[d] = cycle
    operations = t[row + F.UOP_COUNT] * t[row + F.ITER_OUT] * t[row + F.ITER_IN]
    if requant:
        w[at + W.CAUSES + Cause.REQUANT] = operations
        w[at + W.CAUSES + Cause.PARAM] = t[row + F.UOP_COUNT] * s[S.PARAM_VECTORS]
    else:
        w[at + W.CAUSES + Cause.ALU] = operations
    w[at + W.CAUSES + Cause.SWITCH] = switch
    w[at + W.CAUSES + Cause.HAZARD] = hazard
    s[S.LAST_KIND] = KIND_VECTOR
    s[S.LAST_OPERATION] = cycle
    return cycle
