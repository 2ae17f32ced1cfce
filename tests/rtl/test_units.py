"""Units of the RTL alone, in Amaranth's simulator, against plain Python models.

Queues, token counters, instructions in flight and the read port have cocotb benches on Verilator and on Icarus; fetch,
load, store, sequencer, multiplier array, vector unit and control registers on Verilator: test_unit_benches.py. Here is
what these are made of.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest
from amaranth.sim import Simulator

from hw import isa, timing
from hw.config import Config
from hw.isa import Load, Opcode, Store
from hw.random_program import random_instruction
from hw.rtl import axi, gemm, load, to_verilog, vector
from hw.rtl.banks import LoadBuffer, StoreBuffer
from hw.rtl.control import ControlUnit
from hw.rtl.decode import Decoder
from hw.rtl.interlock import Interlock
from hw.rtl.layouts import instruction_layout, transfer_layout, uop_layout
from hw.rtl.manual import PAGE, register_manual
from hw.rtl.registers import OFFSET, REGISTERS, Control
from hw.rtl.revision import isa_revision, revision, timing_revision
from hw.rtl.walk import BurstWalker, PieceWalker, pieces_layout
from tests.sim.reference_cycle import bursts

TINY = Config.load("tiny")


def simulate(unit: Any, bench: Any, *, clocked: bool = True) -> None:
    """Run the coroutine `bench(ctx)` beside the unit."""
    simulator = Simulator(unit)
    if clocked:
        simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def test_layouts_are_those_of_the_encoder() -> None:
    rng = np.random.default_rng(0)
    for cfg, kind in product((TINY, Config.load("pynq-z1")), isa.INSTRUCTIONS):
        instr = random_instruction(rng, cfg, kind)
        view: Any = instruction_layout(kind.OPCODE, cfg).from_bits(isa.encode(instr, cfg))
        assert view.opcode == kind.OPCODE
        assert {f.name: int(view[f.name]) for f in isa.fields(kind.OPCODE, cfg)[1:]} == {
            f.name: int(getattr(instr, f.name)) for f in isa.fields(kind.OPCODE, cfg)[1:]
        }
    uop = random_instruction(rng, TINY, isa.Uop)
    view = uop_layout(TINY).from_bits(int.from_bytes(bytes(isa.encode_uops([uop], TINY)), "little"))
    assert all(view[f.name] == getattr(uop, f.name) for f in isa.uop_fields(TINY))


def test_pipelines_are_as_long_as_the_rules_say() -> None:
    """What the RTL has as registers, docs/timing.md has as constants: a change of one must be one of both."""
    assert timing.DECODE == 3  # queue word, decoded, then operands: hw.rtl.sequencer, load, store
    assert timing.FETCH_DECODE == 2  # FIFO, then the decoder's register: hw.rtl.fetch
    assert gemm.WRITE + 1 - gemm.ACC_READ == timing.GEMM_HAZARD
    assert vector.WRITE == timing.VECTOR_HAZARD
    # Of the other kind's reads, the vector unit's are the earlier ones: in the cycle after the issue.
    assert gemm.WRITE <= timing.GEMM_LATENCY and vector.WRITE <= timing.VECTOR_LATENCY
    assert load.DONE_LATENCY >= 1 and timing.STORE_READ == 2 and timing.STORE_RETIRE == 1


def test_revision_follows_encoding_and_rules_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every change of what a machine and its programs must agree on shows; one of an explanation does not."""
    encoding, time = isa_revision.__wrapped__, timing_revision.__wrapped__
    before = encoding(), time()
    assert divmod(revision(), 1 << 16) == before, "two half-words, the encoding's above"
    changed: list[tuple[object, str, object]] = [(isa, "ISA_VERSION", -1), (isa, "FLAGS", isa.FLAGS[::-1])]
    for kind in (isa.Requant, isa.Uop):
        field = dataclasses.fields(kind)[-1]
        with monkeypatch.context() as patch:
            patch.setattr(field, "metadata", {**field.metadata, "doc": "in other words"})
            assert (encoding(), time()) == before
        for key in set(field.metadata) - {"doc"}:
            changed.append((field, "metadata", {**field.metadata, key: -1}))
        changed.append((field, "name", "another"))
    for where, name, value in changed:
        with monkeypatch.context() as patch:
            patch.setattr(where, name, value)
            assert encoding() != before[0] and time() == before[1], (where, name)
    for name, value in (("DECODE", timing.DECODE + 1), ("CAUSES", timing.CAUSES[::-1])):
        with monkeypatch.context() as patch:
            patch.setattr(timing, name, value)
            assert time() != before[1] and encoding() == before[0], name


def random_transfers(seed: int, count: int) -> Iterator[Store]:
    rng = np.random.default_rng(seed)
    for _ in range(count):
        seg, x_size, y_size = (int(rng.integers(1, n)) for n in (60, 6, 4))
        x_dram = seg if rng.random() < 0.5 else int(rng.integers(0, 90))
        yield Store(
            dram=int(rng.integers(0, 1 << 14)), sram=int(rng.integers(0, 50)), seg=seg, x_size=x_size, x_dram=x_dram,
            x_sram=int(rng.integers(0, 20)), y_size=y_size, y_dram=int(rng.integers(0, 5000)),
            y_sram=int(rng.integers(0, 60)),
        )  # fmt: skip


def job_of(instr: Store, cfg: Config) -> dict[str, int]:
    return {n: getattr(instr, n) for n in transfer_layout(cfg).members}


@pytest.mark.parametrize("cfg", [TINY, TINY.with_(bus_bits=128, burst_beats=16)], ids=["32 bits", "128 bits"])
def test_burst_walker(cfg: Config) -> None:
    async def bench(ctx: Any) -> None:
        for instr in random_transfers(2, 40):
            expected = bursts(instr, cfg)
            whole = instr.x_dram == instr.seg or instr.x_size == 1
            run_bytes = instr.seg * (instr.x_size if whole else 1)
            ctx.set(dut.job, {**job_of(instr, cfg), "whole": whole, "run_bytes": run_bytes})
            ctx.set(dut.dram, instr.dram)
            ctx.set(dut.whole, whole)
            await ctx.tick()
            ctx.set(dut.dram, 0)
            ctx.set(dut.whole, 0)
            ctx.set(dut.load, 1)
            await ctx.tick()
            ctx.set(dut.load, 0)
            ctx.set(dut.next, 1)
            for k, beats in enumerate(expected):
                assert ctx.get(dut.valid) and ctx.get(dut.beats) == len(beats)
                assert ctx.get(dut.last) == (k == len(expected) - 1)
                await ctx.tick()
            ctx.set(dut.next, 0)
            assert not ctx.get(dut.valid)

    dut = BurstWalker(cfg)
    simulate(dut, bench)


@pytest.mark.parametrize("cfg", [TINY, TINY.with_(bus_bits=128, burst_beats=16)], ids=["32 bits", "128 bits"])
def test_piece_walker(cfg: Config) -> None:
    """The pieces put together move exactly the bytes of the loops, and end their beats where the bus words end."""
    bus = cfg.bus_bytes

    async def bench(ctx: Any) -> None:
        for instr in random_transfers(3, 40):
            whole = instr.x_dram == instr.seg or instr.x_size == 1
            job = {n: v for n, v in job_of(instr, cfg).items() if n in pieces_layout(cfg).members}
            job |= {n: getattr(instr, n) % bus for n in ("dram", "x_dram", "y_dram")}
            room = bus - instr.dram % bus
            seg_end, x_end = instr.seg <= room, instr.x_size == 1
            first = {
                "length": min(instr.seg, room), "seg_end": seg_end, "x_end": x_end, "y_end": instr.y_size == 1,
                "beat_end": instr.seg >= room or (seg_end and (not whole or x_end)),
            }  # fmt: skip
            ctx.set(dut.job, {**job, "whole": whole, "fill": 0, "first": first})
            ctx.set(dut.load, 1)
            await ctx.tick()
            ctx.set(dut.load, 0)
            ctx.set(dut.next, 1)
            loops = product(range(instr.y_size), range(instr.x_size), range(instr.seg))
            expected = []
            for y, x, b in loops:
                source = instr.dram + y * instr.y_dram + x * instr.x_dram + b
                expected.append((source, instr.sram + y * instr.y_sram + x * instr.x_sram + b))
            beats = sum(len(burst) for burst in bursts(instr, cfg))
            at = 0
            while ctx.get(dut.valid):
                length, sram = ctx.get(dut.length), ctx.get(dut.sram)
                for k in range(length):
                    assert ctx.get(dut.position) + k == expected[at + k][0] % bus and sram + k == expected[at + k][1]
                at += length
                beats -= ctx.get(dut.beat_end)
                assert ctx.get(dut.end) == (at == len(expected))
                await ctx.tick()
            ctx.set(dut.next, 0)
            assert at == len(expected) and beats == 0

    dut = PieceWalker(cfg)
    simulate(dut, bench)


@pytest.mark.parametrize("vector_bytes, bus", [(4, 4), (4, 16), (16, 8), (64, 8)])
def test_load_buffer(vector_bytes: int, bus: int) -> None:
    """Pieces of any alignment, read back as vectors."""
    depth = 11
    size = depth * vector_bytes
    rng = np.random.default_rng(vector_bytes)

    async def bench(ctx: Any) -> None:
        model = np.zeros(size, np.uint8)
        for _ in range(300):
            length = int(rng.integers(1, min(bus, size) + 1))
            at = int(rng.integers(0, size - length + 1))
            data = rng.integers(0, 256, bus).astype(np.uint8)
            mask = ((1 << length) - 1) << at % bus
            ctx.set(dut.write, 1)
            ctx.set(dut.word, at // bus)
            ctx.set(dut.bytes, int.from_bytes(data.tobytes(), "little"))
            ctx.set(dut.mask_low, mask & (1 << bus) - 1)
            ctx.set(dut.mask_high, mask >> bus)
            await ctx.tick()
            ctx.set(dut.write, 0)
            for k in range(at, at + length):
                model[k] = data[k % bus]
            index = int(rng.integers(depth))
            ctx.set(dut.index, index)
            await ctx.tick()
            part = model[index * vector_bytes : (index + 1) * vector_bytes]
            assert ctx.get(dut.vector) == int.from_bytes(part.tobytes(), "little")

    dut = LoadBuffer(size, vector_bytes, bus)
    simulate(dut, bench)


@pytest.mark.parametrize("vector_bytes, bus", [(4, 4), (4, 16), (16, 8), (64, 8)])
def test_store_buffer(vector_bytes: int, bus: int) -> None:
    """Vectors, read back as two neighbouring bus words that stay while nothing is read."""
    depth = 12
    size = depth * vector_bytes
    words = size // bus
    rng = np.random.default_rng(vector_bytes)

    async def bench(ctx: Any) -> None:
        model = np.zeros(size + bus, np.uint8)
        for _ in range(300):
            index = int(rng.integers(depth))
            data = rng.integers(0, 256, vector_bytes).astype(np.uint8)
            model[index * vector_bytes : (index + 1) * vector_bytes] = data
            ctx.set(dut.write, 1)
            ctx.set(dut.index, index)
            ctx.set(dut.vector, int.from_bytes(data.tobytes(), "little"))
            await ctx.tick()
            ctx.set(dut.write, 0)
            word = int(rng.integers(words - 1))
            ctx.set(dut.word, word)
            ctx.set(dut.read, 1)
            await ctx.tick()
            ctx.set(dut.read, 0)
            ctx.set(dut.word, int(rng.integers(words)))
            await ctx.tick()
            found = ctx.get(dut.low) | ctx.get(dut.high) << 8 * bus
            assert found == int.from_bytes(model[word * bus : (word + 2) * bus].tobytes(), "little")

    dut = StoreBuffer(size, vector_bytes, bus)
    simulate(dut, bench)


def test_decoder() -> None:
    rng = np.random.default_rng(4)

    legal = (
        Load(buffer=isa.Buffer.INP), Store(), isa.Gemm(), isa.Alu(op=isa.AluOp.ADD, source=isa.AluSource.IMM),
        isa.Requant(), isa.Sync(),
    )  # fmt: skip

    async def bench(ctx: Any) -> None:
        for instr in legal:
            good, kind = isa.encode(instr, TINY), type(instr)
            ctx.set(dut.instruction, good)
            assert ctx.get(dut.legal) and ctx.get(dut.unit) == 1 << kind.UNIT
            layout = isa.fields(kind.OPCODE, TINY)
            for f in layout[1:]:
                if f.name in ("seg", "x_size", "y_size", "uop_count", "iter_out", "iter_in"):
                    ctx.set(dut.instruction, good & ~(((1 << f.width) - 1) << f.offset))
                    assert not ctx.get(dut.legal), f.name
            beyond = layout[-1].offset + layout[-1].width
            ctx.set(dut.instruction, good | 1 << int(rng.integers(beyond, TINY.instruction_bits)))
            assert not ctx.get(dut.legal)
        for opcode in {*range(1 << isa.OPCODE_BITS)} - {*map(int, Opcode)}:
            ctx.set(dut.instruction, opcode)
            assert not ctx.get(dut.legal)

    dut = Decoder(TINY)
    simulate(dut, bench, clocked=False)


def test_interlock() -> None:
    rng = np.random.default_rng(5)
    latency = {True: timing.GEMM_LATENCY, False: timing.VECTOR_LATENCY}
    size = 1 << TINY.acc_index_bits

    async def bench(ctx: Any) -> None:
        written: dict[int, int] = {}
        last: tuple[bool, int] | None = None
        is_gemm, dst, src, reads_dst, reads_src = True, 0, 0, False, False
        for cycle in range(6000):
            writes = bool(rng.integers(2))
            for signal, value in ((dut.gemm, is_gemm), (dut.dst, dst), (dut.writes, writes)):
                ctx.set(signal, value)
            reach = timing.GEMM_HAZARD if is_gemm else timing.VECTOR_HAZARD
            reads = [dst] * reads_dst + [src] * reads_src
            hazard = any(cycle < written.get(d, -99) + reach for d in reads)
            switch = last is not None and last[0] != is_gemm and cycle < last[1] + latency[last[0]]
            assert (ctx.get(dut.hazard), ctx.get(dut.switch)) == (hazard, switch)
            issue = not hazard and not switch and rng.random() < 0.8
            ctx.set(dut.issue, issue)
            if issue:
                last = is_gemm, cycle
                if writes:
                    written[dst] = cycle
            advance = issue or rng.random() < 0.05
            coming = is_gemm ^ bool(rng.random() < 0.1), *(int(rng.integers(6)) for _ in range(2))
            coming = *coming, *(bool(rng.integers(2)) for _ in range(2))
            next_gemm, next_dst, next_src, next_reads_dst, next_reads_src = coming
            steps = [int(rng.integers(size)) for _ in range(2)]
            for signal, value in (
                (dut.advance, advance), (dut.next_gemm, next_gemm), (dut.next_reads_dst, next_reads_dst),
                (dut.next_reads_src, next_reads_src), (dut.dst_step, steps[0]), (dut.src_step, steps[1]),
                (dut.dst_from, (next_dst - steps[0]) % size), (dut.src_from, (next_src - steps[1]) % size),
            ):  # fmt: skip
                ctx.set(signal, value)
            if advance:
                is_gemm, dst, src, reads_dst, reads_src = coming
            await ctx.tick()

    dut = Interlock(TINY)
    simulate(dut, bench)


def test_ports_have_their_standard_names() -> None:
    source = to_verilog(TINY)
    names = set(re.findall(r"^  (?:input|output) (?:\[\d+:0\] )?(\w+);", source, re.M))
    assert set(axi.master_members(TINY)) | set(axi.lite_members()) | {"clk", "rst", "interrupt"} <= names
    for channel, prefix in product(("ar", "r", "aw", "w", "b"), ("axi_", "s_axil_")):
        assert {f"{prefix}{channel}valid", f"{prefix}{channel}ready"} <= names
    assert "axi_wid" in names and "axi_wid" not in axi.master_members(TINY.with_(axi="axi4"))


def test_the_register_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == register_manual(), "run: python -m hw.rtl.manual"
    assert [r.offset for r in REGISTERS] == sorted({r.offset for r in REGISTERS})
    assert REGISTERS[-1].offset < 1 << axi.LITE_ADDRESS_BITS


def test_verilog_for_simulation_joins_byte_lanes_only() -> None:
    """Every lane of the one text is a lane of the other; lockstep runs show that they do the same."""
    plain, joined = to_verilog(TINY), to_verilog(TINY, simulation=True)
    lane = re.compile(r"if \(\S+ ?\[\d+\]\)\n +\S+?\[.+\]\[\d+:\d+\] <= .+;")
    assert len(lane.findall(plain)) > 0 and not lane.findall(joined)
    assert joined.count(" ? ") - plain.count(" ? ") == len(lane.findall(plain))


def test_cycle_0_comes_so_long_after_the_start() -> None:
    async def write(ctx: Any, name: str, value: int) -> None:
        for signal, v in ((dut.s_axil_awaddr, OFFSET[name]), (dut.s_axil_wdata, value), (dut.s_axil_wstrb, 15)):
            ctx.set(signal, v)
        for signal in (dut.s_axil_awvalid, dut.s_axil_wvalid):
            ctx.set(signal, 1)
        assert ctx.get(dut.s_axil_awready) and ctx.get(dut.s_axil_wready)
        await ctx.tick()
        for signal in (dut.s_axil_awvalid, dut.s_axil_wvalid):
            ctx.set(signal, 0)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.s_axil_bready, 1)
        await write(ctx, "PROGRAM_LENGTH", 1)
        await write(ctx, "CONTROL", Control.START)
        for _ in range(timing.START_LATENCY - 1):
            assert not ctx.get(dut.running)
            await ctx.tick()
        assert ctx.get(dut.running)

    dut = ControlUnit(TINY)
    simulate(dut, bench)
