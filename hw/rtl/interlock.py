"""When an operation may be issued (docs/timing.md, 6.4 and 6.5)."""

from __future__ import annotations

from typing import Any

from hw.config import Config
from hw.rtl.hdl import Cat, Component, In, Module, Mux, Out, Signal
from hw.rtl.logic import sums_to
from hw.timing import GEMM_HAZARD, GEMM_LATENCY, VECTOR_HAZARD, VECTOR_LATENCY

READS = ("dst", "src")
"""Operands that may be accumulators which an operation reads."""


class Interlock(Component):
    """Remembers the operations of the last cycles.

    For the operation in the issue stage, of the kind `gemm` (else ALU or REQUANT): `switch`, the other kind is still in
    its pipeline; `hazard`, a write that it depends on is. `issue` enters it, with `writes` if it writes accumulator
    `dst`. With `advance`, another one is there from the next cycle on, whose hazards are looked for now: of the kind
    `next_gemm`, it reads accumulators `dst_from + dst_step` and `src_from + src_step` where `next_reads_dst`,
    `next_reads_src` say so.
    """

    def __init__(self, cfg: Config) -> None:
        index = cfg.acc_index_bits
        super().__init__(
            {
                "gemm": In(1),
                "dst": In(index),
                "writes": In(1),
                "issue": In(1),
                "advance": In(1),
                "next_gemm": In(1),
                "next_reads_dst": In(1),
                "next_reads_src": In(1),
                **{f"{operand}_{part}": In(index) for operand in READS for part in ("from", "step")},
                "switch": Out(1),
                "hazard": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        settled = max(GEMM_LATENCY, VECTOR_LATENCY)
        since = Signal(range(settled + 1), init=settled)  # cycles since the last operation
        busy = {GEMM_LATENCY: Signal(name="gemm_busy"), VECTOR_LATENCY: Signal(name="vector_busy")}
        with m.If(self.issue):
            m.d.sync += since.eq(1)
            m.d.sync += [busy[GEMM_LATENCY].eq(self.gemm), busy[VECTOR_LATENCY].eq(~self.gemm)]
        with m.Else():
            m.d.sync += since.eq(Mux(since == settled, settled, since + 1))
            for latency, kind in busy.items():
                with m.If(since == latency - 1):
                    m.d.sync += kind.eq(0)
        m.d.comb += self.switch.eq(Mux(self.gemm, busy[VECTOR_LATENCY], busy[GEMM_LATENCY]))

        # Conflicts by operand and age of the write: of the operation that comes next, and of this one, grown older.
        # The comparisons come late and what waits for the hazard is early: it is put together behind the registers.
        conflicts: list[Signal] = []
        older: dict[str, Any] = dict.fromkeys(READS, 0)
        written, index = self.issue & self.writes, self.dst
        for age in range(1, max(GEMM_HAZARD, VECTOR_HAZARD)):

            def in_reach(gemm: Any, age: int = age) -> Any:
                return Mux(gemm, age < GEMM_HAZARD, age < VECTOR_HAZARD)

            for operand in READS:
                reads, begin, step = (
                    getattr(self, n) for n in (f"next_reads_{operand}", f"{operand}_from", f"{operand}_step")
                )
                coming = reads & written & in_reach(self.next_gemm) & sums_to(begin, step, index)
                conflict = Signal(name=f"{operand}_conflict_{age}")
                m.d.sync += conflict.eq(Mux(self.advance, coming, older[operand] & in_reach(self.gemm)))
                older[operand] = conflict
                conflicts.append(conflict)
            valid, at = Signal(name=f"written_{age}"), Signal.like(self.dst, name=f"index_{age}")
            m.d.sync += [valid.eq(written), at.eq(index)]
            written, index = valid, at
        m.d.comb += self.hazard.eq(Cat(*conflicts).any())
        return m
