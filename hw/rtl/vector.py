"""The vector unit: ALU and requantisation in VECTOR_LATENCY cycles behind the issue, one multiplier a lane for both.

Stages are named by their distance from the issue: 1 read addresses, 2 data, 3 operands (bias, MULADD's shift),
4 and 5 multiply, 6 shift, 7 round and zero point, 8 clip, 9 write.

A requantised value ends between two bounds of a few bits: behind the shift, it is saturated to one bit more than bounds
and zero point have, which cannot change on which side of a bound it comes out.
"""

from __future__ import annotations

from typing import Any

from amaranth.lib import data

from hw import isa
from hw.config import Config
from hw.isa import ALU_IDENTITY, AluOp, AluSource
from hw.rtl.hdl import Cat, Component, Const, In, Module, Mux, Out, Signal, signed
from hw.rtl.layouts import BYTE_BITS, operation_layout
from hw.rtl.logic import delay

WRITE = 9
"""Cycles from the issue to the write; VECTOR_HAZARD is WRITE + 1 less the read's 1."""
SHIFT_BITS = 6
"""Width of a requantisation shift."""


def param_layout(cfg: Config) -> data.StructLayout:
    """One lane of a requantisation entry."""
    used = isa.IMM_BITS + SHIFT_BITS
    return data.StructLayout(
        {
            "bias": signed(cfg.acc_bits),
            "mult": signed(isa.IMM_BITS),
            "shift": SHIFT_BITS,
            "unused": BYTE_BITS * cfg.param_bytes // cfg.block_out - cfg.acc_bits - used,
        }
    )


def saturated(value: Any, bits: int) -> Any:
    """The signed value, or the nearest one that has so many bits: by its upper bits, without a comparison."""
    sign, upper = value[-1], value[bits - 1 : -1]
    fits = (upper == sign.replicate(len(upper))) if len(upper) else 1
    return Mux(fits, value[:bits], Cat((~sign).replicate(bits - 1), sign)).as_signed()


class VectorUnit(Component):
    """One ALU or REQUANT operation, or one cycle of parameters, a cycle.

    `operation` is what was issued one cycle ago; `acc_dst`, `acc_src` and `aux` come a cycle later. `write_acc`:
    `result` goes to accumulator `target`; `write_out`: `saturated` goes to output vector `out`.
    """

    def __init__(self, cfg: Config) -> None:
        self._cfg = cfg
        self._lanes = lanes = cfg.batch * cfg.block_out
        super().__init__(
            {
                "operation": In(operation_layout(cfg)),
                "acc_dst": In(lanes * cfg.acc_bits),
                "acc_src": In(lanes * cfg.acc_bits),
                "aux": In(lanes * cfg.out_bits),
                "write_acc": Out(1),
                "target": Out(cfg.acc_index_bits),
                "result": Out(lanes * cfg.acc_bits),
                "write_out": Out(1),
                "out": Out(cfg.out_index_bits),
                "saturated": Out(lanes * cfg.out_bits),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m, cfg = Module(), self._cfg
        stages = [None, *delay(m, self.operation, WRITE - 1, "operation")]
        params = self._parameters(m, stages[2])
        # All lanes wait for the code of stage 3: it is decoded a stage before.
        self._does = {code: Signal(name=f"does_{code.name.lower()}") for code in AluOp}
        m.d.sync += [does.eq(stages[2]["with"].op == code) for code, does in self._does.items()]
        # What a lane's position in the block decides is kept once for all rows of the batch.
        shifts = []
        for o in range(cfg.block_out):
            shift = delay(m, params[o].shift, 3, f"shift_{o}")
            below = Signal(cfg.acc_bits + isa.IMM_BITS + 1, name=f"below_{o}", reset_less=True)
            m.d.sync += below.eq(~(Const(-1, signed(len(below))) << shift[2]))
            shifts.append((shift[3], below))
        results, saturated = [], []
        for n in range(self._lanes):
            o = n % cfg.block_out
            result, narrow = self._lane(m, n, stages, params[o], shifts[o])
            results.append(result)
            saturated.append(narrow)
        last: Any = stages[WRITE]
        m.d.comb += [
            self.write_acc.eq(last.vector & ~last["with"].to_out),
            self.target.eq(last.dst),
            self.result.eq(Cat(*results)),
            self.write_out.eq(last.vector & last["with"].to_out),
            self.out.eq(last.out),
            self.saturated.eq(Cat(*saturated)),
        ]
        return m

    def _parameters(self, m: Module, op: Any) -> list[Any]:
        """The registers of the entry; an operation uses them in stage 3, so a next entry may follow at once."""
        layout = param_layout(self._cfg)
        entry = Signal(BYTE_BITS * self._cfg.param_bytes, reset_less=True)
        for part in range(self._cfg.param_vectors):
            with m.If(op.param & (op.part == part)):
                m.d.sync += entry.word_select(part, len(self.aux)).eq(self.aux)
        return [data.View(layout, entry.word_select(o, layout.size)) for o in range(self._cfg.block_out)]

    def _lane(
        self, m: Module, n: int, stages: list[Any], param: Any, shift: tuple[Signal, Signal]
    ) -> tuple[Signal, Signal]:
        cfg = self._cfg
        word = cfg.acc_bits
        low18 = isa.IMM_BITS

        def register(value: Any, name: str, shape: Any) -> Signal:
            signal = Signal(shape, name=f"{name}_{n}", reset_less=True)
            m.d.sync += signal.eq(value)
            return signal

        # 2: data -> x, y
        op = stages[2]
        identity = Signal(signed(word), name=f"identity_{n}")
        with m.Switch(op["with"].op):
            for code, value in ALU_IDENTITY.items():
                with m.Case(int(code)):
                    m.d.comb += identity.eq(value)
        acc = self.acc_dst.word_select(n, word).as_signed()
        source = op["with"].source
        y_now = Mux(
            source == AluSource.ACC,
            self.acc_src.word_select(n, word).as_signed(),
            Mux(source == AluSource.AUX, self.aux.word_select(n, cfg.out_bits).as_signed(), op["with"].imm),
        )
        x = register(Mux(op.overwrite & ~op["with"].requant, identity, acc), "x", signed(word))
        y = register(y_now, "y", signed(word))

        # 3: factors, and the operations that do not multiply
        op = stages[3]["with"]
        small = y[:low18].as_signed()
        first = Mux(op.requant, x + param.bias, Mux(self._does[AluOp.MULADD], op.imm, x))
        a = register(first, "a", signed(word))
        b = register(Mux(op.requant, param.mult, small), "b", signed(low18))
        greater = Signal(name=f"greater_{n}")
        m.d.comb += greater.eq(x > y)
        outcomes = {
            AluOp.ADD: x + y,
            AluOp.MAX: Mux(greater, x, y),
            AluOp.MIN: Mux(greater, y, x),
            AluOp.SHR: x >> y[: (word - 1).bit_length()],
            AluOp.MULADD: x << op.shift,
        }
        plain_now: Any = 0
        for code, value in outcomes.items():
            plain_now |= value[:word] & self._does[code].replicate(word)
        plain = register(plain_now, "plain", signed(word))

        # 4, 5: product
        product = register(a * b, "product", signed(word + low18))
        plain = register(plain, "plain_5", signed(word))
        code = stages[5]["with"].op
        multiplies = (code == AluOp.MUL) | (code == AluOp.MULADD)
        total = register(plain + Mux(multiplies, product[:word].as_signed(), 0), "total", signed(word))
        product = register(product, "product_6", signed(word + low18))

        # 6: shift with one bit of fraction; what falls below it only counts as some or none.
        extended = Cat(0, product).as_signed()
        lost = (extended & shift[1]).any()
        shifted = Signal(signed(word + low18 + 1), name=f"shifted_{n}")
        m.d.comb += shifted.eq(extended >> shift[0])
        quotient = register(shifted >> 1, "quotient", signed(word + low18))
        up = register(shifted[0] & (lost | shifted[1]), "up", 1)
        total = register(total, "total_7", signed(word))

        # 7: half to even, zero point
        op = stages[7]["with"]
        enough = max(len(op.zero_point), len(op.low), len(op.high)) + 1
        near = Signal(signed(enough), name=f"near_{n}")
        m.d.comb += near.eq(saturated(quotient, enough))
        moved = register(near + op.zero_point + up, "moved", signed(enough + 1))
        narrow = register(saturated(total, cfg.out_bits), "narrow_8", signed(cfg.out_bits))
        total = register(total, "total_8", signed(word))

        # 8: clip
        op = stages[8]["with"]
        clipped = Signal(signed(enough - 1), name=f"clipped_{n}")
        m.d.comb += clipped.eq(Mux(moved < op.low, op.low, Mux(moved > op.high, op.high, moved)))
        return (
            register(Mux(op.requant, clipped, total), "result", word),
            register(Mux(op.requant, saturated(clipped, cfg.out_bits), narrow), "narrow", cfg.out_bits),
        )
