"""Timing constants of the machine, in clock cycles.

These are the numbers behind the written rules of docs/timing.md; the cycle simulator and the RTL both import
them from here, so a change in one place moves both.  Every signal between two units is registered: what
happens in cycle ``c`` is seen by another unit in cycle ``c + 1``.
"""

from __future__ import annotations

from typing import Final

FETCH_FIFO: Final = 16
"""Instructions that fit between the instruction fetcher's AXI bursts and the dispatcher."""

DECODE: Final = 2
"""From the cycle in which an instruction pops its tokens to the first cycle in which it can act."""

GEMM_HAZARD: Final = 4
"""From the issue of a GEMM operation that writes acc[d] to the first issue of one that reads acc[d].

Three cycles through multipliers and adder tree; the sum is bypassed into the accumulate stage."""

VECTOR_HAZARD: Final = 8
"""As GEMM_HAZARD, for two ALU or REQUANT operations: multiply, shift, round and clip come before the bypass."""

GEMM_LATENCY: Final = 6
"""From the issue of a GEMM operation to the cycle from which its accumulator is readable by anything else."""

VECTOR_LATENCY: Final = 10
"""From the issue of an ALU or REQUANT operation to the cycle from which its result is readable."""

SYNC_LATENCY: Final = 1
"""From the issue of a SYNC to its retirement."""

SRAM_WRITE: Final = 2
"""From the data beat (or fill cycle) of a load to the cycle in which its bytes are in the SRAM."""

STORE_RETIRE: Final = 1
"""From a store's last write response to its retirement."""
