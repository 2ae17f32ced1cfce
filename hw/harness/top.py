"""All that surrounds the machine on a board without a processor, up to the pins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amaranth.lib import fifo
from amaranth.lib.wiring import connect, flipped

from hw.config import Board, Config
from hw.errors import ConfigError
from hw.harness.arbiter import Arbiter
from hw.harness.axi_slave import AxiSlave
from hw.harness.block_memory import BlockMemory
from hw.harness.link import Link
from hw.harness.protocol import GAP_BITS
from hw.harness.sdram import Chip, Sdram, SdramPins
from hw.harness.serial import LEAST_DIVISOR, Receiver, Transmitter
from hw.rtl import Vdla, axi
from hw.rtl.hdl import Component, In, Module, Out
from hw.rtl.layouts import BYTE_BITS

RECEIVE_DEPTH = 64
"""Bytes that can come in while the memory is busy."""
BAUD_TOLERANCE = 0.02
"""How far the line's rate may be from the wanted one, as a share: half a bit over a byte's ten is 0.05, less jitter."""


@dataclass(frozen=True)
class HarnessConfig:
    """What surrounds the machine.

    Attributes:
        divisor: clock cycles of a bit on the serial line.
        block_memory: bytes of block RAM as memory, a power of two; 0: the SDRAM chip is the memory.
        chip: of the board.
        gap_bits: bit times of silence after which a request is forgotten.
    """

    divisor: int
    block_memory: int = 0
    chip: Chip = Chip()
    gap_bits: int = GAP_BITS

    @classmethod
    def of(cls, board: Board, cfg: Config, block_memory_kib: int = 0) -> HarnessConfig:
        """At the machine's clock, with the line's rate from `uart_baud` of the board's file.  Raises ConfigError."""
        baud = board.facts.get("uart_baud")
        if isinstance(baud, bool) or not isinstance(baud, int) or baud <= 0:
            raise ConfigError("board.uart_baud", f"{baud!r} is not a rate of the serial line", "try 1000000")
        clock = cfg.clock_mhz * 1e6
        divisor = round(clock / baud)
        if divisor < LEAST_DIVISOR or abs(clock / divisor / baud - 1) > BAUD_TOLERANCE:
            legal = f"try {round(clock / max(divisor, LEAST_DIVISOR))}"
            raise ConfigError("board.uart_baud", f"{baud} does not divide the clock of {cfg.clock_mhz} MHz", legal)
        if block_memory_kib < 0 or block_memory_kib & (block_memory_kib - 1):
            raise ConfigError("block_memory_kib", f"{block_memory_kib} is not a power of two", "try 128")
        return cls(divisor, block_memory_kib * 1024)

    @property
    def size(self) -> int:
        """Bytes of memory."""
        return self.block_memory or self.chip.size


class Harness(Component):
    """The machine, its memory, and the link at the serial line `rx`, `tx`; `sdram` goes to the chip, if that is used.

    `interrupt` and `running` are the machine's, for lights.
    """

    def __init__(self, cfg: Config, harness: HarnessConfig) -> None:
        self._cfg, self._harness = cfg, harness
        members: dict[str, Any] = {"rx": In(1, init=1), "tx": Out(1, init=1), "interrupt": Out(1), "running": Out(1)}
        if not harness.block_memory:
            members["sdram"] = Out(SdramPins(harness.chip))
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m, cfg, harness = Module(), self._cfg, self._harness
        size, divisor = harness.size, harness.divisor
        m.submodules.vdla = vdla = Vdla(cfg)
        m.submodules.axi_slave = slave = AxiSlave(cfg, size)
        m.submodules.link = link = Link(cfg, size, harness.gap_bits * divisor)
        m.submodules.arbiter = arbiter = Arbiter(cfg)
        m.submodules.receiver = receiver = Receiver(divisor)
        m.submodules.transmitter = transmitter = Transmitter(divisor)
        m.submodules.received = received = fifo.SyncFIFO(width=BYTE_BITS, depth=RECEIVE_DEPTH)
        memory: Any = BlockMemory(cfg, size) if harness.block_memory else Sdram(cfg, harness.chip)
        m.submodules.memory = memory
        if not harness.block_memory:
            connect(m, memory.pins, flipped(self.sdram))
        connect(m, slave.memory, arbiter.first)
        connect(m, link.memory, arbiter.second)
        connect(m, arbiter.memory, memory.port)
        connect(m, link.sent, transmitter.bytes)
        for name, member in axi.master_members(cfg).items():
            here, there = (vdla, slave) if member.flow is Out else (slave, vdla)
            m.d.comb += getattr(there, name).eq(getattr(here, name))
        for name, member in axi.lite_members("").items():
            at_vdla, at_link = getattr(vdla, f"s_axil_{name}"), getattr(link, f"m_axil_{name}")
            m.d.comb += at_link.eq(at_vdla) if member.flow is Out else at_vdla.eq(at_link)
        m.d.comb += [
            receiver.rx.eq(self.rx),
            self.tx.eq(transmitter.tx),
            received.w_data.eq(receiver.bytes.p),
            received.w_en.eq(receiver.bytes.valid),
            receiver.bytes.ready.eq(1),
            link.received.p.eq(received.r_data),
            link.received.valid.eq(received.r_rdy),
            received.r_en.eq(link.received.ready),
            link.interrupt.eq(vdla.interrupt),
            self.interrupt.eq(vdla.interrupt),
            self.running.eq(vdla.trace_running),
        ]
        return m
