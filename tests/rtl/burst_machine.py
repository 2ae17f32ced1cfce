"""A tiny machine with the ports of the real one, which issues scripted bursts: it tests the native bench.

Each write of register 0 starts the script. Events tell when beats and responses are taken: load_start AR accepted,
load_retire R taken, store_start AW accepted, compute_start W presented, compute_retire W taken, store_retire B taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntFlag
from typing import Any

from amaranth.back import verilog
from amaranth.hdl import Elaboratable

from hw.config import Config
from hw.rtl.hdl import Array, Const, Module, Mux, ResetSignal, Signal


@dataclass(frozen=True)
class ScriptedBurst:
    """A burst of `beats` bus words at bus word `word`, requested no earlier than `pause` cycles after the last was."""

    word: int
    beats: int
    pause: int = 0


class Flaw(IntFlag):
    """Ways to break the protocol, for the checker; written to register 0 with START."""

    START = 1
    DROP_VALID = 2
    CHANGE_PAYLOAD = 4
    LATE_LAST = 8
    CROSS_PAGE = 16
    LONG_BURST = 32
    STUTTER = 64
    """Not a flaw: not ready for read data in the cycles whose number from the start is a multiple of STUTTER_EVERY."""
    EARLY_DATA = 128
    """A burst's data are presented without waiting for its address."""
    WITHDRAW_DATA = 256
    CHANGE_DATA = 512
    WRONG_WID = 1024
    WRONG_SIZE = 2048
    WRAP = 4096
    LOCKED = 8192
    UNALIGNED = 1 << 14
    CHANGE_CACHE = 1 << 15
    EARLY_ANSWER = 1 << 16
    """The control bus answers a write before it takes its data."""
    TALK_IN_RESET = 1 << 17
    NO_READS = 1 << 18
    NO_WRITES = 1 << 19
    """Not flaws: one side keeps silent, for ever."""


STUTTER_EVERY = 3


class BurstMachine(Elaboratable):
    """The machine; `p` are its ports by name."""

    def __init__(self, cfg: Config, reads: Sequence[ScriptedBurst], writes: Sequence[ScriptedBurst]) -> None:
        self.cfg, self.reads, self.writes = cfg, list(reads), list(writes)
        length = 4 if cfg.axi == "axi3" else 8
        address = {"addr": 32, "len": length, "size": 3, "burst": 2, "id": 2, "valid": 1, "ready": 1}
        address |= {"lock": 2 if cfg.axi == "axi3" else 1, "cache": 4, "prot": 3, "qos": 4}
        widths = {f"axi_{c}{n}": w for c in ("ar", "aw") for n, w in address.items()}
        widths |= {
            "axi_rdata": cfg.bus_bits,
            "axi_rid": 2,
            "axi_rresp": 2,
            "axi_rlast": 1,
            "axi_rvalid": 1,
            "axi_rready": 1,
        }
        widths |= {
            "axi_wdata": cfg.bus_bits,
            "axi_wstrb": cfg.bus_bytes,
            "axi_wlast": 1,
            "axi_wvalid": 1,
            "axi_wready": 1,
        }
        widths |= {"axi_bid": 2, "axi_bresp": 2, "axi_bvalid": 1, "axi_bready": 1, "interrupt": 1}
        if cfg.axi == "axi3":
            widths["axi_wid"] = 2
        lite = {"awaddr": 12, "awvalid": 1, "awready": 1, "wdata": 32, "wstrb": 4, "wvalid": 1, "wready": 1, "bresp": 2}
        lite |= {"bvalid": 1, "bready": 1, "araddr": 12, "arvalid": 1, "arready": 1, "rdata": 32, "rresp": 2}
        lite |= {"rvalid": 1, "rready": 1}
        widths |= {f"s_axil_{n}": w for n, w in lite.items()}
        widths |= {f"trace_{u}_{e}": 1 for u in ("load", "compute", "store") for e in ("start", "retire")}
        widths |= {"trace_running": 1, "trace_cause": 4, "trace_compute_last": 1, "trace_dispatch": 1}
        self.p = {name: Signal(width, name=name) for name, width in widths.items()}

    def elaborate(self, platform: object) -> Module:
        m, p, cfg = Module(), self.p, self.cfg
        cycle, running = Signal(32), Signal()
        m.d.comb += p["trace_running"].eq(running)
        with m.If(running):
            m.d.sync += cycle.eq(cycle + 1)
        self._registers(m, running)
        read_left = self._addresses(m, "ar", self.reads, running)
        write_left = self._addresses(m, "aw", self.writes, running)
        total_reads = sum(b.beats for b in self.reads)
        taken, answered = Signal(range(total_reads + 2)), Signal(range(len(self.writes) + 2))
        m.d.comb += p["axi_rready"].eq((cycle % STUTTER_EVERY != 0) | ~self._on(Flaw.STUTTER))
        with m.If(p["axi_rvalid"] & p["axi_rready"]):
            m.d.comb += p["trace_load_retire"].eq(1)
            m.d.sync += [taken.eq(taken + 1), self.checksum.eq(self.checksum * 3 + p["axi_rdata"][:32])]
        m.d.comb += p["axi_bready"].eq(1)
        with m.If(p["axi_bvalid"]):
            m.d.comb += p["trace_store_retire"].eq(1)
            m.d.sync += answered.eq(answered + 1)
        self._data(m)
        done = (taken == total_reads) & (answered == len(self.writes)) & ~read_left & ~write_left
        with m.If(running & done):
            m.d.sync += running.eq(0)
        for channel, unit in (("ar", "load"), ("aw", "store")):
            m.d.comb += p[f"trace_{unit}_start"].eq(p[f"axi_{channel}valid"] & p[f"axi_{channel}ready"])
            refused = p[f"axi_{channel}valid"] & ~p[f"axi_{channel}ready"]
            m.d.comb += [
                p[f"axi_{channel}size"].eq(cfg.bus_bytes.bit_length() - 1 - self._on(Flaw.WRONG_SIZE)),
                p[f"axi_{channel}burst"].eq(Mux(self._on(Flaw.WRAP), 2, 1)),
                p[f"axi_{channel}lock"].eq(self._on(Flaw.LOCKED)),
                p[f"axi_{channel}cache"].eq(Mux(self._on(Flaw.CHANGE_CACHE) & refused, cycle[:4], 0)),
            ]
        return m

    def _on(self, flaw: Flaw) -> Any:
        return self.flaws[int(flaw).bit_length() - 1]

    def _registers(self, m: Module, running: Signal) -> None:
        p = self.p
        self.checksum = Signal(32, name="checksum")
        # Kept by a reset, so that it can be broken too.
        self.flaws = Signal(max(Flaw).bit_length(), name="flaws", reset_less=True)
        ready = p["s_axil_awvalid"] & p["s_axil_wvalid"] & ~p["s_axil_bvalid"]
        early = self._on(Flaw.EARLY_ANSWER)
        m.d.comb += [p["s_axil_awready"].eq(ready), p["s_axil_wready"].eq(ready & ~early)]
        with m.If(ready):
            m.d.sync += [p["s_axil_bvalid"].eq(1), running.eq(1), self.flaws.eq(p["s_axil_wdata"])]
        with m.Elif(p["s_axil_bready"]):
            m.d.sync += p["s_axil_bvalid"].eq(0)
        m.d.comb += p["s_axil_arready"].eq(~p["s_axil_rvalid"])
        with m.If(p["s_axil_arvalid"] & p["s_axil_arready"]):
            m.d.sync += [p["s_axil_rvalid"].eq(1), p["s_axil_rdata"].eq(self.checksum)]
        with m.Elif(p["s_axil_rready"]):
            m.d.sync += p["s_axil_rvalid"].eq(0)

    def _addresses(self, m: Module, channel: str, script: list[ScriptedBurst], running: Signal) -> Signal:
        """The register of an address channel, filled from the script; what is left of it."""
        p, bus = self.p, self.cfg.bus_bytes
        valid, ready = p[f"axi_{channel}valid"], p[f"axi_{channel}ready"]
        index, pause, left = Signal(range(len(script) + 1)), Signal(8), Signal(name=f"{channel}_left")
        m.d.comb += left.eq(valid | (index != len(script)))
        if not script:
            return left
        first = script[0].pause
        started = Signal(name=f"{channel}_started")
        with m.If(valid & ready):
            m.d.sync += valid.eq(0)
        wait = Mux(started, pause, Const(first, 8))
        silent = self._on(Flaw.NO_READS if channel == "ar" else Flaw.NO_WRITES)
        with m.If(running & (index != len(script)) & ~silent):
            m.d.sync += started.eq(1)
            with m.If(wait != 0):
                m.d.sync += pause.eq(wait - 1)
            with m.Elif(~valid | ready):
                beats = Array([Const(b.beats - 1, 8) for b in script])[index]
                address = Array([Const(b.word * bus, 32) for b in script])[index] + self._on(Flaw.UNALIGNED)
                m.d.sync += [
                    valid.eq(1),
                    p[f"axi_{channel}addr"].eq(Mux(self._on(Flaw.CROSS_PAGE), 4096 - bus, address)),
                    p[f"axi_{channel}len"].eq(Mux(self._on(Flaw.LONG_BURST), self.cfg.burst_beats, beats)),
                    p[f"axi_{channel}id"].eq(index),
                    index.eq(index + 1),
                    pause.eq(Array([Const(b.pause, 8) for b in script[1:]] + [Const(0, 8)])[index]),
                ]
        with m.If(valid & ~ready & self._on(Flaw.DROP_VALID)):
            m.d.sync += valid.eq(0)
        with m.If(valid & ~ready & self._on(Flaw.CHANGE_PAYLOAD)):
            m.d.sync += p[f"axi_{channel}addr"].eq(p[f"axi_{channel}addr"] + bus)
        return left

    def _data(self, m: Module) -> None:
        """W beats: word b of all has b + 1 in every byte; strobes of all bytes but, in odd words, the first."""
        p = self.p
        if not self.writes:
            return
        accepted, burst = Signal(range(len(self.writes) + 1)), Signal(range(len(self.writes) + 1))
        beat, number = Signal(8), Signal(8)
        with m.If(p["axi_awvalid"] & p["axi_awready"]):
            m.d.sync += accepted.eq(accepted + 1)
        taken, refused = Signal(), Signal()
        m.d.sync += refused.eq(p["axi_wvalid"] & ~p["axi_wready"])
        last = Array([Const(b.beats - 1, 8) for b in self.writes] + [Const(0, 8)])[burst] == beat
        m.d.comb += [
            p["axi_wvalid"].eq(
                ((burst < accepted) | (self._on(Flaw.EARLY_DATA) & (burst != len(self.writes))))
                & ~(refused & self._on(Flaw.WITHDRAW_DATA))
                | (ResetSignal() & self._on(Flaw.TALK_IN_RESET))
            ),
            taken.eq(p["axi_wvalid"] & p["axi_wready"]),
            p["trace_compute_retire"].eq(taken),
            p["axi_wlast"].eq(last & ~self._on(Flaw.LATE_LAST)),
            p["axi_wstrb"].eq(Mux(number[0], ~Const(1, self.cfg.bus_bytes), ~Const(0, self.cfg.bus_bytes))),
        ]
        if "axi_wid" in p:
            m.d.comb += p["axi_wid"].eq(burst + self._on(Flaw.WRONG_WID))
        for i in range(self.cfg.bus_bytes):
            m.d.comb += p["axi_wdata"][8 * i : 8 * i + 8].eq(number + 1 + (refused & self._on(Flaw.CHANGE_DATA)))
        with m.If(taken):
            m.d.sync += [beat.eq(beat + 1), number.eq(number + 1)]
            with m.If(last):
                m.d.sync += [beat.eq(0), burst.eq(burst + 1)]


def burst_verilog(cfg: Config, reads: Sequence[ScriptedBurst], writes: Sequence[ScriptedBurst]) -> str:
    """Its Verilog, with top module `vdla`."""
    machine = BurstMachine(cfg, reads, writes)
    return verilog.convert(machine, name="vdla", ports=list(machine.p.values()), emit_src=False)
