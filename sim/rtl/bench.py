"""The native bench from Python: one Verilated machine with its memory, stepped in bulk.

The structures mirror those of harness.cpp and harness_memory.h.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from types import TracebackType

import numpy as np

from hw.config import MemoryConfig
from hw.errors import VdlaError

EVENTS = (
    "load_retire", "compute_retire", "store_retire", "compute_last", "load_start", "compute_start", "store_start",
    "dispatch",
)  # fmt: skip
"""What the trace port tells, in the order of the harness."""
CAUSE_SLOTS = 16


class BusError(VdlaError):
    """The machine broke the AXI protocol; the message says in which cycle and how."""


class _Parameters(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_int64)
        for name in (
            "read_latency", "write_latency", "read_outstanding", "write_outstanding", "stalls", "stall_seed",
            "stall_rate", "error_read_beat", "error_write_burst", "error_response", "disorder",
            "write_order",
        )
    ]  # fmt: skip


class WriteOrder(IntEnum):
    """Which of a write burst's channels the memory takes first: mirrored in harness_memory.h."""

    ADDRESS_FIRST = 0
    """As docs/timing.md says."""
    ADDRESS_WAITS = 1
    """The address once its first data are presented, then the data."""
    DATA_FIRST = 2
    """All data, then the address."""


@dataclass(frozen=True)
class Fault:
    """An error response of the memory: to read beat `read_beat` or write burst `write_burst`, counted from 0."""

    read_beat: int = -1
    write_burst: int = -1
    response: int = 2
    """2 SLVERR, 3 DECERR."""


@dataclass
class Recording:
    """What the trace port said: cycles (int64) of each event, and cycles by cause (int64[rows, CAUSE_SLOTS]).

    Row k of the causes has the cycles that belong to compute instruction k, the last row those after all.
    """

    events: dict[str, np.ndarray]
    counts: dict[str, int] = field(default_factory=dict)
    causes: np.ndarray = field(default_factory=lambda: np.zeros((0, CAUSE_SLOTS), np.int64))
    cycles: int = 0


class Bench:
    """One machine and its memory `memory` (uint8, changed in place). Close it, or use it in a `with`."""

    def __init__(
        self, library: Path, memory: np.ndarray, environment: MemoryConfig, fault: Fault | None = None
    ) -> None:
        self._c = _load(library)
        self._memory = memory
        parameters = _parameters(environment, fault)
        self._handle = self._c.bench_new(memory.ctypes.data, memory.size, ctypes.byref(parameters))

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Free the machine."""
        if self._handle:
            self._c.bench_delete(self._handle)
            self._handle = None

    def attach(
        self,
        memory: np.ndarray,
        environment: MemoryConfig,
        fault: Fault | None = None,
        disorder: int = 0,
        write_order: WriteOrder = WriteOrder.ADDRESS_FIRST,
    ) -> None:
        """Another memory, which behaves so; only while nothing is in flight.

        With `disorder`, a seed other than 0, it does what AXI allows beyond docs/timing.md: beats of bursts with
        different IDs come in any order, mixed, and every channel refuses in some cycles. So does `write_order`.
        """
        self._memory = memory
        parameters = _parameters(environment, fault, disorder, write_order)
        self._c.bench_environment(self._handle, memory.ctypes.data, memory.size, ctypes.byref(parameters))

    def reset(self, cycles: int = 4) -> None:
        """Hold the reset for some cycles."""
        self._c.bench_reset(self._handle, cycles)
        self._check()

    def record(self, capacities: Sequence[int], rows: int) -> Recording:
        """Begin a new program: counts start from 0. `capacities` are how many of each of EVENTS to keep."""
        arrays = {name: np.full(max(n, 1), -1, np.int64) for name, n in zip(EVENTS, capacities, strict=True)}
        recording = Recording(arrays, causes=np.zeros((rows, CAUSE_SLOTS), np.int64))
        pointers = (ctypes.c_void_p * len(EVENTS))(*[a.ctypes.data for a in arrays.values()])
        sizes = (ctypes.c_int64 * len(EVENTS))(*capacities)
        self._c.bench_begin(self._handle, pointers, sizes, recording.causes.ctypes.data, rows)
        self._recording = recording
        return recording

    def step(self, cycles: int, *, beyond: bool = False) -> bool:
        """At most `cycles` cycles, fewer (unless `beyond`) if the program ends; True if it has ended.

        Raises BusError when the protocol was broken.
        """
        self._c.bench_step(self._handle, cycles, beyond)
        self._check()
        recording = self._recording
        recording.cycles = int(self._c.bench_cycles(self._handle))
        recording.counts = {name: int(self._c.bench_count(self._handle, i)) for i, name in enumerate(EVENTS)}
        return bool(self._c.bench_ended(self._handle))

    @property
    def interrupt(self) -> bool:
        """The machine's interrupt line."""
        return bool(self._c.bench_interrupt(self._handle))

    @property
    def idle(self) -> bool:
        """No burst is in flight."""
        return bool(self._c.bench_idle(self._handle))

    def write(self, address: int, value: int) -> int:
        """Write a register (uint32); the AXI response. Raises BusError if there is none."""
        response = self._c.bench_write(self._handle, address, value)
        self._check()
        if response < 0:
            raise BusError(f"no answer to a write of register {address:#x}")
        return int(response)

    def read(self, address: int) -> int:
        """Read a register (uint32). Raises BusError if the answer is missing or an error."""
        value = ctypes.c_uint32()
        response = self._c.bench_read(self._handle, address, ctypes.byref(value))
        self._check()
        if response != 0:
            raise BusError(f"no answer, or an error, to a read of register {address:#x}")
        return int(value.value)

    def wave(self, path: Path, first: int, last: int) -> None:
        """Write the waveform of cycles first..last of the next program; needs a library built for its format."""
        self._c.bench_wave(self._handle, str(path).encode(), first, last)

    def wave_close(self) -> None:
        """Finish the waveform's file."""
        self._c.bench_wave_close(self._handle)

    def _check(self) -> None:
        problem = self._c.bench_problem(self._handle)
        if problem:
            raise BusError(problem.decode())


def _parameters(
    memory: MemoryConfig, fault: Fault | None, disorder: int = 0, write_order: WriteOrder = WriteOrder.ADDRESS_FIRST
) -> _Parameters:
    stalls = memory.stall_seed is not None and memory.stall_rate > 0
    fault = fault or Fault()
    return _Parameters(
        memory.read_latency,
        memory.write_latency,
        memory.read_outstanding,
        memory.write_outstanding,
        int(stalls),
        memory.stall_seed or 0,
        int(memory.stall_rate * 2**24),
        fault.read_beat,
        fault.write_burst,
        fault.response,
        disorder,
        write_order,
    )


def _load(path: Path) -> ctypes.CDLL:
    c = ctypes.CDLL(str(path))
    handle, address, number = ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64
    signatures = {
        "bench_new": (handle, [address, ctypes.c_uint64, address]),
        "bench_delete": (None, [handle]),
        "bench_environment": (None, [handle, address, ctypes.c_uint64, address]),
        "bench_reset": (None, [handle, number]),
        "bench_begin": (None, [handle, address, address, address, number]),
        "bench_step": (number, [handle, number, ctypes.c_int]),
        "bench_ended": (ctypes.c_int, [handle]),
        "bench_interrupt": (ctypes.c_int, [handle]),
        "bench_idle": (ctypes.c_int, [handle]),
        "bench_cycles": (number, [handle]),
        "bench_count": (number, [handle, ctypes.c_int]),
        "bench_problem": (ctypes.c_char_p, [handle]),
        "bench_write": (ctypes.c_int, [handle, ctypes.c_uint32, ctypes.c_uint32]),
        "bench_read": (ctypes.c_int, [handle, ctypes.c_uint32, address]),
        "bench_wave": (None, [handle, ctypes.c_char_p, number, number]),
        "bench_wave_close": (None, [handle]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(c, name)
        function.restype = result
        function.argtypes = arguments
    return c
