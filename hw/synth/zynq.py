"""What the flows for Zynq devices share: the processor of a board, the machine's ports by bus, clock dividers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from amaranth.lib.wiring import Out

from hw.config import Board, Config
from hw.errors import ConfigError
from hw.rtl import axi

REGISTER_RANGE = 4096
"""Bytes of the address space that the control registers take: a page, so that it can be mapped."""
MASTER, SLAVE = "axi", "s_axil"
"""Names of the machine's buses; a port is the bus, an underscore and the signal of the AMBA specification."""
LARGEST_DIVIDER = 63
"""Of each of the two dividers behind a clock of the processor."""


@dataclass(frozen=True)
class Processor:
    """The processor beside the logic.

    Attributes:
        registers: physical address of the control registers.
        io_pll_mhz: the PLL that the clocks of the logic are divided from, as the board's boot loader sets it.
        settings: of the vendor's block, by parameter; what is not named keeps its default.
        board_part: pattern of the vendor's board files that hold the rest, '' if `settings` is complete.
    """

    registers: int
    io_pll_mhz: float
    settings: Mapping[str, str]
    board_part: str = ""

    @classmethod
    def of(cls, board: Board) -> Processor:
        """The processor of a board, from the `board` section of its file.

        Raises ConfigError if the file does not describe one, or describes it wrongly.
        """
        facts = board.facts.get("processor")
        if not isinstance(facts, Mapping):
            reason = f"{board.name} does not describe its processor"
            raise ConfigError("board.processor", reason, "see boards/pynq-z1.yaml for an example")
        for key in ("registers", "io_pll_mhz"):
            if not isinstance(facts.get(key), int | float):
                raise ConfigError(f"board.processor.{key}", "missing, or not a number", "see boards/pynq-z1.yaml")
        if facts["registers"] % REGISTER_RANGE:
            reason = f"0x{facts['registers']:x} is not a multiple of {REGISTER_RANGE}"
            raise ConfigError("board.processor.registers", reason, "try 0x43c00000")
        settings = {str(name): str(value) for name, value in (facts.get("settings") or {}).items()}
        return cls(facts["registers"], facts["io_pll_mhz"], settings, str(facts.get("board_part", "")))


@dataclass(frozen=True)
class Leds:
    """The board's LEDs: package pins, the first being the lowest, and their I/O standard."""

    pins: tuple[str, ...]
    standard: str

    @classmethod
    def of(cls, board: Board) -> Leds:
        """LEDs of a board, none if its file names none."""
        facts = board.facts.get("leds") or {}
        return cls(tuple(facts.get("pins", ())), str(facts.get("standard", "")))


def bus_ports(cfg: Config, bus: str) -> dict[str, str]:
    """Ports of a bus of the machine by the AMBA signal's name: ``{"ARVALID": "axi_arvalid", ...}``."""
    members = axi.master_members(cfg) if bus == MASTER else axi.lite_members()
    return {name.removeprefix(f"{bus}_").upper(): name for name in members}


def port_widths(cfg: Config) -> dict[str, tuple[str, int]]:
    """Direction ('in', 'out') and width in bits of each bus port of the machine."""
    members = {**axi.master_members(cfg), **axi.lite_members()}
    return {n: ("out" if m.flow is Out else "in", int(_width(m.shape))) for n, m in members.items()}


def _width(shape: Any) -> int:
    return shape if isinstance(shape, int) else shape.width


def clock_dividers(source_mhz: float, clock_mhz: float) -> tuple[int, int]:
    """The two dividers that come nearest to a clock without exceeding it, the first the larger.

    Raises ConfigError if the clock is out of their reach.
    """
    pairs = [(a, b) for a in range(1, LARGEST_DIVIDER + 1) for b in range(1, a + 1)]
    slow_enough = [(a, b) for a, b in pairs if source_mhz / (a * b) <= clock_mhz * (1 + 1e-9)]
    if not slow_enough or clock_mhz > source_mhz:
        lowest = source_mhz / LARGEST_DIVIDER**2
        reason = f"{clock_mhz:g} MHz cannot be divided from {source_mhz:g} MHz"
        raise ConfigError("vdla.clock_mhz", reason, f"try {lowest:.2f}..{source_mhz:g}")
    return min(slow_enough, key=lambda pair: (pair[0] * pair[1], pair[0] - pair[1]))


def led_constraints(leds: Leds) -> list[str]:
    """XDC lines that put the port ``led`` on the LEDs."""
    return [
        f"set_property -dict {{PACKAGE_PIN {pin} IOSTANDARD {leds.standard}}} [get_ports {{led[{number}]}}]"
        for number, pin in enumerate(leds.pins)
    ]
