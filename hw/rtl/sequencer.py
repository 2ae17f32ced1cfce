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
    Micro-op `uop_index` is wanted at `uop` in the next cycle. `operation` is what happened in the issue stage one cycle
    ago. `done`: the instruction in the issue stage issues its last operation and is complete in `latency` cycles.
    `cause` is this cycle's cause of docs/timing.md, section 8, as far as the two stages know it: `busy` is off if
    both stages are empty.
    """

    def __init__(self, cfg: Config) -> None:
        self._cfg = cfg
        super().__init__(
            {
                "start": In(1),
                "instruction": In(unit_bits(Unit.COMPUTE, cfg)),
                "free": Out(1),
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
        decoded = Signal()  # the decode stage holds an instruction: the one at `instruction`
        new = unified(m, self.instruction, cfg)
        move, last = Signal(), Signal()
        valid, now = Signal(), Signal(compute_layout(cfg))  # the issue stage
        m.d.comb += [
            self.free.eq(~decoded),
            move.eq(decoded & (~valid | last)),
            self.busy.eq(decoded | valid),
            self.issuing.eq(valid),
            self.done.eq(last),
        ]
        with m.If(self.start):
            m.d.sync += decoded.eq(1)
        with m.Elif(move):
            m.d.sync += decoded.eq(0)
        with m.If(move):
            m.d.sync += [valid.eq(1), now.eq(new)]
        with m.Elif(last):
            m.d.sync += valid.eq(0)

        # Micro-ops: the next one is read in every cycle; the current one is at the buffer's output in its first cycle
        # (`fresh`) and in a register afterwards. On the last one, the port belongs to the decode stage.
        fresh, last_uop, uop_end = Signal(), Signal(), Signal()
        uops_left = Signal(cfg.uop_count_bits)
        next_uop = Signal(cfg.uop_index_bits)
        kept, uop = Signal(uop_layout(cfg)), Signal(uop_layout(cfg))
        m.d.comb += [
            last_uop.eq(uops_left == 0),
            self.uop_index.eq(Mux(valid & ~last_uop, next_uop, new.uop_begin)),
            uop.eq(Mux(fresh, self.uop.as_value(), kept.as_value())),
        ]
        m.d.sync += [fresh.eq(move | (uop_end & ~last_uop)), kept.eq(uop)]
        with m.If(move):
            m.d.sync += [uops_left.eq(new.uop_count - 1), next_uop.eq(new.uop_begin + 1)]
        with m.Elif(uop_end):
            m.d.sync += [uops_left.eq(uops_left - 1), next_uop.eq(next_uop + 1)]

        in_param, go = self._parameters(m, new, now, valid, move, uop_end, last_uop)
        m.d.comb += last.eq((uop_end & last_uop) | (valid & now.sync))
        loop_end = Signal()
        index = self._loops(m, new, now, move, go, loop_end, uop)
        m.d.comb += uop_end.eq(go & loop_end)

        m.submodules.interlock = interlock = Interlock(cfg)
        vector = now.vector
        ready = Signal()
        m.d.comb += [
            ready.eq(valid & ~now.sync & ~in_param),
            interlock.gemm.eq(now.gemm),
            interlock.dst.eq(index["dst"]),
            interlock.src.eq(index["src"]),
            interlock.reads_dst.eq(~uop.overwrite | (~now.gemm & vector.requant)),
            interlock.reads_src.eq(~now.gemm & ~vector.requant & (vector.source == AluSource.ACC)),
            interlock.writes.eq(now.gemm | ~vector.to_out),
            interlock.issue.eq(go),
            go.eq(ready & ~interlock.switch & ~interlock.hazard),
        ]
        self._operation(m, now, go, in_param, uop, index)
        self._say(m, now, valid, in_param, interlock)
        return m

    def _parameters(
        self, m: Module, new: Any, now: Any, valid: Signal, move: Signal, uop_end: Signal, last_uop: Signal
    ) -> tuple[Signal, Signal]:
        """REQUANT's parameter cycles before the operations of each micro-op."""
        parts = self._cfg.param_vectors
        in_param, go = Signal(), Signal()
        self._part = part = Signal(range(max(2, parts)))
        with m.If(move):
            m.d.sync += in_param.eq(new.vector.requant & ~new.gemm & ~new.sync)
        with m.Elif(uop_end):
            m.d.sync += in_param.eq(now.vector.requant & ~now.gemm & ~last_uop)
        with m.Elif(in_param & (part == parts - 1)):
            m.d.sync += in_param.eq(0)
        with m.If(in_param & valid):
            m.d.sync += part.eq(Mux(part == parts - 1, 0, part + 1))
        return in_param, go

    def _loops(
        self, m: Module, new: Any, now: Any, move: Signal, go: Signal, loop_end: Signal, uop: Any
    ) -> dict[str, Any]:
        """The two hardware loops. Each operand's offset (base and steps) runs ahead of its micro-op's field."""
        outer, inner = Signal(isa.COUNT_BITS, name="outer"), Signal(isa.COUNT_BITS, name="inner")
        inner_end, outer_end = Signal(), Signal()
        m.d.comb += [inner_end.eq(inner == 0), outer_end.eq(outer == 0), loop_end.eq(inner_end & outer_end)]
        with m.If(move):
            m.d.sync += [inner.eq(new.iter_in - 1), outer.eq(new.iter_out - 1)]
        with m.Elif(go):
            m.d.sync += inner.eq(Mux(inner_end, now.iter_in - 1, inner - 1))
            with m.If(inner_end):
                m.d.sync += outer.eq(Mux(outer_end, now.iter_out - 1, outer - 1))
        index: dict[str, Any] = {}
        for name in OPERANDS:
            base = now[f"{name}_base"]
            offset, row = Signal.like(base, name=f"{name}_offset"), Signal.like(base, name=f"{name}_row")
            next_row = Signal.like(base, name=f"{name}_next_row")
            m.d.comb += next_row.eq(Mux(outer_end, base, row + now[f"{name}_out"]))
            with m.If(move):
                m.d.sync += [offset.eq(new[f"{name}_base"]), row.eq(new[f"{name}_base"])]
            with m.Elif(go):
                with m.If(inner_end):
                    m.d.sync += [offset.eq(next_row), row.eq(next_row)]
                with m.Else():
                    m.d.sync += offset.eq(offset + now[f"{name}_in"])
            index[name] = Signal.like(base, name=name)
            m.d.comb += index[name].eq(offset + uop[name])
        return index

    def _operation(self, m: Module, now: Any, go: Signal, in_param: Signal, uop: Any, index: dict[str, Any]) -> None:
        out = self.operation
        m.d.sync += [
            out.gemm.eq(go & now.gemm),
            out.vector.eq(go & ~now.gemm),
            out.param.eq(in_param),
            out.part.eq(self._part),
            out.overwrite.eq(uop.overwrite),
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
