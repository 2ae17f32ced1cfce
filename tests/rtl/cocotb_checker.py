"""The protocol checker of tests.rtl.axi_memory on a machine that breaks a rule (burst_machine.py): it must say so.

VDLA_PARAMETERS: `flaw`, the bits written to register 0, and `expected`, a word of the complaint or empty.
"""

from __future__ import annotations

import json
import os
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge

from tests.rtl.axi_memory import INPUTS, Checker, Memory, Port, ProtocolError, serve

PARAMETERS = json.loads(os.environ.get("VDLA_PARAMETERS", "{}"))


@cocotb.test()
async def what_the_checker_says(dut: Any) -> None:
    for flaw, expected in PARAMETERS["flaws"]:
        port = Port(dut)
        for name in INPUTS:
            port[name] = 0
        dut.rst.value = 1
        for name in ("awvalid", "wvalid", "arvalid"):
            getattr(dut, f"s_axil_{name}").value = 0
        dut.s_axil_bready.value = 1
        clock = Clock(dut.clk, 10, "ns").start()
        await ClockCycles(dut.clk, 3)
        await FallingEdge(dut.clk)
        dut.rst.value = 0
        watch = cocotb.start_soon(heard(dut, port))
        await FallingEdge(dut.clk)
        dut.s_axil_awaddr.value = 0
        dut.s_axil_wdata.value = flaw
        dut.s_axil_awvalid.value = 1
        dut.s_axil_wvalid.value = 1
        await FallingEdge(dut.clk)
        dut.s_axil_awvalid.value = 0
        dut.s_axil_wvalid.value = 0
        await ClockCycles(dut.clk, 400)
        said = watch.result() if watch.done() else ""
        watch.cancel()
        clock.cancel()
        assert (expected in said) if expected else not said, (flaw, expected, said)


async def heard(dut: Any, port: Port) -> str:
    """What the checker complains of first."""
    try:
        await serve(dut, Memory(port, np.zeros(1 << 16, np.uint8), 1, 0.6), Checker(port))
    except ProtocolError as error:
        return str(error)
