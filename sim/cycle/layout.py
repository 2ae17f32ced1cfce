"""Where the cycle simulator's kernels keep their state: indices into its int64 arrays."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

NEVER: Final = 1 << 62
"""The time of an event that cannot happen as things stand."""

RING: Final = 512
"""Bursts remembered; more than the outstanding ones, of which there are at most 256."""

UNITS: Final = 3
CHANNELS: Final = 4
"""Token counters: 0 load to compute, 1 compute to load, 2 compute to store, 3 store to compute.

For unit u: pops 2u-2 from the previous and 2u+1 from the next unit, pushes 2u-1 to the previous and 2u to the next."""


class S(IntEnum):
    """The state `s`: configuration, then what changes."""

    # Configuration.
    COUNT = 0
    BUS_BYTES = 1
    BURST_BEATS = 2
    FETCH_BURST = 3
    """Longest burst of the fetcher, beats."""
    FETCH_BYTES = 4
    """Room for fetched instructions, bytes."""
    INSTRUCTION_BYTES = 5
    TOKEN_DEPTH = 6
    READ_LATENCY = 7
    WRITE_LATENCY = 8
    READ_OUTSTANDING = 9
    WRITE_OUTSTANDING = 10
    STALL_SEED = 11
    STALL_RATE = 12
    """Share of delayed beats in 2**-24ths; 0: no stalls."""
    PARAM_VECTORS = 13
    QUEUE = 14
    """Places of the three queues."""
    EXECUTE = 17
    """Address of the functional kernel `execute`, followed by its arguments after the instruction's index."""
    ARGUMENTS = 18
    # Fetch and dispatch.
    DISPATCHED = 36
    DISPATCH_CYCLE = 37
    """Of the last dispatched instruction."""
    FETCH_WORD = 38
    """The next bus word to fetch."""
    FETCH_LEFT = 39
    """Beats not yet granted."""
    FETCH_GRANTED = 40
    """Bytes granted."""
    FETCHED = 41
    """Bytes of the program in the beats timed so far."""
    # Memory.
    AR_FREE = 42
    """Earliest cycle of the next grant."""
    READ_BURSTS = 43
    READ_BEATS = 44
    READ_TAKEN = 45
    """Cycle of the last read beat."""
    WRITE_BURSTS = 46
    WRITE_BEATS = 47
    WRITE_RESPONSE = 48
    """Cycle of the last write response."""
    # Units: three entries each.
    QUEUED = 49
    STARTED = 52
    RETIRED = 55
    STAGE_FREE = 58
    """Earliest start that the first stage allows."""
    BUSY = 61
    """Cycles in which the data side, the issue stage, the W channel did something."""
    PUSHES = 64
    """Per token counter."""
    POPS = 68
    # Load.
    LOAD_READY = 72
    """Earliest request of the next burst."""
    LOAD_BURSTS = 73
    """1 while the started load has bursts to ask for."""
    LOAD_ADDRESS = 74
    """The current run: address, length, next word, beats left."""
    LOAD_LENGTH = 75
    LOAD_WORD = 76
    LOAD_LEFT = 77
    LOAD_X = 78
    LOAD_Y = 79
    DATA_FREE = 80
    # Compute.
    LAST_ISSUE = 81
    """The previous compute instruction's last cycle in the issue stage."""
    LAST_KIND = 82
    """Of the last operation issued: 0 none yet, 1 GEMM, 2 ALU or REQUANT."""
    LAST_OPERATION = 83
    """Its cycle."""
    NOW = 84
    FAULT = 85
    """Index of the illegal instruction."""
    READ_LAST = 90
    """Ring: cycle of the last beat of each read burst."""
    RESPONSE = READ_LAST + RING
    """Ring: cycle of each write response."""
    SIZE = RESPONSE + RING


class W(IntEnum):
    """Columns of the rows `w`, one an instruction: cycles of its events, its beats, its causes."""

    FETCHED = 0
    """Cycle in which its last beat arrives."""
    DISPATCH = 1
    START = 2
    ISSUE = 3
    """Compute: first cycle in the issue stage. Load, store: first address (or fill) at the earliest."""
    LAST = 4
    """Compute: last cycle in the issue stage. Load: last cycle on the data side. Store: last beat."""
    COMPLETE = 5
    RETIRE = 6
    BEATS = 7
    CAUSES = 8
    """One column a cause, in the order of hw.timing.CAUSES."""
    ROW = 20


class Cause(IntEnum):
    """Indices of hw.timing.CAUSES."""

    GEMM = 0
    ALU = 1
    REQUANT = 2
    PARAM = 3
    SWITCH = 4
    HAZARD = 5
    DRAIN = 6
    FETCH = 7
    WAIT_LOAD = 8
    WAIT_STORE = 9
    DECODE = 10


class Stop(IntEnum):
    """Why the event loop returned."""

    DONE = 0
    PAUSE = 1
    DEADLOCK = 2
    FAULT = 3
