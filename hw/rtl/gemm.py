"""The multiplier array: multiply, sum and accumulate in GEMM_LATENCY cycles behind the issue."""

from __future__ import annotations

from itertools import product
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
    `target`. `packed` makes two products with one multiplier of 25 by 18 bits (a DSP48), for an adder more.
    """

    def __init__(self, cfg: Config, packed: bool = False) -> None:
        self._cfg, self._packed = cfg, packed
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
        products = self._products(m, inp, wgt)
        sum_bits = cfg.inp_bits + cfg.wgt_bits + exact_log2(cfg.block_in)
        for lane, (b, o) in enumerate(product(range(cfg.batch), range(cfg.block_out))):
            total = Signal(signed(sum_bits), name=f"total_{b}_{o}", reset_less=True)
            m.d.sync += total.eq(tree([products[b, o, i] for i in range(cfg.block_in)]))
            m.d.sync += result.word_select(lane, cfg.acc_bits).eq(acc.word_select(lane, cfg.acc_bits) + total)
        return m

    def _products(self, m: Module, inp: Signal, wgt: Signal) -> dict[tuple[int, int, int], Any]:
        """Products of input [b][i] and weight [o][i] by (b, o, i), with a register behind each multiplier."""
        cfg = self._cfg
        bits = cfg.inp_bits + cfg.wgt_bits
        result: dict[tuple[int, int, int], Any] = {}

        def multiply(name: str, x: Any, w: Any) -> Signal:
            register = Signal(signed(len(x) + len(w)), name=f"product_{name}", reset_less=True)
            m.d.sync += register.eq(x * w)
            return register

        for o, i in product(range(0, cfg.block_out, 2), range(cfg.block_in)):
            weights = [wgt.word_select((o + k) * cfg.block_in + i, cfg.wgt_bits).as_signed() for k in (0, 1)]
            # Both weights in one factor, a product's width apart: for elements of 8 bits, the 25 of a DSP48's port.
            joined = Signal(signed(bits + cfg.wgt_bits + 1), name=f"joined_{o}_{i}")
            if self._packed:
                m.d.comb += joined.eq((weights[1] << bits) + weights[0])
            for b in range(cfg.batch):
                x = inp.word_select(b * cfg.block_in + i, cfg.inp_bits).as_signed()
                if self._packed:
                    both = multiply(f"{b}_{o}_{i}", x, joined)
                    # The lower product borrows from the upper one where it is negative.
                    result[b, o, i] = both[:bits].as_signed()
                    result[b, o + 1, i] = both[bits:].as_signed() + both[bits - 1]
                else:
                    for k, w in enumerate(weights):
                        result[b, o + k, i] = multiply(f"{b}_{o + k}_{i}", x, w)
        return result


def tree(values: list[Any]) -> Any:
    """The sum of signed values as a balanced tree."""
    while len(values) > 1:
        values = [a + b for a, b in zip(values[::2], values[1::2], strict=True)]
    return values[0]
