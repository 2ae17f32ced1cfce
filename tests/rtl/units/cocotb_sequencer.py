"""Sequencer against the loops of docs/isa.md and the rules of docs/timing.md, section 6: which operation, with which
operands, in which cycle."""

from __future__ import annotations

from typing import Any

import cocotb

from hw import isa, timing
from hw.config import Config
from hw.isa import Alu, AluSource, Gemm, Requant, Sync, Uop
from hw.random_program import random_instruction
from hw.rtl.layouts import operation_layout, uop_layout
from hw.rtl.sequencer import Sequencer
from tests.rtl.units.common import PARAMETERS, Pins, generator, machine, pack, unpack

Expected = tuple[int, dict[str, int]]


def unit(parameters: dict[str, Any]) -> Sequencer:
    return Sequencer(machine(parameters))


class Rules:
    """In which cycle what is issued."""

    def __init__(self, cfg: Config, uops: list[Uop]) -> None:
        self.cfg, self.uops = cfg, uops
        self.written: dict[int, int] = {}
        self.last: tuple[bool, int] | None = None
        self.free = 0
        """First cycle in which the issue stage can take an instruction."""

    def issue(self, m: Any, started: int) -> tuple[list[Expected], int, int]:
        """(cycle, fields of the operation) in order; last and first cycle in the issue stage."""
        at = moved = max(started + timing.DECODE, self.free)
        result: list[Expected] = []
        if isinstance(m, Sync):
            self.free = at + 1
            return result, at, moved
        gemm = isinstance(m, Gemm)
        for k in range(m.uop_count):
            u = self.uops[m.uop_begin + k]
            if isinstance(m, Requant):
                for part in range(self.cfg.param_vectors):
                    result.append((at, {"param": 1, "part": part, "src": m.src_base + u.src + part}))
                    at += 1
            for i in range(m.iter_out):
                for j in range(m.iter_in):
                    at = self._operation(m, u, i, j, at, gemm, result) + 1
        self.free = at
        return result, at - 1, moved

    def _operation(self, m: Any, u: Uop, i: int, j: int, at: int, gemm: bool, result: list[Expected]) -> int:
        def index(name: str) -> int:
            steps = i * getattr(m, f"{name}_out", 0) + j * getattr(m, f"{name}_in", 0)
            return getattr(m, f"{name}_base") + getattr(u, name) + steps

        acc_mask = (1 << self.cfg.acc_index_bits) - 1
        d, s = index("dst") & acc_mask, index("src") & (1 << self.cfg.uop_src_bits) - 1
        reads = [d] if isinstance(m, Requant) or not u.overwrite else []
        if isinstance(m, Alu) and m.source == AluSource.ACC:
            reads.append(s)
        reach = timing.GEMM_HAZARD if gemm else timing.VECTOR_HAZARD
        for a in reads:
            at = max(at, self.written.get(a, -99) + reach)
        if self.last is not None and self.last[0] != gemm:
            at = max(at, self.last[1] + (timing.GEMM_LATENCY if self.last[0] else timing.VECTOR_LATENCY))
        if gemm or not m.to_out:
            self.written[d] = at
        self.last = gemm, at
        fields = {"gemm": int(gemm), "vector": int(not gemm), "overwrite": int(u.overwrite), "dst": d}
        if gemm:
            fields |= {"src": s, "wgt": index("wgt") & (1 << self.cfg.wgt_index_bits) - 1}
        elif isinstance(m, Alu):
            fields |= {"src": s} if m.source != AluSource.IMM else {}
        if not gemm and m.to_out:
            fields["out"] = (index("dst") - m.dst_base + m.out_base) & (1 << self.cfg.out_index_bits) - 1
        result.append((at, fields))
        return at


@cocotb.test()
async def issues_what_the_loops_say(dut: Any) -> None:
    cfg, rng, pins = machine(PARAMETERS), generator(), Pins(dut)
    few = 6  # accumulators, so that hazards are frequent
    uops = [
        Uop(overwrite=bool(k % 3 == 0), dst=int(rng.integers(few)), src=int(rng.integers(few)), wgt=k % 4)
        for k in range(8)
    ]  # fmt: skip
    program: list[Any] = []
    for _ in range(160):
        kind = (Gemm, Alu, Requant, Sync)[int(rng.choice(4, p=[0.4, 0.3, 0.2, 0.1]))]
        loops: dict[str, Any] = {}
        if kind is not Sync:
            loops = {"uop_begin": int(rng.integers(5)), "uop_count": int(rng.integers(1, 4))}
            loops |= {"iter_out": int(rng.integers(1, 4)), "iter_in": int(rng.integers(1, 4))}
            for f in isa.fields(kind.OPCODE, cfg):
                if f.name.endswith(("_in", "_out")) and f.name[:3] in ("dst", "src", "wgt"):
                    loops[f.name] = int(rng.integers(3))
                elif f.name in ("dst_base", "src_base", "wgt_base"):
                    loops[f.name] = int(rng.integers(2))
        random = random_instruction(rng, cfg, kind)
        values = {f.name: getattr(random, f.name) for f in isa.fields(kind.OPCODE, cfg)[1:]} | loops
        program.append(kind(**values))
    rules, table = (
        Rules(cfg, uops),
        [pack(uop_layout(cfg), {f.name: getattr(u, f.name) for f in isa.uop_fields(cfg)}) for u in uops],
    )
    await pins.start(start=0, instruction=0, uop=0)
    expected: dict[int, tuple[Any, dict[str, int]]] = {}
    ends: dict[int, int] = {}
    started, shown, uop, free_from = 0, 0, 0, 0
    issued = 0
    while started < len(program) or pins.cycle <= rules.free + 1:
        assert pins.cycle < 60_000
        await pins.drive(instruction=shown, uop=uop, start=0)
        assert pins["free"] == (pins.cycle >= free_from)
        start = started < len(program) and pins["free"] and rng.random() < 0.7
        await pins.drive(start=start)
        operation = unpack(operation_layout(cfg), pins["operation"])
        kinds = {n: int(operation[n]) for n in ("gemm", "vector", "param")}
        now = expected.pop(pins.cycle - 1, None)
        assert any(kinds.values()) == (now is not None), (pins.cycle, kinds, now)
        if now is not None:
            instr, fields = now
            mask = {"src": (1 << cfg.uop_src_bits) - 1}
            assert {n: int(operation[n]) for n in fields} == {n: v & mask.get(n, -1) for n, v in fields.items()}
            assert sum(kinds.values()) == 1
            if isinstance(instr, Alu) and kinds["vector"]:
                assert all(
                    operation["with"][n] == getattr(instr, n) for n in ("op", "source", "to_out", "imm", "shift")
                )
            if isinstance(instr, Requant) and kinds["vector"]:
                assert all(operation["with"][n] == getattr(instr, n) for n in ("to_out", "zero_point", "low", "high"))
            issued += 1
        assert pins["done"] == (pins.cycle in ends)
        if pins["done"]:
            assert pins["latency"] == ends.pop(pins.cycle)
        # The micro-op buffer answers in the next cycle, and keeps what it has until it is asked again.
        if pins["uop_read"]:
            uop = table[pins["uop_index"] % len(table)]
        if start:
            instr = program[started]
            operations, last, moved = rules.issue(instr, pins.cycle)
            expected |= {at: (instr, fields) for at, fields in operations}
            latencies = {Gemm: timing.GEMM_LATENCY, Sync: timing.SYNC_LATENCY}
            ends[last] = latencies.get(type(instr), timing.VECTOR_LATENCY)
            shown, free_from = isa.encode(instr, cfg), moved
            started += 1
        await pins.tick()
    assert not expected and not ends and issued > 1000
