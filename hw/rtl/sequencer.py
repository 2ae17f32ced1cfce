"""The compute unit's front: decode stage, issue stage, loops over micro-ops (docs/timing.md, 6.1 to 6.3)."""

from __future__ import annotations

from typing import Any

from hw import isa
from hw.config import Config
from hw.isa import AluSource, Opcode, Unit
from hw.rtl.hdl import Component, In, Module, Mux, Out, Signal
from hw.rtl.interlock import Interlock
from hw.rtl.layouts import compute_layout, instruction_view, operation_layout, unit_bits, uop_layout
from hw.timing import CAUSES, GEMM_LATENCY, SYNC_LATENCY, VECTOR_LATENCY

LONGEST = max(GEMM_LATENCY, VECTOR_LATENCY, SYNC_LATENCY)
OPERANDS = ("dst", "src", "wgt")


def unified(m: Module, word: Any, cfg: Config) -> Any:
    """The instruction in a queue word with the fields of all kinds side by side."""
    result = Signal(compute_layout(cfg))
    with m.Switch(word[: isa.OPCODE_BITS]):
        for opcode in (Opcode.GEMM, Opcode.ALU, Opcode.REQUANT):
            with m.Case(int(opcode)):
                view = instruction_view(opcode, cfg, word)
                names = set(view.shape().members)
                for name in result.shape().members:
                    if name in names:
                        m.d.comb += result[name].eq(view[name])
                for name in result.vector.shape().members:
                    if name in names:
                        m.d.comb += result.vector[name].eq(view[name])
                m.d.comb += [result.gemm.eq(opcode == Opcode.GEMM), result.vector.requant.eq(opcode == Opcode.REQUANT)]
        with m.Default():
            m.d.comb += [
                result.sync.eq(1),
                *(result[n].eq(1) for n in ("uop_count", "iter_out", "iter_in")),
            ]
    return result


class Sequencer(Component):
    """Takes compute instructions and issues their operations.

    `start` takes an instruction, which stands at `instruction` from the next cycle on; `free` permits the next start.
    With `uop_read`, micro-op `uop_index` is wanted at `uop` from the next cycle on. `operation` is what happened in
    the issue stage one cycle ago. `done`: the instruction in the issue stage issues its last operation and is complete
    in `latency` cycles. `cause` is this cycle's cause of docs/timing.md, section 8, as far as the two stages know it:
    `busy` is off if both stages are empty.
    """

    def __init__(self, cfg: Config) -> None:
        self._cfg = cfg
        super().__init__(
            {
                "start": In(1),
                "instruction": In(unit_bits(Unit.COMPUTE, cfg)),
                "free": Out(1),
                "uop_read": Out(1),
                "uop_index": Out(cfg.uop_index_bits),
                "uop": In(uop_layout(cfg)),
                "operation": Out(operation_layout(cfg)),
                "done": Out(1),
                "latency": Out(range(LONGEST + 1)),
                "busy": Out(1),
                "issuing": Out(1),
                "cause": Out(range(len(CAUSES))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m, cfg = Module(), self._cfg
        # The decode stage holds an instruction (`decoded`): in its second cycle and after it (`prepared`) at `new`.
        decoded, prepared = (Signal(name=n) for n in ("decoded", "prepared"))
        arriving = unified(m, self.instruction, cfg)
        new = Signal(compute_layout(cfg))
        move, refill, last, valid = (Signal(name=n) for n in ("move", "refill", "last", "valid"))
        go, loop_end = (Signal(name=n) for n in ("go", "loop_end"))
        last_uop = Signal(init=1)
        uop_end, advance, overwrite, reads_dst, reads_src = (
            Signal(name=n) for n in ("uop_end", "advance", "overwrite", "reads_dst", "reads_src")
        )
        now = Signal(compute_layout(cfg))  # the issue stage holds an instruction (`valid`): this one
        m.d.comb += [
            self.free.eq(~decoded),
            refill.eq(prepared & (~valid | now.sync)),
            move.eq((go & loop_end & last_uop & prepared) | refill),
            self.busy.eq(decoded | valid),
            self.issuing.eq(valid),
            self.done.eq(last),
        ]
        m.d.sync += [new.eq(arriving), prepared.eq(decoded & ~move)]
        with m.If(self.start):
            m.d.sync += decoded.eq(1)
        with m.Elif(move):
            m.d.sync += decoded.eq(0)
        with m.If(move):
            m.d.sync += [valid.eq(1), now.eq(new)]
        with m.Elif(last):
            m.d.sync += valid.eq(0)

        # Micro-ops: while the operations of one are issued, the next one stands at the buffer's output; on the last
        # one, the first of the instruction in the decode stage. What follows depends on `go` as little as may be.
        before_last = Signal()
        uops_left = Signal(cfg.uop_count_bits)
        next_uop = Signal(cfg.uop_index_bits)
        m.d.comb += [
            advance.eq(go & loop_end & ~last_uop),
            self.uop_read.eq((go & loop_end & (~last_uop | prepared)) | refill | (last_uop & ~prepared)),
            self.uop_index.eq(next_uop),
        ]
        with m.If(last_uop & prepared):
            m.d.comb += self.uop_index.eq(new.uop_begin + 1)
        with m.Elif(last_uop | before_last):
            m.d.comb += self.uop_index.eq(arriving.uop_begin)
        with m.If(move):
            m.d.sync += [
                uops_left.eq(new.uop_count - 1),
                last_uop.eq(new.uop_count == 1),
                before_last.eq(new.uop_count == 2),
                next_uop.eq(new.uop_begin + 2),
            ]
        with m.Elif(advance):
            m.d.sync += [
                uops_left.eq(uops_left - 1),
                last_uop.eq(before_last),
                before_last.eq(uops_left == 2),
                next_uop.eq(next_uop + 1),
            ]
        # Whose operation comes next: the first one of a micro-op, of this instruction or the next.
        first, next_reads_dst, next_reads_src = (
            Signal(name=n) for n in ("first_operation", "next_reads_dst", "next_reads_src")
        )
        requant = Mux(last_uop, new.vector.requant & ~new.gemm, now.vector.requant & ~now.gemm)
        source = ~new.gemm & ~new.vector.requant & (new.vector.source == AluSource.ACC)
        m.d.comb += [
            first.eq(loop_end | ~valid | now.sync),
            next_reads_dst.eq(Mux(first, ~self.uop.overwrite | requant, reads_dst)),
            next_reads_src.eq(Mux(first & last_uop, source, reads_src)),
        ]
        with m.If(go | refill):
            m.d.sync += [reads_dst.eq(next_reads_dst), reads_src.eq(next_reads_src)]
            with m.If(first):
                m.d.sync += overwrite.eq(self.uop.overwrite)

        in_param = self._parameters(m, new, now, valid, move, uop_end, last_uop)
        m.d.comb += last.eq((uop_end & last_uop) | (valid & now.sync))
        m.submodules.interlock = interlock = Interlock(cfg)
        index = self._loops(m, new, now, refill, go, loop_end, first, last_uop, move, interlock)
        m.d.comb += uop_end.eq(go & loop_end)
        vector = now.vector
        ready = Signal()
        m.d.comb += [
            ready.eq(valid & ~now.sync & ~in_param),
            interlock.gemm.eq(now.gemm),
            interlock.dst.eq(index["dst"]),
            interlock.writes.eq(now.gemm | ~vector.to_out),
            interlock.issue.eq(go),
            interlock.advance.eq(go | refill),
            interlock.next_gemm.eq(Mux(first & last_uop, new.gemm, now.gemm)),
            interlock.next_reads_dst.eq(next_reads_dst),
            interlock.next_reads_src.eq(next_reads_src),
            go.eq(ready & ~interlock.switch & ~interlock.hazard),
        ]
        self._operation(m, now, go, in_param, overwrite, index)
        self._say(m, now, valid, in_param, interlock)
        return m

    def _parameters(
        self, m: Module, new: Any, now: Any, valid: Signal, move: Signal, uop_end: Signal, last_uop: Signal
    ) -> Signal:
        """REQUANT's parameter cycles before the operations of each micro-op."""
        parts = self._cfg.param_vectors
        in_param = Signal()
        self._part = part = Signal(range(max(2, parts)))
        with m.If(move):
            m.d.sync += in_param.eq(new.vector.requant & ~new.gemm & ~new.sync)
        with m.Elif(uop_end):
            m.d.sync += in_param.eq(now.vector.requant & ~now.gemm & ~last_uop)
        with m.Elif(in_param & (part == parts - 1)):
            m.d.sync += in_param.eq(0)
        with m.If(in_param & valid):
            m.d.sync += part.eq(Mux(part == parts - 1, 0, part + 1))
        return in_param

    def _loops(
        self,
        m: Module,
        new: Any,
        now: Any,
        refill: Signal,
        go: Signal,
        loop_end: Signal,
        first: Signal,
        last_uop: Signal,
        move: Signal,
        interlock: Interlock,
    ) -> dict[str, Any]:
        """The two hardware loops. Returns the operands' indices: registers, the sums of base, steps and micro-op."""
        outer, inner = Signal(isa.COUNT_BITS, name="outer"), Signal(isa.COUNT_BITS, name="inner")
        inner_end, outer_end = (Signal(name=n) for n in ("inner_end", "outer_end"))
        m.d.comb += loop_end.eq(inner_end & outer_end)
        with m.If(move):
            m.d.sync += [
                inner.eq(new.iter_in - 1),
                outer.eq(new.iter_out - 1),
                inner_end.eq(new.iter_in == 1),
                outer_end.eq(new.iter_out == 1),
            ]
        with m.Elif(go):
            m.d.sync += [
                inner.eq(Mux(inner_end, now.iter_in - 1, inner - 1)),
                inner_end.eq(Mux(inner_end, now.iter_in == 1, inner == 1)),
            ]
            with m.If(inner_end):
                m.d.sync += [
                    outer.eq(Mux(outer_end, now.iter_out - 1, outer - 1)),
                    outer_end.eq(Mux(outer_end, now.iter_out == 1, outer == 1)),
                ]
        index: dict[str, Any] = {}
        for name in OPERANDS:
            base = Mux(last_uop, new[f"{name}_base"], now[f"{name}_base"])
            at = Signal.like(now[f"{name}_base"], name=name)
            row, begin, step, following = (
                Signal.like(at, name=f"{name}_{n}") for n in ("row", "from", "step", "following")
            )
            m.d.comb += [
                begin.eq(Mux(first, base, Mux(inner_end, row, at))),
                step.eq(Mux(first, self.uop[name], Mux(inner_end, now[f"{name}_out"], now[f"{name}_in"]))),
                following.eq(begin + step),
            ]
            with m.If(go | refill):
                m.d.sync += at.eq(following)
                with m.If(first | inner_end):
                    m.d.sync += row.eq(following)
            index[name] = at
            if name != "wgt":
                m.d.comb += [
                    getattr(interlock, f"{name}_from").eq(begin),
                    getattr(interlock, f"{name}_step").eq(step),
                ]
        return index

    def _operation(
        self, m: Module, now: Any, go: Signal, in_param: Signal, overwrite: Signal, index: dict[str, Any]
    ) -> None:
        out = self.operation
        m.d.sync += [
            out.gemm.eq(go & now.gemm),
            out.vector.eq(go & ~now.gemm),
            out.param.eq(in_param),
            out.part.eq(self._part),
            out.overwrite.eq(overwrite),
            out.dst.eq(index["dst"]),
            out.src.eq(index["src"] + Mux(in_param, self._part, 0)),
            out.wgt.eq(index["wgt"]),
            out.out.eq(index["dst"] - now.dst_base + now.out_base),
            out["with"].eq(now.vector),
        ]

    def _say(self, m: Module, now: Any, valid: Signal, in_param: Signal, interlock: Interlock) -> None:
        def cause(name: str) -> Any:
            return self.cause.eq(CAUSES.index(name))

        requant = now.vector.requant
        with m.If(now.sync):
            m.d.comb += self.latency.eq(SYNC_LATENCY)
        with m.Else():
            m.d.comb += self.latency.eq(Mux(now.gemm, GEMM_LATENCY, VECTOR_LATENCY))
        with m.If(~valid | now.sync):
            m.d.comb += cause("decode")
        with m.Elif(in_param):
            m.d.comb += cause("param")
        with m.Elif(interlock.switch):
            m.d.comb += cause("switch")
        with m.Elif(interlock.hazard):
            m.d.comb += cause("hazard")
        with m.Elif(now.gemm):
            m.d.comb += cause("gemm")
        with m.Elif(requant):
            m.d.comb += cause("requant")
        with m.Else():
            m.d.comb += cause("alu")
