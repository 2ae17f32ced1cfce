"""Cycle simulator: the bits of a program and the cycle of its every event, exactly as docs/timing.md has them.

It is event-driven: it costs per instruction, burst and operation, in compiled code, and nothing per idle cycle.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from hw.config import Config
from hw.errors import DeadlockError
from hw.isa import Unit
from hw.timing import CAUSES, FETCH_FIFO
from sim import functional
from sim.cycle.deadlock import explain
from sim.cycle.engine import simulate
from sim.cycle.layout import CHANNELS, NEVER, UNITS, S, Stop, W
from sim.cycle.result import CycleResult, Interval, Span
from sim.jit import Library, build
from sim.program import F, Program, decode
from sim.state import State, constants

__all__ = ["CycleResult", "DeadlockError", "Interval", "Span", "run", "run_decoded"]

_EVENTS = 20000
"""Events between two calls of the progress function."""


def run(
    memory: np.ndarray,
    program_address: int,
    instructions: int,
    cfg: Config,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> CycleResult:
    """Run a program to its end, changing `memory` (uint8, the DRAM from address 0) in place.

    The memory port behaves as `cfg.memory` says. `progress(retired, instructions)` is called now and then. The bits are
    those of `sim.functional.run` for every program without races (`hw.dependence.prove` tells).

    Raises ProgramError naming an illegal instruction, and DeadlockError when the program stops before its end.
    """
    return run_decoded(decode(memory, program_address, instructions, cfg), memory, progress=progress)


def run_decoded(
    program: Program, memory: np.ndarray, *, progress: Callable[[int, int], None] | None = None
) -> CycleResult:
    """As run, for a program that has been decoded from this memory, or from an equal one, before."""
    begin = time.perf_counter()
    state = State(program.cfg)
    machine = _Machine(program, memory, state)
    while True:
        stop = machine.advance(_EVENTS)
        if progress is not None:
            progress(machine.retired, len(program))
        if stop == Stop.FAULT:
            raise state.fault_error(int(machine.s[S.FAULT]))
        if stop == Stop.DEADLOCK:
            raise DeadlockError(explain(program, machine.s, machine.q))
        if stop == Stop.DONE:
            return machine.result(time.perf_counter() - begin)


class _Machine:
    """The arrays of one simulation (see sim.cycle.layout)."""

    def __init__(self, program: Program, memory: np.ndarray, state: State) -> None:
        n = len(program)
        self.program = program
        self.s = _initial(program)
        self.w = np.zeros((n, W.ROW), np.int64)
        self.w[:, W.FETCHED] = NEVER
        self.w[:, W.COMPLETE] = NEVER
        self.q = np.zeros((UNITS, max(n, 1)), np.int64)
        for unit in range(UNITS):
            mine = np.flatnonzero(program.column(F.UNIT) == unit)
            self.q[unit, : mine.size] = mine
        self.written = np.full(program.cfg.acc_depth, -NEVER // 2, np.int64)
        self.pushed = np.zeros(CHANNELS * max(n, 1), np.int64)
        self.popped = np.zeros_like(self.pushed)
        bits = functional.library(constants(program.cfg))
        self.s[S.EXECUTE] = bits.addresses["execute"]
        arrays = (program.flat, state.parameters, memory, *state.arrays)
        self.s[S.ARGUMENTS : S.ARGUMENTS + len(arrays)] = [a.ctypes.data for a in arrays]
        timing = _library(program.cfg.uop_bytes)["simulate"]
        views = (self.s, self.w.reshape(-1), self.q.reshape(-1), program.flat, state.parameters, state.uop)
        self._arrays = (*views, self.written, self.pushed, self.popped)
        self._keep = arrays
        self._simulate = timing

    def advance(self, events: int) -> Stop:
        """Process at most `events` events."""
        return Stop(self._simulate(events, *self._arrays))

    @property
    def retired(self) -> int:
        """Instructions retired so far."""
        return int(self.s[S.RETIRED : S.RETIRED + UNITS].sum())

    def result(self, seconds: float) -> CycleResult:
        """The result of a finished run."""
        w, s = self.w, self.s
        busy = {u.name.lower(): int(s[S.BUSY + u]) for u in Unit}
        busy["read_port"] = int(s[S.READ_BEATS])
        size = self.program.cfg.instruction_bytes
        return CycleResult(
            program=self.program,
            cycles=int(w[:, W.RETIRE].max()) + 1 if len(self.program) else 0,
            dispatch=w[:, W.DISPATCH].copy(),
            start=w[:, W.START].copy(),
            issue=w[:, W.ISSUE].copy(),
            last=w[:, W.LAST].copy(),
            retire=w[:, W.RETIRE].copy(),
            causes=w[:, W.CAUSES : W.CAUSES + len(CAUSES)].copy(),
            beats=w[:, W.BEATS].copy(),
            busy=busy,
            fetch_beats=-(-len(self.program) * size // self.program.cfg.bus_bytes),
            wall_s=seconds,
        )


def _initial(program: Program) -> np.ndarray:
    """The state `s` before cycle 0."""
    cfg, memory = program.cfg, program.cfg.memory
    s = np.zeros(S.SIZE, np.int64)
    stalls = memory.stall_seed is not None and memory.stall_rate > 0
    fifo = FETCH_FIFO * cfg.instruction_bytes
    values = {
        S.COUNT: len(program),
        S.BUS_BYTES: cfg.bus_bytes,
        S.BURST_BEATS: cfg.burst_beats,
        S.FETCH_BURST: min(cfg.burst_beats, fifo // (2 * cfg.bus_bytes)),
        S.FETCH_BYTES: fifo,
        S.INSTRUCTION_BYTES: cfg.instruction_bytes,
        S.TOKEN_DEPTH: cfg.token_depth,
        S.READ_LATENCY: memory.read_latency,
        S.WRITE_LATENCY: memory.write_latency,
        S.READ_OUTSTANDING: memory.read_outstanding,
        S.WRITE_OUTSTANDING: memory.write_outstanding,
        S.STALL_SEED: memory.stall_seed or 0,
        S.STALL_RATE: int(memory.stall_rate * 2**24) if stalls else 0,
        S.PARAM_VECTORS: cfg.param_vectors,
        S.QUEUE: cfg.load_queue,
        S.QUEUE + 1: cfg.compute_queue,
        S.QUEUE + 2: cfg.store_queue,
        S.FETCH_WORD: program.address // cfg.bus_bytes,
        S.FETCH_LEFT: -(-len(program) * cfg.instruction_bytes // cfg.bus_bytes),
        S.DISPATCH_CYCLE: -1,
        S.READ_TAKEN: -1,
        S.WRITE_RESPONSE: -1,
        S.LAST_ISSUE: -1,
    }
    for index, value in values.items():
        s[index] = value
    return s


@lru_cache(maxsize=4)
def _library(uop_bytes: int) -> Library:
    """The event loop; of the configuration only the size of a micro-op is compiled in."""
    return build([simulate], {"uop_bytes": uop_bytes})
