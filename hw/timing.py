"""Timing constants of the machine, in clock cycles, and the memory's stall profile.

These are the numbers behind the written rules of docs/timing.md; the cycle simulator and the RTL both import
them from here, so a change in one place moves both.  Every signal between two units is registered: what
happens in cycle ``c`` is seen by another unit in cycle ``c + 1``.
"""

from __future__ import annotations

from typing import Final

import numpy as np

FETCH_FIFO: Final = 16
"""Instructions that fit between the instruction fetcher's AXI bursts and the dispatcher."""

IN_FLIGHT: Final = 8
"""Instructions of one unit that have started and not retired, at most."""

FETCH_DECODE: Final = 2
"""From the cycle in which the last beat of an instruction is taken to the first in which it can be dispatched."""

DECODE: Final = 3
"""From the cycle in which an instruction pops its tokens to the first cycle in which it can act."""

GEMM_HAZARD: Final = 4
"""From the issue of a GEMM operation that writes acc[d] to the first issue of one that reads acc[d].

Multipliers and adder tree lie before the accumulate stage, which is bypassed into itself."""

VECTOR_HAZARD: Final = 9
"""As GEMM_HAZARD, for two ALU or REQUANT operations: multiply, shift, round and clip precede the bypass."""

GEMM_LATENCY: Final = 6
"""From the issue of a GEMM operation to the cycle from which its accumulator is readable by anything else."""

VECTOR_LATENCY: Final = 11
"""From the issue of an ALU or REQUANT operation to the cycle from which its result is readable."""

SYNC_LATENCY: Final = 1
"""From the issue of a SYNC to its completion."""

SRAM_WRITE: Final = 2
"""From the data cycle of a load's last piece to the cycle in which its bytes are in the SRAM."""

STORE_READ: Final = 2
"""From a store's first SRAM read to its byte on the write data channel."""

STORE_RETIRE: Final = 1
"""From a store's last write response to its completion."""

PAGE: Final = 4096
"""No AXI burst crosses a multiple of this many bytes."""

READ: Final = 0
"""Stall channel of read data beats."""
WRITE: Final = 1
"""Stall channel of write data beats."""
RESPONSE: Final = 2
"""Stall channel of write responses."""

LONGEST_GAP: Final = 8
"""Longest delay that the stall profile puts before one beat."""

START_LATENCY: Final = 3
"""From the cycle in which the control bus takes a write of START to the program's cycle 0."""

CAUSES: Final = (
    "gemm", "alu", "requant", "param", "switch", "hazard", "drain", "fetch", "wait_load", "wait_store", "decode",
)  # fmt: skip
"""Causes of a cycle in the order of precedence; each cycle of a run has exactly one."""


def stall_gap(seed: int | None, rate: float, channel: int, index: np.ndarray) -> np.ndarray:
    """Gaps of the stall profile: int64 cycles (0..LONGEST_GAP) for each beat index of a channel.

    A 32-bit hash of seed, channel and index; its upper 24 bits decide, against ``floor(rate * 2**24)``,
    whether the beat is delayed, and its lowest 3 bits by how much (1 more than they say).
    """
    if seed is None or rate <= 0.0:
        return np.zeros(np.shape(index), np.int64)
    start = (seed * 0x85EBCA77 + channel * 0xC2B2AE3D) & 0xFFFFFFFF
    x = (np.asarray(index, np.int64).astype(np.uint64) * np.uint64(0x9E3779B1)).astype(np.uint32)
    x = x + np.uint32(start)
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
    x = x ^ (x >> np.uint32(16))
    delayed = (x >> np.uint32(8)) < np.uint32(int(rate * 2**24))
    return np.where(delayed, 1 + (x & np.uint32(7)).astype(np.int64), 0)
