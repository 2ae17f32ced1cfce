"""The files of a Vivado project, from the machine's ports and the board's facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hw.config import Config
from hw.errors import ConfigError
from hw.rtl import axi
from hw.rtl.registers import REGISTERS
from hw.synth.flow import Build
from hw.synth.rendering import render
from hw.synth.zynq import (
    MASTER,
    REGISTER_RANGE,
    SLAVE,
    Leds,
    Processor,
    bus_ports,
)
from hw.synth.zynq_top import HP_BITS, check_port

BUILD = "build.tcl"
LED_PORTS = {"led_interrupt": "interrupt", "led_running": "trace_running"}
"""Ports of the design by LED, and what of the machine they show."""
CONTROLLER_OFFSET = 0x10000
"""From the registers to the interrupt controller, where there is one."""
HP_WIDTHS = (32, 64, 128)
"""Of an HP port of an UltraScale+ device."""


@dataclass(frozen=True)
class Block:
    """The vendor's block of a processor: its core, the instance, and the pins that the design uses."""

    core: str
    name: str
    master: str
    slave: str
    clock: str
    reset: str
    interrupt: str
    clock_sinks: tuple[str, ...]
    settings: Mapping[str, str]


def project_files(build: Build) -> dict[str, str]:
    """Text of each file of the project besides ``vdla.v``, by name.

    Raises ConfigError if the machine does not fit the processor's ports, or the board's file lacks facts.
    """
    processor, cfg = Processor.of(build.board), build.config
    block = _ps7(cfg, processor) if build.part.family == "xc7" else _ultrascale(cfg, processor)
    leds = list(zip(LED_PORTS.items(), Leds.of(build.board).pins, strict=False))
    values = {
        "title": f"{build.board.name}, VDLA {cfg.fingerprint}",
        "fingerprint": cfg.fingerprint,
        "family": "zynq" if build.part.family == "xc7" else "zynquplus",
        "part": build.part.name,
        "buses": _buses(cfg),
        "registers": REGISTERS,
        "register_range": REGISTER_RANGE,
        "registers_at": f"0x{processor.registers:08x}",
        "interrupt_controller_at": f"0x{processor.registers + CONTROLLER_OFFSET:08x}"
        if build.options["interrupt_controller"]
        else "",
        "dram_mib": build.board.facts["dram_mib"],
        "ps": block,
        "board_part": processor.board_part,
        "leds": [led for led, _ in leds],
        "jobs": build.options["jobs"],
    }
    standard = Leds.of(build.board).standard
    return {
        BUILD: render("vivado_build.tcl.j2", values),
        "package_ip.tcl": render("vivado_package.tcl.j2", values),
        "vdla.xdc": "".join(
            f"set_property -dict {{PACKAGE_PIN {pin} IOSTANDARD {standard}}} [get_ports {port}]\n"
            f"set_false_path -to [get_ports {port}]\n"
            for (port, _), pin in leds
        ),
    }


def _buses(cfg: Config) -> list[dict[str, object]]:
    registers = {"PROTOCOL": "AXI4LITE", "DATA_WIDTH": "32", "ADDR_WIDTH": str(axi.LITE_ADDRESS_BITS)}
    memory = {
        "PROTOCOL": cfg.axi.upper(),
        "DATA_WIDTH": str(cfg.bus_bits),
        "ADDR_WIDTH": str(axi.ADDRESS_BITS),
        "ID_WIDTH": str(axi.ID_BITS),
        "MAX_BURST_LENGTH": str(cfg.burst_beats),
        "SUPPORTS_NARROW_BURST": "0",
        "HAS_BURST": "1",
    }
    return [
        {"name": SLAVE, "mode": "slave", "ports": bus_ports(cfg, SLAVE), "parameters": registers},
        {"name": MASTER, "mode": "master", "ports": bus_ports(cfg, MASTER), "parameters": memory},
    ]


def _ps7(cfg: Config, processor: Processor) -> Block:
    check_port(cfg)
    settings = {
        **processor.settings,
        "PCW_FPGA_FCLK0_ENABLE": "1",
        "PCW_EN_CLK0_PORT": "1",
        "PCW_EN_RST0_PORT": "1",
        "PCW_FPGA0_PERIPHERAL_FREQMHZ": f"{cfg.clock_mhz:g}",
        "PCW_USE_M_AXI_GP0": "1",
        "PCW_USE_S_AXI_HP0": "1",
        "PCW_S_AXI_HP0_DATA_WIDTH": str(HP_BITS),
        "PCW_USE_FABRIC_INTERRUPT": "1",
        "PCW_IRQ_F2P_INTR": "1",
    }
    sinks = ("M_AXI_GP0_ACLK", "S_AXI_HP0_ACLK")
    names = ("M_AXI_GP0", "S_AXI_HP0", "FCLK_CLK0", "FCLK_RESET0_N", "IRQ_F2P")
    return Block("processing_system7", "processing_system7_0", *names, sinks, settings)


def _ultrascale(cfg: Config, processor: Processor) -> Block:
    if cfg.axi != "axi4":
        raise ConfigError("vdla.axi", "the ports of a Zynq UltraScale+ are AXI4", "try axi4")
    if cfg.bus_bits not in HP_WIDTHS:
        legal = ", ".join(map(str, HP_WIDTHS))
        raise ConfigError("vdla.bus_bits", f"{cfg.bus_bits} bits are not a width of an HP port", f"legal are {legal}")
    settings = {
        **processor.settings,
        "PSU__FPGA_PL0_ENABLE": "1",
        "PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ": f"{cfg.clock_mhz:g}",
        "PSU__USE__FABRIC__RST": "1",
        "PSU__USE__M_AXI_GP0": "1",
        "PSU__USE__M_AXI_GP1": "0",
        "PSU__USE__M_AXI_GP2": "0",
        "PSU__USE__S_AXI_GP2": "1",
        "PSU__SAXIGP2__DATA_WIDTH": str(cfg.bus_bits),
        "PSU__USE__IRQ0": "1",
    }
    sinks = ("maxihpm0_fpd_aclk", "saxihp0_fpd_aclk")
    names = ("M_AXI_HPM0_FPD", "S_AXI_HP0_FPD", "pl_clk0", "pl_resetn0", "pl_ps_irq0")
    return Block("zynq_ultra_ps_e", "zynq_ultra_ps_e_0", *names, sinks, settings)
