"""The compute unit: sequencer, multiplier array, vector unit and accumulators (docs/timing.md, section 6)."""

from __future__ import annotations

from hw.config import Config
from hw.isa import Unit
from hw.rtl.accumulators import Accumulators
from hw.rtl.gemm import GemmArray
from hw.rtl.hdl import Component, In, Module, Mux, Out
from hw.rtl.layouts import BYTE_BITS, unit_bits, uop_layout
from hw.rtl.sequencer import LONGEST, Sequencer
from hw.rtl.vector import VectorUnit
from hw.timing import CAUSES


class ComputeUnit(Component):
    """GEMM, ALU, REQUANT and SYNC.

    The control signals are the sequencer's. Of each buffer, vector `*_index` is wanted at `*_vector` in the next cycle;
    of the micro-ops only with `uop_read`, to stay there until the next one.
    `out_write`: `out_vector` goes to output vector `out_index`.
    """

    def __init__(self, cfg: Config, packed: bool = False) -> None:
        self._cfg, self._packed = cfg, packed
        super().__init__(
            {
                "start": In(1),
                "instruction": In(unit_bits(Unit.COMPUTE, cfg)),
                "free": Out(1),
                "done": Out(1),
                "latency": Out(range(LONGEST + 1)),
                "busy": Out(1),
                "issuing": Out(1),
                "cause": Out(range(len(CAUSES))),
                "uop_read": Out(1),
                "uop_index": Out(cfg.uop_index_bits),
                "uop_vector": In(BYTE_BITS * cfg.uop_bytes),
                "inp_index": Out(cfg.inp_index_bits),
                "inp_vector": In(BYTE_BITS * cfg.inp_vector_bytes),
                "wgt_index": Out(cfg.wgt_index_bits),
                "wgt_vector": In(BYTE_BITS * cfg.wgt_vector_bytes),
                "aux_index": Out(cfg.aux_index_bits),
                "aux_vector": In(BYTE_BITS * cfg.aux_vector_bytes),
                "out_write": Out(1),
                "out_index": Out(cfg.out_index_bits),
                "out_vector": Out(BYTE_BITS * cfg.out_vector_bytes),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m, cfg = Module(), self._cfg
        m.submodules.sequencer = sequencer = Sequencer(cfg)
        m.submodules.gemm = gemm = GemmArray(cfg, self._packed)
        m.submodules.vector = vector = VectorUnit(cfg)
        m.submodules.accumulators = acc = Accumulators(cfg)
        operation = sequencer.operation
        m.d.comb += [
            sequencer.start.eq(self.start),
            sequencer.instruction.eq(self.instruction),
            *(getattr(self, n).eq(getattr(sequencer, n)) for n in ("free", "done", "latency", "busy", "issuing")),
            self.cause.eq(sequencer.cause),
            self.uop_read.eq(sequencer.uop_read),
            self.uop_index.eq(sequencer.uop_index),
            sequencer.uop.eq(self.uop_vector[: uop_layout(cfg).size]),
            gemm.operation.eq(operation),
            vector.operation.eq(operation),
            self.inp_index.eq(operation.src),
            self.wgt_index.eq(operation.wgt),
            self.aux_index.eq(operation.src),
            gemm.inp.eq(self.inp_vector),
            gemm.wgt.eq(self.wgt_vector),
            vector.aux.eq(self.aux_vector),
            # The rules for a change of kind keep the two units' reads and writes apart.
            acc.index_a.eq(Mux(gemm.read, gemm.index, operation.dst)),
            acc.index_b.eq(operation.src),
            gemm.acc.eq(acc.vector_a),
            vector.acc_dst.eq(acc.vector_a),
            vector.acc_src.eq(acc.vector_b),
            acc.write.eq(gemm.write | vector.write_acc),
            acc.index.eq(Mux(gemm.write, gemm.target, vector.target)),
            acc.vector.eq(Mux(gemm.write, gemm.result, vector.result)),
            self.out_write.eq(vector.write_out),
            self.out_index.eq(vector.out),
            self.out_vector.eq(vector.saturated),
        ]
        return m
