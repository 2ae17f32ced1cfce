"""The harness in Verilator at the other end of a line: what the real driver's packets do is simulated bit by bit."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from pathlib import Path

from amaranth.back import verilog

from hw.config import Config
from hw.harness.top import Harness, HarnessConfig
from hw.rtl.verilog import joined_lanes
from runtime.board.uart import UartBoard
from sim.rtl.build import library_of

BENCH = Path(__file__).with_name("board_bench.cpp")
PATIENCE_CYCLES = 60_000
"""Clock cycles of silence that end a read: the simulation's seconds would be minutes."""
COUNTS = ("reads", "writes", "activations", "refreshes")


@lru_cache(maxsize=4)
def harness_library(cfg: Config, harness: HarnessConfig) -> Path:
    """The verilated harness with its bench."""
    source = verilog.convert(Harness(cfg, harness), name="vdla", emit_src=False)
    return library_of(joined_lanes(source), cfg, bench=BENCH)


class SimulatedLine:
    """A `runtime.board.uart.Line` to a harness; `rate` is the host's bit rate over the board's.

    `corrupt(direction, data)` may change what passes: direction 0 is to the board, 1 from it.
    """

    def __init__(self, cfg: Config, harness: HarnessConfig, rate: float = 1.0) -> None:
        c = self._c = ctypes.CDLL(str(harness_library(cfg, harness)))
        c.board_new.restype = ctypes.c_void_p
        c.board_new.argtypes = [ctypes.c_double, ctypes.c_double]
        c.board_delete.argtypes = [ctypes.c_void_p]
        c.board_send.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int64]
        c.board_receive.restype = ctypes.c_int64
        c.board_receive.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int64, ctypes.c_int64]
        c.board_cycles.restype = ctypes.c_int64
        c.board_cycles.argtypes = [ctypes.c_void_p]
        c.board_error.restype = ctypes.c_char_p
        c.board_error.argtypes = [ctypes.c_void_p]
        c.board_counts.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        self._handle = c.board_new(harness.divisor / rate, cfg.clock_mhz)

    def write(self, data: bytes) -> None:
        """To the board."""
        self._c.board_send(self._handle, data, len(data))

    def read(self, count: int, timeout_s: float) -> bytes:
        """From the board; time passes on it meanwhile."""
        buffer = ctypes.create_string_buffer(count)
        received = self._c.board_receive(self._handle, buffer, count, PATIENCE_CYCLES)
        error = self._c.board_error(self._handle).decode()
        assert not error, f"the SDRAM chip was misused: {error}"
        return buffer.raw[:received]

    @property
    def cycles(self) -> int:
        """That have passed on the board."""
        return self._c.board_cycles(self._handle)

    def counts(self) -> dict[str, int]:
        """Commands that the SDRAM chip got."""
        values = (ctypes.c_int64 * len(COUNTS))()
        self._c.board_counts(self._handle, values)
        return dict(zip(COUNTS, values, strict=True))

    def close(self) -> None:
        """Frees the board."""
        if self._handle:
            self._c.board_delete(self._handle)
            self._handle = None


def board_on(line: SimulatedLine, harness: HarnessConfig, cfg: Config) -> UartBoard:
    """The real driver's board at the line."""
    return UartBoard(line, round(cfg.clock_mhz * 1e6 / harness.divisor), patience_s=0.01, name="simulated board")
