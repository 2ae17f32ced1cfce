"""Units of the harness alone, in Amaranth's simulator, against plain Python models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from amaranth.lib.wiring import connect
from amaranth.sim import Simulator

from hw.config import Board, Config
from hw.errors import ConfigError
from hw.harness import protocol
from hw.harness.arbiter import Arbiter
from hw.harness.axi_slave import AxiSlave, Response
from hw.harness.block_memory import BlockMemory
from hw.harness.pll import VCO_MHZ, PllSettings
from hw.harness.sdram import words_a_beat
from hw.harness.serial import Receiver, Transmitter
from hw.harness.top import HarnessConfig
from hw.rtl.hdl import Module

CFG = Config.load("tiny").with_(bus_bits=32)
SIZE = 1024


def simulate(unit: Any, *benches: Any) -> None:
    """Runs the coroutines `bench(ctx)` beside the unit."""
    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    for bench in benches:
        simulator.add_testbench(bench)
    simulator.run()


async def access(
    ctx: Any, port: Any, word: int, beats: int, data: list[tuple[int, int]] | None = None, stall: Any = None
) -> list[int]:
    """One request at a memory port: a write of (data, strobe), or a read, which returns the words."""
    ctx.set(port.request.p.word, word)
    ctx.set(port.request.p.beats, beats)
    ctx.set(port.request.p.write, data is not None)
    ctx.set(port.request.valid, 1)
    await ctx.tick().until(port.request.ready)
    ctx.set(port.request.valid, 0)
    words = []
    for k in range(beats):
        while stall is not None and stall.random() < 0.5:
            await ctx.tick()
        if data is None:
            ctx.set(port.read.ready, 1)
            (value, done) = await ctx.tick().sample(port.read.p, port.done).until(port.read.valid)
            words.append(value)
            ctx.set(port.read.ready, 0)
        else:
            ctx.set(port.write.p.data, data[k][0])
            ctx.set(port.write.p.strobe, data[k][1])
            ctx.set(port.write.valid, 1)
            (done,) = await ctx.tick().sample(port.done).until(port.write.ready)
            ctx.set(port.write.valid, 0)
        assert done == (k == beats - 1)
    return words


def masked(old: int, new: int, strobe: int) -> int:
    """The word with the strobed bytes replaced."""
    mask = sum(0xFF << 8 * k for k in range(CFG.bus_bytes) if strobe >> k & 1)
    return (old & ~mask) | (new & mask)


async def exercise(ctx: Any, port: Any, seed: int, begin: int, end: int) -> None:
    """Random writes and reads in words [begin, end) against a model, with pauses."""
    rng = np.random.default_rng(seed)
    model = [0] * end
    first = [(0, (1 << CFG.bus_bytes) - 1)] * CFG.burst_beats
    for word in range(begin, end, CFG.burst_beats):
        await access(ctx, port, word, CFG.burst_beats, first)
    for _ in range(40):
        beats = int(rng.integers(1, CFG.burst_beats + 1))
        word = int(rng.integers(begin, end - beats + 1))
        if rng.random() < 0.5:
            data = [(int(rng.integers(1 << 32)), int(rng.integers(1 << CFG.bus_bytes))) for _ in range(beats)]
            await access(ctx, port, word, beats, data, rng)
            for k, (value, strobe) in enumerate(data):
                model[word + k] = masked(model[word + k], value, strobe)
        else:
            assert await access(ctx, port, word, beats, None, rng) == model[word : word + beats]


def test_two_use_a_memory_through_the_arbiter() -> None:
    m: Any = Module()
    m.submodules.arbiter = arbiter = Arbiter(CFG)
    m.submodules.memory = memory = BlockMemory(CFG, SIZE)
    connect(m, arbiter.memory, memory.port)
    words = SIZE // CFG.bus_bytes

    async def first(ctx: Any) -> None:
        await exercise(ctx, arbiter.first, 1, 0, words // 2)

    async def second(ctx: Any) -> None:
        await exercise(ctx, arbiter.second, 2, words // 2, words)

    simulate(m, first, second)


def test_a_burst_beyond_the_memory_gets_an_error() -> None:
    dut = AxiSlave(CFG, SIZE)

    async def bench(ctx: Any) -> None:
        for write in (False, True):
            channel = "aw" if write else "ar"
            ctx.set(getattr(dut, f"axi_{channel}addr"), SIZE - CFG.bus_bytes)
            ctx.set(getattr(dut, f"axi_{channel}len"), 1)
            ctx.set(getattr(dut, f"axi_{channel}valid"), 1)
            await ctx.tick().until(getattr(dut, f"axi_{channel}ready"))
            ctx.set(getattr(dut, f"axi_{channel}valid"), 0)
            ctx.set(dut.axi_rready, 1)
            ctx.set(dut.axi_wvalid, write)
            for beat in range(2):
                if write:
                    await ctx.tick().until(dut.axi_wready)
                else:
                    resp, last = await ctx.tick().sample(dut.axi_rresp, dut.axi_rlast).until(dut.axi_rvalid)
                    assert (resp, last) == (Response.DECODE_ERROR, beat == 1)
            assert not ctx.get(dut.memory.request.valid)
        ctx.set(dut.axi_wvalid, 0)
        ctx.set(dut.axi_bready, 1)
        (resp,) = await ctx.tick().sample(dut.axi_bresp).until(dut.axi_bvalid)
        assert resp == Response.DECODE_ERROR

    simulate(dut, bench)


@pytest.mark.parametrize(("there", "here"), [(8, 8), (25, 26), (26, 25)])
def test_bytes_cross_the_line_at_slightly_different_rates(there: int, here: int) -> None:
    m: Any = Module()
    m.submodules.transmitter = transmitter = Transmitter(there)
    m.submodules.receiver = receiver = Receiver(here)
    m.d.comb += receiver.rx.eq(transmitter.tx)
    data = [0x00, 0xFF, 0x55, 0xAA, protocol.SYNC, 0x01, 0x80]

    async def send(ctx: Any) -> None:
        ctx.set(transmitter.bytes.valid, 1)
        for value in data:
            ctx.set(transmitter.bytes.p, value)
            await ctx.tick().until(transmitter.bytes.ready)
        ctx.set(transmitter.bytes.valid, 0)

    async def receive(ctx: Any) -> None:
        ctx.set(receiver.bytes.ready, 1)
        for value in data:
            (got,) = await ctx.tick().sample(receiver.bytes.p).until(receiver.bytes.valid)
            assert got == value

    simulate(m, send, receive)


def test_packets_are_checked() -> None:
    packet = protocol.pack_request(protocol.Request(protocol.Opcode.WRITE_MEMORY, 7, 0x1234, 3), b"abc")
    assert len(packet) == 1 + protocol.REQUEST.size + 2 * protocol.CRC_BYTES + 3
    assert protocol.unchecked(packet[-5:]) == b"abc"
    assert protocol.unchecked(bytes([packet[-5] ^ 4]) + packet[-4:]) is None


@pytest.mark.parametrize("clock", [25.0, 40.0, 50.0, 62.5, 66.66, 75.0])
def test_pll(clock: float) -> None:
    if clock == 66.66:
        with pytest.raises(ConfigError, match="try 66.6667"):
            PllSettings.of(25.0, clock)
        return
    pll = PllSettings.of(25.0, clock)
    assert 25.0 / pll.reference * pll.feedback == clock
    assert VCO_MHZ[0] <= clock * pll.output <= VCO_MHZ[1]
    coarse, fine = pll.delayed_by(0.25)
    # A quarter of the output's period, in eighths of the VCO's, to the nearest.
    assert abs((coarse - pll.first_phase) * 8 + fine - 2 * pll.output) <= 0.5


def test_rates_and_buses_that_do_not_suit_are_refused() -> None:
    board = Board.load("ulx3s")
    assert HarnessConfig.of(board, board.config).divisor == 15
    with pytest.raises(ConfigError, match="uart_baud: 2000000 does not divide the clock of 3.0 MHz; try 750000"):
        HarnessConfig.of(board, board.config.with_(clock_mhz=3.0))
    with pytest.raises(ConfigError, match="uart_baud: None"):
        HarnessConfig.of(Board.load("tiny"), board.config)
    with pytest.raises(ConfigError, match="block_memory_kib: 100 is not a power of two"):
        HarnessConfig.of(board, board.config, 100)
    with pytest.raises(ConfigError, match="bus_bits: 256 does not suit the board's SDRAM; try 32, 64, 128"):
        words_a_beat(board.config.with_(bus_bits=256))
