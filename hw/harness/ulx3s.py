"""The pins, clocks and I/O cells of the ULX3S around the harness; boards/ulx3s.lpf says where the pins are."""

from __future__ import annotations

from typing import Any

from amaranth.back import verilog
from amaranth.hdl import Elaboratable, Instance, IOPort
from amaranth.lib.cdc import FFSynchronizer, ResetSynchronizer

from hw.config import Board, Config
from hw.harness.pll import PllSettings
from hw.harness.sdram import DATA_BITS, SdramPins
from hw.harness.top import Harness, HarnessConfig
from hw.rtl.hdl import Cat, ClockDomain, ClockSignal, Module, Signal

TOP = "ulx3s"
OSCILLATOR_MHZ = 25.0
SDRAM_PHASE = 0.25
"""By how much of a period the chip's clock is behind ours. Our commands then reach it a quarter before its edge, and
its data, 6 ns after an edge, a good half period before ours: with the delay of the pins both ways, room on either
side from 25 to 75 MHz."""
LEDS = 8
CHIP_PINS = {
    "cke": "cke", "ras_n": "rasn", "cas_n": "casn", "we_n": "wen", "ba": "ba", "a": "a", "dqm": "dqm",
}  # fmt: skip
"""The controller's names of its outputs, and the board's."""


class Ulx3s(Elaboratable):
    """The board's top. `ports` are its pins, named as in the board's constraints."""

    def __init__(self, cfg: Config, harness: HarnessConfig) -> None:
        self._cfg, self._harness = cfg, harness
        names = ("clk_25mhz", "ftdi_txd", "ftdi_rxd", "btn_pwr_n", "wifi_gpio0")
        self.clk_25mhz, self.ftdi_txd, self.ftdi_rxd, self.btn_pwr_n, self.wifi_gpio0 = (Signal(name=n) for n in names)
        self.led = Signal(LEDS, name="led")
        self.ports: list[Any] = [
            self.clk_25mhz, self.ftdi_txd, self.btn_pwr_n, self.ftdi_rxd, self.wifi_gpio0, self.led,
        ]  # fmt: skip
        if not harness.block_memory:
            self._chip_clk, self._chip_data = Signal(name="sdram_clk"), IOPort(DATA_BITS, name="sdram_d")
            self._chip_csn = Signal(name="sdram_csn")
            widths: Any = SdramPins(harness.chip).members
            self._chip_pins = {ours: Signal(widths[ours].shape, name=f"sdram_{pin}") for ours, pin in CHIP_PINS.items()}
            self.ports += [self._chip_clk, self._chip_data, self._chip_csn, *self._chip_pins.values()]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.harness = harness = Harness(self._cfg, self._harness)
        button = Signal(init=1)
        m.submodules.button = FFSynchronizer(self.btn_pwr_n, button, init=1)
        chip_clock = self._clocks(m)
        m.d.comb += [
            harness.rx.eq(self.ftdi_txd),
            self.ftdi_rxd.eq(harness.tx),
            # Low, it would let the board's microcontroller take over.
            self.wifi_gpio0.eq(1),
        ]
        alive = Signal(25)
        m.d.sync += [
            alive.eq(alive + 1),
            self.led.eq(Cat(alive[-1], harness.running, harness.interrupt, ~harness.rx, ~harness.tx)),
        ]
        if not self._harness.block_memory:
            self._sdram(m, harness.sdram, chip_clock)
        return m

    def _clocks(self, m: Module) -> Signal:
        """Domain `sync`, in reset until the clock is stable and while the button is pressed; the chip's clock."""
        pll = PllSettings.of(OSCILLATOR_MHZ, self._cfg.clock_mhz)
        domain: Any = ClockDomain("sync")
        m.domains += domain
        chip_clock, locked = Signal(name="chip_clk"), Signal()
        late, eighths = pll.delayed_by(SDRAM_PHASE)
        m.submodules.pll = Instance(
            "EHXPLLL",
            a_FREQUENCY_PIN_CLKI=f"{OSCILLATOR_MHZ:g}",
            a_FREQUENCY_PIN_CLKOP=f"{self._cfg.clock_mhz:g}",
            a_FREQUENCY_PIN_CLKOS=f"{self._cfg.clock_mhz:g}",
            p_CLKI_DIV=pll.reference,
            p_CLKFB_DIV=pll.feedback,
            p_FEEDBK_PATH="CLKOP",
            p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_DIV=pll.output,
            p_CLKOP_CPHASE=pll.first_phase,
            p_CLKOP_FPHASE=0,
            p_CLKOS_ENABLE="ENABLED",
            p_CLKOS_DIV=pll.output,
            p_CLKOS_CPHASE=late,
            p_CLKOS_FPHASE=eighths,
            i_CLKI=self.clk_25mhz,
            i_CLKFB=domain.clk,
            i_RST=0,
            i_STDBY=0,
            o_CLKOP=domain.clk,
            o_CLKOS=chip_clock,
            o_LOCK=locked,
        )
        m.submodules.reset = ResetSynchronizer(~locked | ~self.btn_pwr_n)
        return chip_clock

    def _sdram(self, m: Module, pins: Any, chip_clock: Signal) -> None:
        """Registers at the pins, and the chip's clock as a pin driven like data, so that it is as late as those."""

        for name, pin in self._chip_pins.items():
            for k, bit in enumerate(getattr(pins, name)):
                m.submodules[f"{name}_{k}"] = self._register("OFS1P3DX", bit, pin[k])
        m.submodules.clock_pin = Instance("ODDRX1F", i_SCLK=chip_clock, i_RST=0, i_D0=1, i_D1=0, o_Q=self._chip_clk)
        m.d.comb += self._chip_csn.eq(0)
        drives = Signal()
        m.d.sync += drives.eq(pins.dq_oe)
        for k in range(DATA_BITS):
            out, into = Signal(name=f"to_pin_{k}"), Signal(name=f"from_pin_{k}")
            m.submodules[f"out_{k}"] = self._register("OFS1P3DX", pins.dq_o[k], out)
            m.submodules[f"into_{k}"] = self._register("IFS1P3DX", into, pins.dq_i[k])
            m.submodules[f"pin_{k}"] = Instance("BB", i_I=out, i_T=~drives, o_O=into, io_B=self._chip_data[k])

    def _register(self, cell: str, value: Any, register: Any) -> Instance:
        return Instance(cell, i_SCLK=ClockSignal(), i_SP=1, i_CD=0, i_D=value, o_Q=register)


def to_verilog(board: Board, cfg: Config, block_memory_kib: int = 0) -> str:
    """The whole design for the board; the top module is called TOP.  Raises ConfigError."""
    top = Ulx3s(cfg, HarnessConfig.of(board, cfg, block_memory_kib))
    return verilog.convert(top, name=TOP, ports=top.ports, emit_src=False)
