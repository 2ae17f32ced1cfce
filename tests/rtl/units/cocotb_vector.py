"""Vector unit against tests/sim/golden.py: every ALU operation and source, and requantisation with its parameter
cycles, extremes among all operands; accumulators and output buffer are the bench's own."""

from __future__ import annotations

from collections import deque
from typing import Any

import cocotb
import numpy as np

from hw import isa
from hw.config import Config
from hw.isa import Alu, AluOp, AluSource
from hw.rtl.layouts import operation_layout
from hw.rtl.vector import VectorUnit
from hw.timing import VECTOR_HAZARD, VECTOR_LATENCY
from tests.rtl.units.common import PARAMETERS, Pins, array, generator, machine, pack, word
from tests.sim.golden import alu, half_even, wrap

ACCUMULATORS = 12
BIG = np.array([-(2**31), -(2**31) + 1, -(2**17), -129, -1, 0, 1, 128, 2**17 - 1, 2**17, 2**31 - 1])


def unit(parameters: dict[str, Any]) -> VectorUnit:
    return VectorUnit(machine(parameters))


class Bench:
    """The unit with a memory of accumulators; what each operation issued must write, in order."""

    def __init__(self, dut: Any) -> None:
        self.cfg: Config = machine(PARAMETERS)
        self.rng, self.pins = generator(), Pins(dut)
        self.shape = (self.cfg.batch, self.cfg.block_out)
        self.acc = self.numbers(ACCUMULATORS, *self.shape)
        self.model = self.acc.copy()
        self.expected: deque[tuple[int, bool, int, np.ndarray]] = deque()  # issue, to_out, index, value
        self.used = dict.fromkeys(range(ACCUMULATORS), -99)
        self._later: dict[str, int] = {}

    def numbers(self, *shape: int) -> np.ndarray:
        rng = self.rng
        small = rng.integers(-300, 300, shape)
        any_bits = rng.integers(-(2**31), 2**31, shape)
        kind = rng.random(shape)
        return np.where(kind < 0.3, rng.choice(BIG, shape), np.where(kind < 0.6, small, any_bits)).astype(np.int32)

    async def start(self) -> None:
        await self.pins.start(operation=0, acc_dst=0, acc_src=0, aux=0)

    def free(self, *accumulators: int) -> bool:
        """Whether an operation that reads these may be issued now."""
        return all(self.pins.cycle - 1 >= self.used[a] + VECTOR_HAZARD for a in accumulators)

    async def step(self, operation: dict[str, Any], aux: np.ndarray | None = None) -> None:
        """A cycle with this operation."""
        pins = self.pins
        late, self._later = self._later, {}
        await pins.drive(operation=pack(operation_layout(self.cfg), operation), **late)
        if operation:
            d, s = operation.get("dst", 0), operation.get("src", 0)
            self._later = {"acc_dst": word(self.acc[d]), "acc_src": word(self.acc[s % ACCUMULATORS])}
        if aux is not None:
            self._later["aux"] = word(aux)
        for to_out in (False, True):
            if pins["write_out" if to_out else "write_acc"]:
                issued, out, index, value = self.expected.popleft()
                assert out == to_out and pins.cycle - issued <= VECTOR_LATENCY
                assert pins["out" if to_out else "target"] == index
                found = array(pins["saturated" if to_out else "result"], np.int8 if to_out else np.int32, *self.shape)
                np.testing.assert_array_equal(found, np.clip(value, -128, 127) if to_out else wrap(value))
                if not to_out:
                    self.acc[index] = found
        await pins.tick()

    def expect(self, dst: int, to_out: bool, out: int, value: np.ndarray) -> None:
        """The operation of this cycle gives `value` (before it is made narrow)."""
        issue = self.pins.cycle - 1
        self.expected.append((issue, to_out, out if to_out else dst, value))
        if not to_out:
            self.model[dst] = wrap(value)
            self.used[dst] = issue

    async def finish(self) -> None:
        for _ in range(VECTOR_LATENCY + 2):
            await self.step({})
        assert not self.expected
        np.testing.assert_array_equal(self.acc, self.model)


@cocotb.test()
async def alu_operations(dut: Any) -> None:
    b = Bench(dut)
    rng, cfg = b.rng, b.cfg
    await b.start()
    met = set()
    for _ in range(900):
        op, source = AluOp(int(rng.integers(len(AluOp)))), AluSource(int(rng.integers(len(AluSource))))
        dst, src = (int(rng.integers(ACCUMULATORS)) for _ in range(2))
        overwrite = bool(rng.random() < 0.2)
        reads = ([] if overwrite else [dst]) + ([src] if source == AluSource.ACC else [])
        if (op, source) == (AluOp.MULADD, AluSource.IMM) or not b.free(*reads) or rng.random() < 0.2:
            await b.step({})
            continue
        to_out, out = bool(rng.random() < 0.3), int(rng.integers(1 << cfg.out_index_bits))
        imm = int(rng.choice([-(2**17), -1, 0, 3, 2**17 - 1, int(rng.integers(-(2**17), 2**17))]))
        m = Alu(op=op, source=source, to_out=to_out, imm=imm, shift=int(rng.integers(32)))
        aux = rng.integers(-128, 128, b.shape).astype(np.int8)
        x = b.model[dst].astype(np.int64)
        x = np.full_like(x, isa.ALU_IDENTITY[op]) if overwrite else x
        y = {AluSource.IMM: np.full_like(x, m.imm), AluSource.ACC: b.model[src], AluSource.AUX: aux}[source].astype(
            np.int64
        )
        low = (y + (1 << 17)) % (1 << 18) - (1 << 17)
        b.expect(dst, to_out, out, wrap(alu(m, x, y, low)).astype(np.int64))
        fields = {"op": int(op), "source": int(source), "to_out": int(to_out), "imm": m.imm, "shift": m.shift}
        await b.step(
            {"vector": 1, "overwrite": int(overwrite), "dst": dst, "src": src, "out": out, "with": fields}, aux
        )
        met.add((op, source, to_out))
    await b.finish()
    assert len(met) == 2 * (len(AluOp) * len(AluSource) - 1), "an operation was never tried"


@cocotb.test()
async def requantisation(dut: Any) -> None:
    b = Bench(dut)
    rng, cfg = b.rng, b.cfg
    await b.start()
    for _ in range(40):
        lanes = cfg.block_out
        bias, mult = b.numbers(lanes), rng.integers(-(2**17), 2**17, lanes)
        mult[rng.random(lanes) < 0.3] = rng.choice([-(2**17), -1, 1, 2**16, 2**17 - 1])
        shift = rng.integers(0, 48, lanes)
        entry = np.zeros(cfg.param_vectors * cfg.aux_vector_bytes, np.uint8)
        words = np.stack([bias.astype(np.int64) & 0xFFFFFFFF, (mult & 0x3FFFF) | shift << 18], axis=1).astype("<u4")
        entry[: words.nbytes] = words.reshape(-1).view(np.uint8)
        low, high = sorted(int(v) for v in rng.integers(-300, 300, 2))
        zero = int(rng.integers(-128, 128))
        for part, vector in enumerate(entry.reshape(cfg.param_vectors, -1)):
            await b.step({"param": 1, "part": part, "with": {"requant": 1}}, vector)
        for _ in range(int(rng.integers(1, 5))):
            dst = int(rng.integers(ACCUMULATORS))
            if not b.free(dst):
                await b.step({})
                continue
            to_out, out = bool(rng.random() < 0.5), int(rng.integers(1 << cfg.out_index_bits))
            value = wrap(b.model[dst].astype(np.int64) + bias)
            exact = [half_even(int(v) * int(mult[k % lanes]), int(shift[k % lanes])) for k, v in enumerate(value.flat)]
            clipped = [min(max(v + zero, low), high) for v in exact]
            b.expect(dst, to_out, out, np.array(clipped, np.int64).reshape(b.shape))
            fields = {"requant": 1, "to_out": int(to_out), "zero_point": zero, "low": low, "high": high}
            await b.step({"vector": 1, "dst": dst, "out": out, "overwrite": int(rng.integers(2)), "with": fields})
    await b.finish()
