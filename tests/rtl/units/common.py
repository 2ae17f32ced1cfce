"""What the cocotb benches of single units share: their parameters, the clock, and values packed in layouts.

A cycle runs from one falling edge to the next. In it a bench first sees what the registers hold, then drives the
inputs, lets the logic settle and sees what it makes of them; the rising edge in the middle of the next half ends it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from amaranth.back import verilog
from amaranth.lib import data
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, Timer

from hw.config import Config
from hw.isa import Alu, AluOp, AluSource, Load, Requant, Store
from hw.random_program import random_instruction
from sim.rtl.cases import SMALL

PARAMETERS: dict[str, Any] = json.loads(os.environ.get("VDLA_PARAMETERS", "{}"))
"""Those of the running bench: `seed`, `machine` (an index of SMALL), `bus_bits` instead of that machine's, and the
unit's own."""


def machine(parameters: Mapping[str, Any]) -> Config:
    """The configuration that a bench's parameters ask for."""
    cfg = SMALL[parameters.get("machine", 0)]
    return cfg.with_(bus_bits=parameters["bus_bits"]) if "bus_bits" in parameters else cfg


def generator() -> np.random.Generator:
    """The bench's random numbers."""
    return np.random.default_rng(PARAMETERS.get("seed", 0))


def verilog_of(unit: Any, name: str = "vdla") -> str:
    """A unit alone as Verilog."""
    return verilog.convert(unit, name=name, emit_src=False)


class Pins:
    """The ports of a unit."""

    def __init__(self, dut: Any) -> None:
        self._dut = dut
        self.cycle = 0

    def __getitem__(self, name: str) -> int:
        return int(getattr(self._dut, name).value)

    async def start(self, **inputs: int) -> None:
        """Clock and reset, with these inputs; all others that are ever driven should be among them."""
        for name, value in inputs.items():
            getattr(self._dut, name).value = value
        self._dut.rst.value = 1
        self._dut.clk.value = 0
        Clock(self._dut.clk, 10, "ns").start(start_high=False)
        for _ in range(3):
            await FallingEdge(self._dut.clk)
        self._dut.rst.value = 0
        self.cycle = 0

    async def drive(self, **inputs: int) -> None:
        """Set inputs, and let the logic behind them settle."""
        for name, value in inputs.items():
            getattr(self._dut, name).value = int(value)
        await Timer(1, "ns")

    async def tick(self) -> None:
        """On to the next cycle."""
        await FallingEdge(self._dut.clk)
        self.cycle += 1


def pack(layout: data.StructLayout, values: Mapping[str, Any]) -> int:
    """The bits of a layout whose fields have these values, the others 0."""
    return layout.const(dict(values)).as_bits()


def unpack(layout: data.StructLayout, bits: int) -> Any:
    """The fields of a word as attributes."""
    return layout.from_bits(bits)


def word(array: np.ndarray) -> int:
    """An array's bytes as one port's value, the first in the lowest bits."""
    return int.from_bytes(np.ascontiguousarray(array).tobytes(), "little")


def array(value: int, dtype: Any, *shape: int) -> np.ndarray:
    """The inverse of `word`."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer(value.to_bytes(size, "little"), dtype).reshape(shape).copy()


def legal_instruction(rng: np.random.Generator, cfg: Config) -> Any:
    """A random instruction that the decoder takes."""
    m = random_instruction(rng, cfg)
    counts = ("seg", "x_size", "y_size", "uop_count", "iter_out", "iter_in")
    m = replace(m, **{n: max(1, getattr(m, n)) for n in counts if hasattr(m, n)})
    if isinstance(m, Load):
        return replace(m, pop_prev=False, push_prev=False)
    if isinstance(m, Store):
        return replace(m, pop_next=False, push_next=False)
    if isinstance(m, Requant):
        return replace(m, low=min(m.low, m.high), high=max(m.low, m.high))
    if isinstance(m, Alu) and (m.op, m.source) == (AluOp.MULADD, AluSource.IMM):
        return replace(m, op=AluOp.ADD)
    return m
