"""The multiplier array: multiply, sum and accumulate in GEMM_LATENCY cycles behind the issue."""

from __future__ import annotations

from typing import Any

from hw.config import Config
from hw.rtl.hdl import Component, In, Module, Mux, Out, Signal, signed
from hw.rtl.layouts import operation_layout
from hw.rtl.logic import delay, exact_log2

ACC_READ = 3
"""Cycles from the issue to the accumulator's read address; the sum of products is a cycle later."""
WRITE = 6
"""Cycles from the issue to the write; GEMM_HAZARD is WRITE + 1 - ACC_READ."""


class GemmArray(Component):
    """One [batch][block_in] x [block_out][block_in] product a cycle.

    `operation` is what was issued one cycle ago; its input vector and weight tile come at `inp` and `wgt` a cycle
    later. The accumulator `index` is wanted at `acc` in the cycle after `read`. `write`: `result` goes to accumulator
    `target`.
    """

    def __init__(self, cfg: Config) -> None:
        self._cfg = cfg
        acc_bits = cfg.batch * cfg.block_out * cfg.acc_bits
        super().__init__(
            {
                "operation": In(operation_layout(cfg)),
                "inp": In(cfg.batch * cfg.block_in * cfg.inp_bits),
                "wgt": In(cfg.block_out * cfg.block_in * cfg.wgt_bits),
                "read": Out(1),
                "index": Out(cfg.acc_index_bits),
                "acc": In(acc_bits),
                "write": Out(1),
                "target": Out(cfg.acc_index_bits),
                "result": Out(acc_bits),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m, cfg, op = Module(), self._cfg, self.operation
        valid = delay(m, op.gemm, WRITE - 1, "valid")
        index = delay(m, op.dst, WRITE - 1, "index")
        overwrite = delay(m, op.overwrite, ACC_READ, "overwrite")
        m.d.comb += [
            self.read.eq(valid[ACC_READ - 1]),
            self.index.eq(index[ACC_READ - 1]),
            self.write.eq(valid[WRITE - 1]),
            self.target.eq(index[WRITE - 1]),
        ]
        # The data path needs no reset; what is valid in it does.
        inp, wgt = (Signal.like(s, reset_less=True) for s in (self.inp, self.wgt))
        m.d.sync += [inp.eq(self.inp), wgt.eq(self.wgt)]
        acc, result = (Signal.like(self.acc, reset_less=True, name=n) for n in ("acc", "result"))
        # The accumulator's register clears itself for an operation with overwrite.
        m.d.sync += acc.eq(Mux(overwrite[ACC_READ], 0, self.acc))
        m.d.comb += self.result.eq(result)
        for b in range(cfg.batch):
            for o in range(cfg.block_out):
                lane = slice((b * cfg.block_out + o) * cfg.acc_bits, (b * cfg.block_out + o + 1) * cfg.acc_bits)
                total = self._dot(m, b, o, inp, wgt)
                m.d.sync += result[lane].eq(acc[lane] + total)
        return m

    def _dot(self, m: Module, b: int, o: int, inp: Signal, wgt: Signal) -> Signal:
        """Product of one input row with one weight row: a register behind the products, one behind their sum."""
        cfg = self._cfg
        products = []
        for i in range(cfg.block_in):
            x = inp.word_select(b * cfg.block_in + i, cfg.inp_bits).as_signed()
            w = wgt.word_select(o * cfg.block_in + i, cfg.wgt_bits).as_signed()
            product = Signal(signed(cfg.inp_bits + cfg.wgt_bits), name=f"product_{b}_{o}_{i}", reset_less=True)
            m.d.sync += product.eq(x * w)
            products.append(product)
        total = Signal(
            signed(cfg.inp_bits + cfg.wgt_bits + exact_log2(cfg.block_in)), name=f"total_{b}_{o}", reset_less=True
        )
        m.d.sync += total.eq(tree(products))
        return total


def tree(values: list[Any]) -> Any:
    """The sum of signed values as a balanced tree."""
    while len(values) > 1:
        values = [a + b for a, b in zip(values[::2], values[1::2], strict=True)]
    return values[0]
