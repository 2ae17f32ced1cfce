"""A memory and a protocol checker on the machine's AXI port for cocotb: AXI3 (WID, bursts of up to 16 beats, echoed
IDs) and AXI4, written from the AMBA specification and sharing nothing with the native bench.

A cycle is looked at just before its rising edge, when all signals have settled.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from cocotb.triggers import FallingEdge, Timer

OKAY, SLVERR = 0, 2
INCR = 1
PAGE = 4096
ADDRESS = ("id", "addr", "len", "size", "burst", "lock", "cache", "prot", "qos")

INPUTS = ("rvalid", "bvalid", "rid", "rdata", "rresp", "rlast", "bid", "bresp", "arready", "awready", "wready")
"""What the memory drives."""


class ProtocolError(AssertionError):
    """A rule of AXI is broken."""


@dataclass
class Burst:
    """A burst whose address has been accepted."""

    id: int
    address: int
    beats: int
    done: int = 0


class Port:
    """The AXI signals of a machine by name."""

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self.axi3 = hasattr(dut, "axi_wid")
        self.bus = len(dut.axi_wdata) // 8

    def __getitem__(self, name: str) -> int:
        return int(getattr(self.dut, f"axi_{name}").value)

    def __setitem__(self, name: str, value: int) -> None:
        getattr(self.dut, f"axi_{name}").value = int(value)

    def burst(self, channel: str) -> Burst:
        """The burst whose address is on `ar` or `aw`."""
        return Burst(self[f"{channel}id"], self[f"{channel}addr"], self[f"{channel}len"] + 1)

    def taken(self, channel: str) -> bool:
        return bool(self[f"{channel}valid"] and self[f"{channel}ready"])


class Checker:
    """Sees every cycle and drives nothing. `sample` raises ProtocolError when the machine breaks a rule."""

    def __init__(self, port: Port) -> None:
        self.port = port
        payload = {"ar": ADDRESS, "aw": ADDRESS, "w": ("data", "strb", "last", *(["id"] if port.axi3 else []))}
        self._payload = {c: tuple(c + n for n in names) for c, names in payload.items()}
        self._waiting: dict[str, tuple[int, ...]] = {}
        self._writes: deque[Burst] = deque()
        self._addressing = False  # an address waits to be accepted
        self.beats = 0

    def reset(self) -> None:
        """The reset line is on: nothing may be valid, and all is forgotten."""
        self._waiting.clear()
        self._writes.clear()
        self._addressing = False
        for channel in self._payload:
            self._check(not self.port[f"{channel}valid"], f"{channel} valid in reset")

    def sample(self) -> None:
        port = self.port
        for channel, names in self._payload.items():
            valid, now = port[f"{channel}valid"], tuple(port[n] for n in names)
            if channel in self._waiting:
                self._check(valid, f"{channel} withdrawn")
                self._check(now == self._waiting.pop(channel), f"{channel} changes while it waits")
            if valid and channel != "w":
                self._check_burst(channel)
            if valid and not port[f"{channel}ready"]:
                self._waiting[channel] = now
        # Data may be presented with their address, accepted or not, and not before.
        fresh = port["awvalid"] and not self._addressing
        self._addressing = bool(port["awvalid"] and not port["awready"])
        if fresh:
            self._writes.append(port.burst("aw"))
        if port["wvalid"]:
            self._check(bool(self._writes), "data without an address")
            burst = self._writes[0]
            self._check(port["wlast"] == (burst.done + 1 == burst.beats), "wlast in the wrong beat")
            if port.axi3:
                self._check(port["wid"] == burst.id, "wid is not that of the burst")
            if port["wready"]:
                self.beats += 1
                burst.done += 1
                if burst.done == burst.beats:
                    self._writes.popleft()

    def _check_burst(self, channel: str) -> None:
        port, burst = self.port, self.port.burst(channel)
        bytes_ = burst.beats * port.bus
        self._check(1 << port[f"{channel}size"] == port.bus, f"{channel}size")
        self._check(port[f"{channel}burst"] == INCR, f"{channel}burst")
        self._check(port[f"{channel}lock"] == 0, f"{channel}lock")
        self._check(burst.address % port.bus == 0, f"{channel}addr is not aligned")
        self._check(burst.address // PAGE == (burst.address + bytes_ - 1) // PAGE, f"{channel} crosses a page")
        self._check(burst.beats <= (16 if port.axi3 else 256), f"{channel}len")

    def _check(self, holds: bool | int, what: str) -> None:
        if not holds:
            raise ProtocolError(what)


class Memory:
    """Serves both directions in order, with pauses on all five channels in the share `pauses` of cycles.

    `fail_read`, `fail_write`: answer this beat, this burst, counted from now, with an error.
    """

    def __init__(self, port: Port, data: np.ndarray, seed: int, pauses: float = 0.0) -> None:
        self.port, self.data, self.pauses = port, data, pauses
        self._rng = np.random.default_rng(seed)
        self.fail_read = self.fail_write = -1
        self.clear()

    def clear(self) -> None:
        self._reads: deque[Burst] = deque()
        self._writes: deque[Burst] = deque()
        self._beats: deque[tuple[bytes, int]] = deque()
        self._responses: deque[tuple[int, int]] = deque()
        self._offers = dict.fromkeys("rb", False)

    def drive(self) -> None:
        """The inputs of a cycle."""
        port = self.port
        for channel in ("ar", "aw", "w"):
            port[f"{channel}ready"] = self._go()
        # What is offered stays until it is taken.
        self._offers["r"] = bool(self._reads) and (self._offers["r"] or self._go())
        self._offers["b"] = bool(self._responses) and (self._offers["b"] or self._go())
        port["rvalid"], port["bvalid"] = self._offers["r"], self._offers["b"]
        if self._offers["r"]:
            burst = self._reads[0]
            at = burst.address + burst.done * port.bus
            port["rid"], port["rlast"] = burst.id, burst.done + 1 == burst.beats
            port["rdata"] = int.from_bytes(self.data[at : at + port.bus].tobytes(), "little")
            port["rresp"] = SLVERR if self.fail_read == 0 else OKAY
        if self._offers["b"]:
            port["bid"], port["bresp"] = self._responses[0]

    def sample(self) -> None:
        """What has been taken in the cycle."""
        port = self.port
        if self._offers["r"] and port["rready"]:
            self._offers["r"] = False
            self.fail_read -= 1
            self._reads[0].done += 1
            if self._reads[0].done == self._reads[0].beats:
                self._reads.popleft()
        if self._offers["b"] and port["bready"]:
            self._offers["b"] = False
            self._responses.popleft()
        if port.taken("ar"):
            self._reads.append(port.burst("ar"))
        if port.taken("aw"):
            self._writes.append(port.burst("aw"))
        # Data may be taken before the address that is presented with them.
        if port.taken("w"):
            self._beats.append((port["wdata"].to_bytes(port.bus, "little"), port["wstrb"]))
        while self._writes and self._beats:
            self._write(self._writes[0], *self._beats.popleft())

    def _write(self, burst: Burst, value: bytes, strobes: int) -> None:
        at = burst.address + burst.done * self.port.bus
        for k in range(self.port.bus):
            if strobes >> k & 1:
                self.data[at + k] = value[k]
        burst.done += 1
        if burst.done == burst.beats:
            self._writes.popleft()
            self._responses.append((burst.id, SLVERR if self.fail_write == 0 else OKAY))
            self.fail_write -= 1

    def _go(self) -> bool:
        return bool(self._rng.random() >= self.pauses)


async def watch(dut: Any, checker: Checker) -> NoReturn:
    """Let the checker see every cycle of a bus that somebody else serves; ends with a ProtocolError."""
    while True:
        await FallingEdge(dut.clk)
        await Timer(4, "ns")
        if int(dut.rst.value):
            # It takes an edge until a reset is seen.
            await FallingEdge(dut.clk)
            checker.reset()
        else:
            checker.sample()


async def serve(dut: Any, memory: Memory, checker: Checker) -> NoReturn:
    """Serve the bus for ever; ends with a ProtocolError."""
    while True:
        await FallingEdge(dut.clk)
        in_reset = bool(int(dut.rst.value))
        if in_reset:
            memory.clear()
        memory.drive()
        await Timer(4, "ns")
        if in_reset:
            checker.reset()
        else:
            checker.sample()
            memory.sample()
