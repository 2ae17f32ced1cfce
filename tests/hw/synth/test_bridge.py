"""The bridge from the processor's AXI3 port to the registers, driven as the processor can drive it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from amaranth.sim import Simulator

from hw.config import Config
from hw.rtl import axi
from hw.rtl.control import ControlUnit
from hw.rtl.hdl import Component, Module, Out
from hw.rtl.registers import OFFSET
from hw.synth.zynq_bridge import FIXED, WRAP, Bridge

TINY = Config.load("tiny")
INCR = 1
PATIENCE = 200


@dataclass(frozen=True)
class Burst:
    """A burst as the processor issues it; `data` and `strobes` have an entry a beat, for writes."""

    identity: int
    address: int
    beats: int
    size: int = 2
    kind: int = INCR
    data: Sequence[int] = ()
    strobes: Sequence[int] = ()

    def addresses(self) -> list[int]:
        """Address of each beat: the specification's formulas (AMBA AXI3, A3.4.1), not the bridge's."""
        number_bytes = 1 << self.size
        aligned = self.address // number_bytes * number_bytes
        total = number_bytes * self.beats
        boundary = self.address // total * total
        found = [self.address]
        for beat in range(1, self.beats):
            following = aligned + beat * number_bytes
            if self.kind == WRAP and following >= boundary + total:
                following -= total
            found.append(self.address if self.kind == FIXED else following)
        return found


class Registers(Component):
    """Stand-in for the machine: what is accessed comes out; it is the bench that answers."""

    def __init__(self, control: bool) -> None:
        self.bridge = Bridge()
        self.control = ControlUnit(TINY) if control else None
        super().__init__({"beside": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.bridge = self.bridge
        if self.control is not None:
            m.submodules.control = self.control
            for name, member in axi.lite_members("s_axil_").items():
                theirs, ours = getattr(self.control, name), getattr(self.bridge, "lite_" + name[7:])
                m.d.comb += ours.eq(theirs) if member.flow is Out else theirs.eq(ours)
        return m


class Master:
    """The processor's side of GP0, which holds back on every channel at random."""

    def __init__(self, ctx: Any, bridge: Any, rng: np.random.Generator) -> None:
        self.ctx, self.bridge, self.rng = ctx, bridge, rng

    async def idle(self) -> None:
        for _ in range(int(self.rng.integers(0, 3))):
            await self.ctx.tick()

    async def give(self, channel: str, **fields: int) -> None:
        """Hold a channel's fields until they are taken."""
        await self.idle()
        for name, value in {**fields, "valid": 1}.items():
            self.ctx.set(getattr(self.bridge, f"gp_{channel}{name}"), value)
        await self.wait(f"gp_{channel}ready")
        self.ctx.set(getattr(self.bridge, f"gp_{channel}valid"), 0)

    async def take(self, channel: str, *fields: str) -> list[int]:
        await self.idle()
        self.ctx.set(getattr(self.bridge, f"gp_{channel}ready"), 1)
        found = await self.wait(f"gp_{channel}valid", *(f"gp_{channel}{name}" for name in fields))
        self.ctx.set(getattr(self.bridge, f"gp_{channel}ready"), 0)
        return found

    async def wait(self, signal: str, *values: str) -> list[int]:
        """Go to the cycle after the one in which a signal is high; what others were in that one."""
        for _ in range(PATIENCE):
            sampled = await self.ctx.tick().sample(*(getattr(self.bridge, name) for name in (signal, *values)))
            if sampled[2]:
                return [int(value) for value in sampled[3:]]
        raise AssertionError(f"{signal} stays low")

    async def address(self, channel: str, burst: Burst) -> None:
        fields = {"id": burst.identity, "addr": burst.address, "len": burst.beats - 1}
        await self.give(channel, **fields, size=burst.size, burst=burst.kind)

    async def read(self, burst: Burst) -> tuple[list[int], list[int]]:
        """Data and responses of a burst; the ID must be echoed, and the last beat marked."""
        await self.address("ar", burst)
        data, responses = [], []
        for beat in range(burst.beats):
            identity, value, response, last = await self.take("r", "id", "data", "resp", "last")
            assert (identity, last) == (burst.identity, beat == burst.beats - 1)
            data.append(value)
            responses.append(response)
        return data, responses

    async def write(self, burst: Burst) -> int:
        """Response to a burst."""
        await self.address("aw", burst)
        for value, strobe in zip(burst.data, burst.strobes, strict=True):
            await self.give("w", data=value, strb=strobe)
        identity, response = await self.take("b", "id", "resp")
        assert identity == burst.identity
        return response


def random_burst(rng: np.random.Generator, write: bool) -> Burst:
    """Any burst that AXI3 permits on a port of 32 bits, within the page of the registers."""
    kind, size = int(rng.choice([INCR, INCR, FIXED, WRAP])), int(rng.integers(0, 3))
    beats = int(rng.choice([2, 4, 8, 16])) if kind == WRAP else int(rng.choice([1, 1, *range(1, 17)]))
    address = 0x43C0_0000 + int(rng.integers(0, 4096 - 64))
    if kind == WRAP:
        address = address >> size << size
    data = tuple(int(x) for x in rng.integers(0, 2**32, beats)) if write else ()
    strobes = tuple(int(x) for x in rng.integers(0, 16, beats)) if write else ()
    return Burst(int(rng.integers(0, 4096)), address, beats, size, kind, data, strobes)


@pytest.mark.parametrize("seed", range(3))
def test_every_beat_is_one_access_of_its_word(seed: int) -> None:
    rng = np.random.default_rng(seed)
    dut = Registers(control=False)
    bridge: Any = dut.bridge
    reads: list[int] = []
    writes: list[tuple[int, int, int]] = []
    answers: list[tuple[int, int]] = []
    responses: list[int] = []

    async def reader(ctx: Any) -> None:
        source = np.random.default_rng(seed + 100)
        while True:
            ctx.set(bridge.lite_arready, int(source.integers(0, 2)))
            _, _, valid, ready, address = await ctx.tick().sample(
                bridge.lite_arvalid, bridge.lite_arready, bridge.lite_araddr
            )
            if not (valid and ready):
                continue
            ctx.set(bridge.lite_arready, 0)
            reads.append(int(address))
            answer = (int(source.integers(0, 2**32)), int(source.choice([0, 0, 2])))
            answers.append(answer)
            for _ in range(int(source.integers(0, 3))):
                await ctx.tick()
            ctx.set(bridge.lite_rdata, answer[0])
            ctx.set(bridge.lite_rresp, answer[1])
            ctx.set(bridge.lite_rvalid, 1)
            while not (await ctx.tick().sample(bridge.lite_rready))[2]:
                pass
            ctx.set(bridge.lite_rvalid, 0)

    async def writer(ctx: Any) -> None:
        """Takes address and data in either order."""
        source = np.random.default_rng(seed + 200)
        while True:
            address = data = None
            while address is None or data is None:
                ctx.set(bridge.lite_awready, address is None and int(source.integers(0, 2)))
                ctx.set(bridge.lite_wready, data is None and int(source.integers(0, 2)))
                _, _, av, ar, a, wv, wr, d, s = await ctx.tick().sample(
                    bridge.lite_awvalid, bridge.lite_awready, bridge.lite_awaddr,
                    bridge.lite_wvalid, bridge.lite_wready, bridge.lite_wdata, bridge.lite_wstrb,
                )  # fmt: skip
                if av and ar:
                    assert address is None
                    address = int(a)
                if wv and wr:
                    assert data is None
                    data = (int(d), int(s))
            ctx.set(bridge.lite_awready, 0)
            ctx.set(bridge.lite_wready, 0)
            writes.append((address, *data))
            response = int(source.choice([0, 0, 0, 2, 3]))
            responses.append(response)
            ctx.set(bridge.lite_bresp, response)
            ctx.set(bridge.lite_bvalid, 1)
            while not (await ctx.tick().sample(bridge.lite_bready))[2]:
                pass
            ctx.set(bridge.lite_bvalid, 0)

    async def bench_reads(ctx: Any) -> None:
        master = Master(ctx, bridge, np.random.default_rng(seed + 300))
        for _ in range(40):
            burst = random_burst(rng, write=False)
            before = len(reads)
            data, codes = await master.read(burst)
            assert reads[before:] == [address & 0xFC for address in burst.addresses()]
            assert list(zip(data, codes, strict=True)) == answers[before:]

    async def bench_writes(ctx: Any) -> None:
        master = Master(ctx, bridge, np.random.default_rng(seed + 400))
        own = np.random.default_rng(seed + 500)
        for _ in range(40):
            burst = random_burst(own, write=True)
            before = len(writes)
            response = await master.write(burst)
            expected = zip((a & 0xFC for a in burst.addresses()), burst.data, burst.strobes, strict=True)
            assert writes[before:] == list(expected)
            assert response == next((code for code in responses[before:] if code), 0)

    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    for process in (reader, writer):
        simulator.add_testbench(process, background=True)
    for bench in (bench_reads, bench_writes):
        simulator.add_testbench(bench)
    simulator.run()


def test_registers_through_the_bridge() -> None:
    dut = Registers(control=True)
    base = 0x43C0_0000

    async def bench(ctx: Any) -> None:
        master = Master(ctx, dut.bridge, np.random.default_rng(0))
        halves = await master.read(Burst(5, base + OFFSET["FINGERPRINT_LOW"], 2))
        low, high = halves[0]
        assert f"{high << 32 | low:016x}" == TINY.fingerprint and halves[1] == [0, 0]
        # Two registers with one burst, read back one by one.
        pair = Burst(4095, base + OFFSET["PROGRAM_ADDRESS"], 2, data=(0x1234_5600, 77), strobes=(15, 15))
        assert await master.write(pair) == 0
        for name, value in zip(("PROGRAM_ADDRESS", "PROGRAM_LENGTH"), pair.data, strict=True):
            assert await master.read(Burst(1, base + OFFSET[name], 1)) == ([value], [0])
        # A part of a word changes nothing.
        part = Burst(9, base + OFFSET["PROGRAM_LENGTH"], 1, size=0, data=(0xFF,), strobes=(1,))
        await master.write(part)
        assert (await master.read(Burst(2, base + OFFSET["PROGRAM_LENGTH"], 1)))[0] == [77]
        # A half word is read out of its word.
        halfword = await master.read(Burst(3, base + OFFSET["PROGRAM_ADDRESS"] + 2, 1, size=1))
        assert halfword[0] == [0x1234_5600]

    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
