"""A controller for one 16-bit SDR SDRAM chip, whose burst is one bus word.

The chip keeps a row open in each bank until another is asked for there or a refresh is due. Command and data leave
through a register at each pin, and data comes in through one: those are the I/O cells of the FPGA and not in here.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor
from typing import Any

from amaranth.lib import fifo
from amaranth.lib.wiring import Signature

from hw.config import Config
from hw.errors import ConfigError
from hw.harness.port import MemoryPort
from hw.rtl.hdl import Array, Cat, Component, In, Module, Mux, Out, Signal
from hw.rtl.layouts import BYTE_BITS
from hw.rtl.logic import exact_log2

DATA_BITS = 16
LANES = DATA_BITS // BYTE_BITS
BURSTS = (2, 4, 8)
"""Bursts that the chips know."""
READ_DEPTH = 8
"""Bus words read ahead of who takes them."""
PRECHARGE_ALL = 1 << 10
START_REFRESHES = 8


@dataclass(frozen=True)
class Chip:
    """A chip's geometry, and its times in ns, of the slowest of those that the board is sold with."""

    row_bits: int = 13
    column_bits: int = 9
    bank_bits: int = 2
    cas_latency: int = 2
    start_ns: float = 200_000.0
    precharge_ns: float = 20.0
    activate_ns: float = 20.0
    """From ACTIVATE to READ or WRITE."""
    row_ns: float = 45.0
    """From ACTIVATE to PRECHARGE, at least."""
    refresh_ns: float = 66.0
    """From REFRESH to the next command."""
    interval_ns: float = 7_812.5
    """From one REFRESH to the next, at most."""
    write_cycles: int = 2
    """From a write's last data to PRECHARGE."""
    mode_cycles: int = 2

    @property
    def size(self) -> int:
        """Bytes."""
        return LANES << (self.row_bits + self.column_bits + self.bank_bits)


class SdramPins(Signature):
    """The chip's pins from the controller, all before (outputs) or behind (`dq_i`) the registers of the I/O cells."""

    def __init__(self, chip: Chip) -> None:
        super().__init__(
            {
                "cke": Out(1),
                "ras_n": Out(1, init=1),
                "cas_n": Out(1, init=1),
                "we_n": Out(1, init=1),
                "ba": Out(chip.bank_bits),
                "a": Out(chip.row_bits),
                "dqm": Out(LANES),
                "dq_o": Out(DATA_BITS),
                "dq_oe": Out(1),
                "dq_i": In(DATA_BITS),
            }
        )


def words_a_beat(cfg: Config) -> int:
    """Words of the chip that make one of the bus; the chip delivers them in one burst.  Raises ConfigError."""
    words = cfg.bus_bits // DATA_BITS
    if words not in BURSTS:
        legal = ", ".join(str(DATA_BITS * b) for b in BURSTS)
        raise ConfigError("vdla.bus_bits", f"{cfg.bus_bits} does not suit the board's SDRAM", f"try {legal}")
    return words


class Sdram(Component):
    """The memory at `port`, in the chip at `pins`, at the machine's clock.

    Raises ConfigError for a bus that is not 2, 4 or 8 times as wide as the chip.
    """

    def __init__(self, cfg: Config, chip: Chip) -> None:
        self._cfg, self._chip = cfg, chip
        self._burst = words_a_beat(cfg)
        super().__init__({"port": In(MemoryPort(cfg)), "pins": Out(SdramPins(chip))})

    def elaborate(self, platform: object) -> Module:
        m, chip, pins = Module(), self._chip, self.pins
        # Cycles until the next command, and until a PRECHARGE; set to one less than the distance from this one.
        self._wait, self._row_wait = Signal(range(self._cycles(chip.start_ns) + 1)), Signal(range(64))
        with m.If(self._wait != 0):
            m.d.sync += self._wait.eq(self._wait - 1)
        with m.If(self._row_wait != 0):
            m.d.sync += self._row_wait.eq(self._row_wait - 1)
        due, refreshed = self._refresh_timer(m)
        ready = Signal()
        m.d.comb += [pins.cke.eq(1), ready.eq(self._wait == 0)]
        with m.FSM():
            self._start(m, ready)
            with m.State("RUN"):
                self._run(m, ready, due, refreshed)
        return m

    def _cycles(self, ns: float) -> int:
        return max(1, ceil(ns * self._cfg.clock_mhz / 1000))

    def _refresh_timer(self, m: Module) -> tuple[Signal, Signal]:
        """When a refresh is due, and the signal that says that it was done."""
        # Early by the longest time for which commands under way can hold it up.
        period = floor(self._chip.interval_ns * self._cfg.clock_mhz / 1000) - 32
        timer, due, refreshed = Signal(range(period)), Signal(), Signal()
        with m.If(refreshed):
            m.d.sync += due.eq(0)
        with m.If(timer == 0):
            m.d.sync += [timer.eq(period - 1), due.eq(1)]
        with m.Else():
            m.d.sync += timer.eq(timer - 1)
        return due, refreshed

    def _command(self, m: Module, name: str, distance: Any, address: Any = 0) -> None:
        """Gives the command; the next may follow `distance` cycles later."""
        pins = self.pins
        low = {
            "activate": (pins.ras_n,),
            "read": (pins.cas_n,),
            "write": (pins.cas_n, pins.we_n),
            "precharge": (pins.ras_n, pins.we_n),
            "refresh": (pins.ras_n, pins.cas_n),
            "mode": (pins.ras_n, pins.cas_n, pins.we_n),
        }
        m.d.comb += [*(pin.eq(0) for pin in low[name]), pins.a.eq(address)]
        m.d.sync += self._wait.eq(distance - 1)

    def _start(self, m: Module, ready: Signal) -> None:
        """The chip's initialisation: a pause, PRECHARGE, some REFRESH, the mode."""
        chip = self._chip
        refreshes = Signal(range(START_REFRESHES), init=START_REFRESHES - 1)
        with m.State("POWER"):
            m.d.sync += self._wait.eq(self._cycles(chip.start_ns))
            m.next = "PRECHARGE"
        with m.State("PRECHARGE"), m.If(ready):
            self._command(m, "precharge", self._cycles(chip.precharge_ns), PRECHARGE_ALL)
            m.next = "REFRESH"
        with m.State("REFRESH"), m.If(ready):
            self._command(m, "refresh", self._cycles(chip.refresh_ns))
            m.d.sync += refreshes.eq(refreshes - 1)
            with m.If(refreshes == 0):
                m.next = "MODE"
        with m.State("MODE"), m.If(ready):
            self._command(m, "mode", chip.mode_cycles, exact_log2(self._burst) | chip.cas_latency << 4)
            m.next = "RUN"

    def _run(self, m: Module, ready: Signal, due: Signal, refreshed: Signal) -> None:
        chip, port, pins, burst = self._chip, self.port, self.pins, self._burst
        request = port.request.p
        word, left, writing = Signal(len(request.word)), Signal.like(request.beats), Signal()
        unread = Signal.like(request.beats)
        with m.If(port.request.valid & port.request.ready):
            m.d.sync += [
                word.eq(request.word),
                left.eq(request.beats),
                unread.eq(Mux(request.write, 0, request.beats)),
                writing.eq(request.write),
            ]
        with m.If(port.read.valid & port.read.ready):
            m.d.sync += unread.eq(unread - 1)
        m.d.comb += port.request.ready.eq((left == 0) & (unread == 0))

        in_row = chip.column_bits - exact_log2(burst)
        column = word[:in_row] << exact_log2(burst)
        bank, row = word[in_row:][: chip.bank_bits], word[in_row + chip.bank_bits :][: chip.row_bits]
        is_open = Signal(1 << chip.bank_bits)
        rows = Array(Signal(chip.row_bits, name=f"row_{b}") for b in range(1 << chip.bank_bits))
        here, hit = Signal(), Signal()
        m.d.comb += [here.eq(is_open.bit_select(bank, 1)), hit.eq(here & (rows[bank] == row)), pins.ba.eq(bank)]

        read, write = Signal(), Signal()
        room = self._read_path(m, read)
        self._write_path(m, write, writing & (left != 0))
        with m.If(read | write):
            m.d.sync += [word.eq(word + 1), left.eq(left - 1)]
        m.d.comb += [
            port.write.ready.eq(write),
            port.done.eq((write & (left == 1)) | (port.read.valid & port.read.ready & (unread == 1))),
        ]
        with m.If(~ready):
            pass
        with m.Elif(due & is_open.any()):
            with m.If(self._row_wait == 0):
                self._command(m, "precharge", self._cycles(chip.precharge_ns), PRECHARGE_ALL)
                m.d.sync += is_open.eq(0)
        with m.Elif(due):
            self._command(m, "refresh", self._cycles(chip.refresh_ns))
            m.d.comb += refreshed.eq(1)
        with m.Elif(left == 0):
            pass
        with m.Elif(hit):
            with m.If(writing & port.write.valid):
                self._command(m, "write", burst, column)
                m.d.comb += write.eq(1)
                m.d.sync += self._row_wait.eq(burst - 1 + chip.write_cycles)
            with m.Elif(~writing & room):
                self._command(m, "read", burst, column)
                m.d.comb += read.eq(1)
        with m.Elif(here):
            with m.If(self._row_wait == 0):
                self._command(m, "precharge", self._cycles(chip.precharge_ns))
                m.d.sync += is_open.bit_select(bank, 1).eq(0)
        with m.Else():
            self._command(m, "activate", self._cycles(chip.activate_ns), row)
            m.d.sync += [
                self._row_wait.eq(self._cycles(chip.row_ns) - 1),
                is_open.bit_select(bank, 1).eq(1),
                rows[bank].eq(row),
            ]

    def _read_path(self, m: Module, read: Signal) -> Any:
        """From the pins to `port.read`; returns whether there is room for another word."""
        port, pins, burst = self.port, self.pins, self._burst
        m.submodules.words = words = fifo.SyncFIFO(width=self._cfg.bus_bits, depth=READ_DEPTH)
        # The register at the pin adds one cycle each way; the last data follow burst - 1 cycles after the first.
        coming = Signal(self._chip.cas_latency + burst)
        gathered, promised = Signal(self._cfg.bus_bits), Signal(range(READ_DEPTH + 1))
        whole = Cat(gathered[DATA_BITS:], pins.dq_i)
        m.d.sync += [
            coming.eq(Cat(read, coming)),
            gathered.eq(whole),
            promised.eq(promised + read - (port.read.valid & port.read.ready)),
        ]
        m.d.comb += [
            words.w_data.eq(whole),
            words.w_en.eq(coming[-1]),
            port.read.p.eq(words.r_data),
            port.read.valid.eq(words.r_rdy),
            words.r_en.eq(port.read.ready),
        ]
        return promised != READ_DEPTH

    def _write_path(self, m: Module, write: Signal, writing: Any) -> None:
        """From `port.write` to the pins: the first data with the command, the others in the cycles after it."""
        pins, beat = self.pins, self.port.write.p
        rest, lanes = Signal(self._cfg.bus_bits - DATA_BITS), Signal(self._cfg.bus_bytes - LANES)
        busy = Signal(self._burst - 1)
        m.d.sync += [rest.eq(rest >> DATA_BITS), lanes.eq(lanes >> LANES), busy.eq(Cat(write, busy))]
        m.d.comb += [pins.dq_o.eq(rest), pins.dq_oe.eq(writing | busy.any())]
        with m.If(busy.any()):
            m.d.comb += pins.dqm.eq(~lanes[:LANES])
        with m.If(write):
            m.d.sync += [rest.eq(beat.data[DATA_BITS:]), lanes.eq(beat.strobe[LANES:])]
            m.d.comb += [pins.dq_o.eq(beat.data), pins.dqm.eq(~beat.strobe[:LANES])]
