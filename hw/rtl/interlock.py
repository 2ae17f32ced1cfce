"""When an operation may be issued (docs/timing.md, 6.4 and 6.5)."""

from __future__ import annotations

from typing import Any

from hw.config import Config
from hw.rtl.hdl import Cat, Component, In, Module, Mux, Out, Signal
from hw.timing import GEMM_HAZARD, GEMM_LATENCY, VECTOR_HAZARD, VECTOR_LATENCY


class Interlock(Component):
    """Remembers the operations of the last cycles.

    For an operation of the kind `gemm` (else ALU or REQUANT) that reads accumulators `dst` and `src` where `reads_dst`,
    `reads_src` say so: `switch`, the other kind is still in its pipeline; `hazard`, a write it depends on is.
    `issue` enters it, with `writes` if it writes `dst`.
    """

    def __init__(self, cfg: Config) -> None:
        index = cfg.acc_index_bits
        super().__init__(
            {
                "gemm": In(1),
                "dst": In(index),
                "src": In(index),
                "reads_dst": In(1),
                "reads_src": In(1),
                "writes": In(1),
                "issue": In(1),
                "switch": Out(1),
                "hazard": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        settled = max(GEMM_LATENCY, VECTOR_LATENCY)
        since = Signal(range(settled + 1), init=settled)  # cycles since the last operation
        last_gemm = Signal()
        with m.If(self.issue):
            m.d.sync += [since.eq(1), last_gemm.eq(self.gemm)]
        with m.Elif(since != settled):
            m.d.sync += since.eq(since + 1)
        m.d.comb += self.switch.eq(
            (last_gemm != self.gemm) & (since < Mux(last_gemm, GEMM_LATENCY, VECTOR_LATENCY)) & (since != settled)
        )

        conflicts: list[Any] = []
        written, index = self.issue & self.writes, self.dst
        for age in range(1, max(GEMM_HAZARD, VECTOR_HAZARD)):
            valid, at = Signal(name=f"written_{age}"), Signal.like(self.dst, name=f"index_{age}")
            m.d.sync += [valid.eq(written), at.eq(index)]
            written, index = valid, at
            same = (self.reads_dst & (at == self.dst)) | (self.reads_src & (at == self.src))
            in_reach = Mux(self.gemm, age < GEMM_HAZARD, age < VECTOR_HAZARD)
            conflicts.append(valid & same & in_reach)
        m.d.comb += self.hazard.eq(Cat(*conflicts).any())
        return m
