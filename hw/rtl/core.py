"""The units of the machine, with queues, tokens and buffers between them: all that one reset clears."""

from __future__ import annotations

from typing import Any

from hw.config import Config
from hw.isa import Buffer, Unit
from hw.rtl import load
from hw.rtl.axi import ADDRESS_BITS, ReadId
from hw.rtl.banks import LoadBuffer, StoreBuffer
from hw.rtl.compute import ComputeUnit
from hw.rtl.fetch import LENGTH_BITS, Fetch
from hw.rtl.hdl import Cat, Component, In, Module, Out, Signal
from hw.rtl.load import LoadUnit
from hw.rtl.logic import exact_log2
from hw.rtl.queue import CommandQueue
from hw.rtl.read_port import ReadPort
from hw.rtl.sequencer import LONGEST
from hw.rtl.store import StoreUnit
from hw.rtl.tokens import InFlight, TokenCounter
from hw.timing import CAUSES, STORE_RETIRE


class Core(Component):
    """Everything but the control registers.

    `start` takes `address` and `length` of a program; the next cycle is its cycle 0. `stop` ends all asking for
    memory; when `outstanding` falls, the core may be reset. `dispatch`, `starts`, `retires` have one bit a unit.
    `waiting`: no compute instruction is left in queue or stages. `working`: load's data side, the issue stage, store's
    walk.
    """

    def __init__(self, cfg: Config, packed: bool = False) -> None:
        self._cfg, self._packed = cfg, packed
        word, beats = ADDRESS_BITS - exact_log2(cfg.bus_bytes), range(cfg.burst_beats + 1)
        units = len(Unit)
        super().__init__(
            {
                "start": In(1),
                "address": In(ADDRESS_BITS),
                "length": In(LENGTH_BITS),
                "stop": In(1),
                "outstanding": Out(1),
                "illegal": Out(1),
                "dispatch": Out(units),
                "starts": Out(units),
                "retires": Out(units),
                "last": Out(1),
                "cause": Out(range(len(CAUSES))),
                "waiting": Out(1),
                "working": Out(units),
                "arvalid": Out(1),
                "arready": In(1),
                "arid": Out(ReadId),
                "arword": Out(word),
                "arbeats": Out(beats),
                "rvalid": In(1),
                "rready": Out(1),
                "rid": In(ReadId),
                "rlast": In(1),
                "rdata": In(cfg.bus_bits),
                "awvalid": Out(1),
                "awready": In(1),
                "awword": Out(word),
                "awbeats": Out(beats),
                "wvalid": Out(1),
                "wready": In(1),
                "wdata": Out(cfg.bus_bits),
                "wstrb": Out(cfg.bus_bytes),
                "wlast": Out(1),
                "bvalid": In(1),
                "bready": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m, cfg = Module(), self._cfg
        m.submodules.fetch = fetch = Fetch(cfg)
        m.submodules.load = loader = LoadUnit(cfg)
        m.submodules.compute = compute = ComputeUnit(cfg, self._packed)
        m.submodules.store = store = StoreUnit(cfg)
        units: dict[Unit, Any] = {Unit.LOAD: loader, Unit.COMPUTE: compute, Unit.STORE: store}
        self._commands(m, fetch, units)
        self._read_port(m, fetch, loader)
        self._write_port(m, store)
        self._buffers(m, loader, compute, store)
        m.d.comb += [
            fetch.start.eq(self.start),
            fetch.address.eq(self.address),
            fetch.length.eq(self.length),
            fetch.stop.eq(self.stop),
            self.illegal.eq(fetch.illegal),
            self.dispatch.eq(fetch.dispatch),
            self.last.eq(compute.done),
            self.working.eq(Cat(loader.working, compute.issuing, store.working)),
        ]
        return m

    def _commands(self, m: Module, fetch: Fetch, units: dict[Unit, Any]) -> None:
        """Queues, token counters, starts and retirements of the three units (docs/timing.md, section 2)."""
        cfg = self._cfg
        depths = {Unit.LOAD: cfg.load_queue, Unit.COMPUTE: cfg.compute_queue, Unit.STORE: cfg.store_queue}
        latency = {Unit.LOAD: load.DONE_LATENCY, Unit.COMPUTE: LONGEST, Unit.STORE: STORE_RETIRE}
        tokens: dict[tuple[Unit, Unit], TokenCounter] = {}
        for a, b in ((Unit.LOAD, Unit.COMPUTE), (Unit.COMPUTE, Unit.STORE)):
            for pair in ((a, b), (b, a)):
                tokens[pair] = counter = TokenCounter(cfg.token_depth)
                m.submodules[f"tokens_{pair[0].name.lower()}_{pair[1].name.lower()}"] = counter
        missing: dict[Unit, list[Any]] = {}
        for unit, block in units.items():
            name = unit.name.lower()
            m.submodules[f"{name}_queue"] = queue = CommandQueue(cfg, unit, depths[unit])
            m.submodules[f"{name}_flight"] = flight = InFlight(latency[unit])
            neighbours = [Unit(unit + step) if unit + step in set(Unit) else None for step in (-1, 1)]
            pops = [queue.flags.pop_prev, queue.flags.pop_next]
            missing[unit] = []
            for side, other in enumerate(neighbours):
                if other is None:
                    m.d.comb += flight.token_room[side].eq(1)
                    continue
                into, out = tokens[other, unit], tokens[unit, other]
                lacks = Signal(name=f"{name}_lacks_{other.name.lower()}")
                m.d.comb += [
                    lacks.eq(pops[side] & ~into.available),
                    into.pop.eq(queue.pop & pops[side]),
                    out.push.eq(flight.push[side]),
                    flight.token_room[side].eq(out.room),
                ]
                missing[unit].append(lacks)
            m.d.comb += [
                queue.push.eq(fetch.dispatch[unit]),
                queue.word.eq(fetch.instruction),
                fetch.room[unit].eq(queue.room),
                queue.pop.eq(queue.visible & ~Cat(*missing[unit]).any() & flight.room & block.free),
                block.start.eq(queue.pop),
                block.instruction.eq(queue.instruction),
                flight.start.eq(queue.pop),
                flight.pushes.eq(Cat(queue.flags.push_prev, queue.flags.push_next)),
                flight.done.eq(block.done),
                flight.latency.eq(block.latency if unit == Unit.COMPUTE else latency[unit]),
                self.starts[unit].eq(queue.pop),
                self.retires[unit].eq(flight.retire),
            ]
            if unit == Unit.COMPUTE:
                self._cause(m, block, queue, missing[unit])

    def _cause(self, m: Module, compute: ComputeUnit, queue: CommandQueue, lacks: list[Any]) -> None:
        idle = ~compute.busy
        m.d.comb += self.waiting.eq(idle & ~queue.visible)
        with m.If(self.waiting):
            m.d.comb += self.cause.eq(CAUSES.index("fetch"))
        with m.Elif(idle & lacks[0]):
            m.d.comb += self.cause.eq(CAUSES.index("wait_load"))
        with m.Elif(idle & lacks[1]):
            m.d.comb += self.cause.eq(CAUSES.index("wait_store"))
        with m.Else():
            m.d.comb += self.cause.eq(compute.cause)

    def _read_port(self, m: Module, fetch: Fetch, loader: LoadUnit) -> None:
        m.submodules.read_port = port = ReadPort(self._cfg)
        ready = {"fetch": 1, "load": loader.ready}
        for name, master in {"fetch": fetch, "load": loader}.items():
            m.d.comb += [
                getattr(port, f"{name}_request").eq(master.request),
                getattr(port, f"{name}_word").eq(master.word),
                getattr(port, f"{name}_beats").eq(master.beats),
                master.granted.eq(getattr(port, f"{name}_granted")),
                master.beat.eq(getattr(port, f"{name}_beat")),
                master.data.eq(self.rdata),
                getattr(port, f"{name}_ready").eq(ready[name]),
            ]
        m.d.comb += [
            port.stop.eq(self.stop),
            *(getattr(port, n).eq(getattr(self, n)) for n in ("arready", "rvalid", "rid", "rlast")),
            *(getattr(self, n).eq(getattr(port, n)) for n in ("arvalid", "arid", "arword", "arbeats", "rready")),
        ]
        self._reading = port.outstanding

    def _write_port(self, m: Module, store: StoreUnit) -> None:
        outputs = ("awvalid", "awword", "awbeats", "wvalid", "wdata", "wstrb", "wlast", "bready")
        m.d.comb += [
            store.stop.eq(self.stop),
            *(getattr(store, n).eq(getattr(self, n)) for n in ("awready", "wready", "bvalid")),
            *(getattr(self, n).eq(getattr(store, n)) for n in outputs),
            self.outstanding.eq(self._reading | store.outstanding),
        ]

    def _buffers(self, m: Module, loader: LoadUnit, compute: ComputeUnit, store: StoreUnit) -> None:
        cfg = self._cfg
        piece = loader.piece
        for kind in Buffer:
            name = kind.name.lower()
            size, vector = getattr(cfg, f"{name}_buffer"), getattr(cfg, f"{name}_vector_bytes")
            m.submodules[f"{name}_buffer"] = buffer = LoadBuffer(size, vector, cfg.bus_bytes)
            m.d.comb += [
                buffer.write.eq(loader.write & (piece.buffer == kind)),
                buffer.word.eq(piece.word),
                *(getattr(buffer, n).eq(piece[n]) for n in ("bytes", "mask_low", "mask_high")),
                buffer.index.eq(getattr(compute, f"{name}_index")),
                getattr(compute, f"{name}_vector").eq(buffer.vector),
            ]
            if kind == Buffer.UOP:
                m.d.comb += buffer.read.eq(compute.uop_read)
        m.submodules.out_buffer = out = StoreBuffer(cfg.out_buffer, cfg.out_vector_bytes, cfg.bus_bytes)
        m.d.comb += [
            out.write.eq(compute.out_write),
            out.index.eq(compute.out_index),
            out.vector.eq(compute.out_vector),
            out.read.eq(store.read),
            out.word.eq(store.word),
            store.low.eq(out.low),
            store.high.eq(out.high),
        ]
