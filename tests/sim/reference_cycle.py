"""A simulator that steps every unit every cycle, straight from docs/timing.md, to compare `sim.cycle` with.

Nothing here is fast or shared with `sim`: registers are plain attributes, a cycle reads what earlier cycles left, and
each rule is a test made anew every cycle, as hardware makes it. Bits are not simulated; micro-ops are given.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hw import timing
from hw.config import Config
from hw.isa import Alu, AluSource, Gemm, Instruction, Load, Requant, Store, Sync, Uop

LOAD, COMPUTE, STORE = 0, 1, 2


def runs(m: Load | Store) -> Iterator[tuple[int, int]]:
    """(address, length) of the runs in DRAM."""
    for y in range(m.y_size):
        row = m.dram + y * m.y_dram
        if m.x_dram == m.seg or m.x_size == 1:
            yield row, m.x_size * m.seg
        else:
            for x in range(m.x_size):
                yield row + x * m.x_dram, m.seg


def bursts(m: Load | Store, cfg: Config) -> list[list[int]]:
    """The bursts of a copy; each a list with the number of pieces of every beat."""
    bus = cfg.bus_bytes
    result = []
    for address, length in runs(m):
        beats: list[int] = []
        for start in range(address // bus * bus, address + length, bus):
            if beats and (len(beats) == cfg.burst_beats or start % 4096 == 0):
                result.append(beats)
                beats = []
            inside = [a for a in range(start, start + bus) if address <= a < address + length]
            beats.append(len({(a - address) // m.seg for a in inside}))
        result.append(beats)
    return result


@dataclass
class Flight:
    """An instruction between start and retirement."""

    index: int
    instr: Instruction
    started: int
    complete: int | None = None


@dataclass
class Burst:
    """A read burst; `load` is None for a fetch."""

    beats: list[int]
    load: Flight | None
    last: bool = False
    accepted: int = 0
    done: int = 0


@dataclass
class Reference:
    """One run; `run()` steps it to its end. `uops` has the micro-ops of each compute instruction.

    `retire` and `causes` (cause -> cycles) are by instruction; `drain` counts the cycles after the last compute one.
    """

    cfg: Config
    program: list[Instruction]
    uops: Mapping[int, list[Uop]]
    address: int
    retire: dict[int, int] = field(default_factory=dict)
    causes: dict[int, dict[str, int]] = field(default_factory=dict)
    drain: int = 0

    def __post_init__(self) -> None:
        self.queue: list[deque[int]] = [deque(), deque(), deque()]
        self.flight: list[deque[Flight]] = [deque(), deque(), deque()]
        self.tokens = {(LOAD, COMPUTE): 0, (COMPUTE, LOAD): 0, (COMPUTE, STORE): 0, (STORE, COMPUTE): 0}
        self.dispatched = 0
        # Fetch.
        size, bus = self.cfg.instruction_bytes, self.cfg.bus_bytes
        self.fetch_at = self.address
        self.fetch_beats = -(-len(self.program) * size // bus)
        self.granted_bytes = self.received_bytes = 0
        self.arrivals: deque[int] = deque(maxlen=timing.FETCH_DECODE)
        # Read port.
        self.ar: Burst | None = None
        self.reading: deque[Burst] = deque()
        self.read_beats = 0
        self.gap: int | None = None
        self.read_ended = False
        # Load.
        self.address_generator: Flight | None = None
        self.requests: deque[list[int]] = deque()
        self.data_side: deque[Flight] = deque()
        self.data_free = 0
        # Compute.
        self.decode: Flight | None = None
        self.issue: Flight | None = None
        self.steps: deque[Any] = deque()
        self.writes: dict[int, int] = {}
        self.last_operation: tuple[str, int] | None = None
        self.next_compute = 0
        self.compute = [i for i, m in enumerate(self.program) if m.UNIT == COMPUTE]
        # Store.
        self.storing: Flight | None = None
        self.aws: deque[int] = deque()
        self.aw_ready = 0
        self.aw_accepted: list[int] = []
        self.w_beats: deque[tuple[int, int, bool, bool]] = deque()
        self.w_ready = 0
        self.w_gap: int | None = None
        self.w_count = 0
        self.response_queue: deque[tuple[int, Flight, bool]] = deque()
        self.response_gap: int | None = None
        self.responses = 0
        self.open_writes = 0

    def stall(self, channel: int, index: int) -> int:
        memory = self.cfg.memory
        return int(timing.stall_gap(memory.stall_seed, memory.stall_rate, channel, np.array([index]))[0])

    def run(self, limit: int = 200_000) -> int:
        """Cycles of the whole program; raises TimeoutError if it does not end within `limit`."""
        c = 0
        while len(self.retire) < len(self.program):
            if c >= limit:
                raise TimeoutError(f"not finished after {limit} cycles")
            self.step(c)
            c += 1
        return c

    def step(self, c: int) -> None:
        # What earlier cycles left behind: every signal between units is registered.
        tokens = dict(self.tokens)
        queued = [list(q) for q in self.queue]
        flying = [len(f) for f in self.flight]
        dispatched = self.dispatched
        self.arrivals.append(self.received_bytes)  # before this cycle; the oldest: before FETCH_DECODE - 1 cycles ago
        idle = [self.address_generator is None, True, self.storing is None]

        self.step_read_data(c)
        self.step_fill(c)
        self.step_read_address(c, dispatched)
        self.step_issue(c, tokens, queued)
        self.step_store(c)
        for unit in (LOAD, COMPUTE, STORE):
            self.step_retire(c, unit, tokens)
        for unit in (LOAD, COMPUTE, STORE):
            # Compute's decode stage may be refilled in the cycle in which it is emptied (6.1), the others not.
            free = self.decode is None if unit == COMPUTE else idle[unit]
            if free and flying[unit] < timing.IN_FLIGHT:
                self.step_start(c, unit, tokens, queued[unit])
        self.step_dispatch(self.arrivals[0], queued)

    # -------------------------------------------------------------- section 2: start and retire

    def step_retire(self, c: int, unit: int, tokens: dict[tuple[int, int], int]) -> None:
        if not self.flight[unit]:
            return
        head = self.flight[unit][0]
        if head.complete is None or head.complete > c:
            return
        pushes = []
        if head.instr.push_prev:
            pushes.append((unit, unit - 1))
        if head.instr.push_next:
            pushes.append((unit, unit + 1))
        if any(tokens[p] >= self.cfg.token_depth for p in pushes):
            return
        for p in pushes:
            self.tokens[p] += 1
        self.flight[unit].popleft()
        self.retire[head.index] = c

    def step_start(self, c: int, unit: int, tokens: dict[tuple[int, int], int], queued: list[int]) -> None:
        if not queued:
            return
        instr = self.program[queued[0]]
        pops = []
        if instr.pop_prev:
            pops.append((unit - 1, unit))
        if instr.pop_next:
            pops.append((unit + 1, unit))
        if any(tokens[p] == 0 for p in pops):
            return
        for p in pops:
            self.tokens[p] -= 1
        flight = Flight(self.queue[unit].popleft(), instr, c)
        self.flight[unit].append(flight)
        if unit == LOAD:
            self.address_generator = flight
            self.data_side.append(flight)
            if isinstance(instr, Load) and not instr.fill:
                self.requests = deque(bursts(instr, self.cfg))
        elif unit == COMPUTE:
            self.decode = flight
        else:
            self.start_store(flight)

    # -------------------------------------------------------------- sections 3 and 4: read port, fetch, dispatch

    def step_dispatch(self, received: int, queued: list[list[int]]) -> None:
        i = self.dispatched
        if i == len(self.program) or received < (i + 1) * self.cfg.instruction_bytes:
            return
        unit = int(self.program[i].UNIT)
        places = (self.cfg.load_queue, self.cfg.compute_queue, self.cfg.store_queue)[unit]
        if len(queued[unit]) < places:
            self.queue[unit].append(i)
            self.dispatched += 1

    def fetch_burst(self) -> int:
        cfg = self.cfg
        longest = min(cfg.burst_beats, timing.FETCH_FIFO * cfg.instruction_bytes // (2 * cfg.bus_bytes))
        to_page = (4096 - self.fetch_at % 4096) // cfg.bus_bytes
        return min(longest, to_page, self.fetch_beats)

    def step_read_address(self, c: int, dispatched: int) -> None:
        # A burst that ended in this very cycle still counts as outstanding.
        outstanding = len(self.reading) + self.read_ended
        if self.ar is not None and outstanding < self.cfg.memory.read_outstanding:
            self.ar.accepted = c
            self.reading.append(self.ar)
            self.ar = None
        if self.ar is not None:
            return
        cfg = self.cfg
        fifo = timing.FETCH_FIFO * cfg.instruction_bytes
        if self.fetch_beats:
            burst = self.fetch_burst()
            if self.granted_bytes + burst * cfg.bus_bytes - dispatched * cfg.instruction_bytes <= fifo:
                self.ar = Burst([1] * burst, None)
                self.granted_bytes += burst * cfg.bus_bytes
                self.fetch_at += burst * cfg.bus_bytes
                self.fetch_beats -= burst
                return
        unit = self.address_generator
        if unit is None or c < unit.started + timing.DECODE:
            return
        if isinstance(unit.instr, Load) and not unit.instr.fill:
            beats = self.requests.popleft()
            self.ar = Burst(beats, unit, last=not self.requests)
            if not self.requests:
                self.address_generator = None

    def step_read_data(self, c: int) -> None:
        self.read_ended = False
        if not self.reading:
            return
        burst = self.reading[0]
        if self.gap is None:
            if burst.done == 0 and c < burst.accepted + self.cfg.memory.read_latency:
                return
            self.gap = self.stall(timing.READ, self.read_beats)
        if self.gap > 0:
            self.gap -= 1
            return
        if burst.load is not None:
            # Not ready while pieces of an earlier beat are written, or a fill of an earlier load is pending.
            if c < self.data_free or self.data_side[0] is not burst.load:
                return
            self.data_free = c + burst.beats[burst.done]
        else:
            self.received_bytes += self.cfg.bus_bytes
        self.gap = None
        self.read_beats += 1
        burst.done += 1
        if burst.done == len(burst.beats):
            self.reading.popleft()
            self.read_ended = True
            if burst.load is not None and burst.last:
                burst.load.complete = self.data_free - 1 + timing.SRAM_WRITE
                self.data_side.popleft()

    # -------------------------------------------------------------- section 5: fills

    def step_fill(self, c: int) -> None:
        generator = self.address_generator
        if generator is not None and isinstance(generator.instr, Load) and generator.instr.fill:
            if c >= generator.started + timing.DECODE:
                self.address_generator = None
        if self.data_side and c >= self.data_free:
            head = self.data_side[0]
            m = head.instr
            if isinstance(m, Load) and m.fill and c >= head.started + timing.DECODE:
                self.data_free = c + m.y_size * m.x_size * -(-m.seg // self.cfg.bus_bytes)
                head.complete = self.data_free - 1 + timing.SRAM_WRITE
                self.data_side.popleft()

    # -------------------------------------------------------------- section 6: compute

    def operations(self, index: int, m: Instruction) -> deque[Any]:
        """What the instruction does in the issue stage: "sync", "param", or (kind, reads, write or None)."""
        steps: deque[Any] = deque()
        if isinstance(m, Sync):
            steps.append("sync")
            return steps
        assert isinstance(m, Gemm | Alu | Requant)
        for u in self.uops[index]:
            if isinstance(m, Requant):
                steps.extend(["param"] * self.cfg.param_vectors)
            for i in range(m.iter_out):
                for j in range(m.iter_in):
                    d = m.dst_base + u.dst + i * m.dst_out + j * m.dst_in
                    reads = [] if u.overwrite and not isinstance(m, Requant) else [d]
                    if isinstance(m, Alu) and m.source == AluSource.ACC:
                        reads.append(m.src_base + u.src + i * m.src_out + j * m.src_in)
                    to_out = False if isinstance(m, Gemm) else m.to_out
                    steps.append((type(m).__name__.lower(), reads, None if to_out else d))
        return steps

    def step_issue(self, c: int, tokens: dict[tuple[int, int], int], queued: list[list[int]]) -> None:
        if self.issue is None and self.decode is not None and c >= self.decode.started + timing.DECODE:
            self.issue, self.decode = self.decode, None
            self.steps = self.operations(self.issue.index, self.issue.instr)
        if self.issue is None:
            self.idle_cause(c, tokens, queued)
            return
        index = self.issue.index
        step = self.steps[0]
        if isinstance(step, str):
            self.count(index, "decode" if step == "sync" else "param")
        else:
            kind, reads, write = step
            gemm = kind == "gemm"
            if self.last_operation is not None:
                before, when = self.last_operation
                latency = timing.GEMM_LATENCY if before == "gemm" else timing.VECTOR_LATENCY
                if (before == "gemm") != gemm and c < when + latency:
                    self.count(index, "switch")
                    return
            hazard = timing.GEMM_HAZARD if gemm else timing.VECTOR_HAZARD
            if any(d in self.writes and c < self.writes[d] + hazard for d in reads):
                self.count(index, "hazard")
                return
            if write is not None:
                self.writes[write] = c
            self.last_operation = (kind, c)
            self.count(index, kind)
        self.steps.popleft()
        if not self.steps:
            latency = {"sync": timing.SYNC_LATENCY, "gemm": timing.GEMM_LATENCY}
            self.issue.complete = c + latency.get(type(self.issue.instr).__name__.lower(), timing.VECTOR_LATENCY)
            self.issue = None
            self.next_compute += 1

    def idle_cause(self, c: int, tokens: dict[tuple[int, int], int], queued: list[list[int]]) -> None:
        if self.next_compute == len(self.compute):
            self.drain += 1
            return
        index = self.compute[self.next_compute]
        started = self.decode is not None
        if not started and index not in queued[COMPUTE]:
            self.count(index, "fetch")
        elif not started and self.program[index].pop_prev and tokens[LOAD, COMPUTE] == 0:
            self.count(index, "wait_load")
        elif not started and self.program[index].pop_next and tokens[STORE, COMPUTE] == 0:
            self.count(index, "wait_store")
        else:
            self.count(index, "decode")

    def count(self, index: int, cause: str) -> None:
        row = self.causes.setdefault(index, {})
        row[cause] = row.get(cause, 0) + 1

    # -------------------------------------------------------------- section 7: store

    def start_store(self, flight: Flight) -> None:
        assert isinstance(flight.instr, Store)
        self.storing = flight
        groups = bursts(flight.instr, self.cfg)
        first = len(self.aw_accepted)
        self.aws = deque(range(first, first + len(groups)))
        self.aw_ready = flight.started + timing.DECODE
        self.w_ready = flight.started + timing.DECODE + timing.STORE_READ - 1
        self.w_beats = deque()
        for n, group in enumerate(groups):
            for b, pieces in enumerate(group):
                self.w_beats.append((pieces, first + n, b == 0, b + 1 == len(group)))

    def step_store(self, c: int) -> None:
        memory = self.cfg.memory
        answered = self.step_response(c)
        accepted_before = len(self.aw_accepted)
        if self.storing is not None and self.storing.started < c:
            if self.aws and c >= self.aw_ready and self.open_writes < memory.write_outstanding:
                self.aw_accepted.append(c)
                self.aws.popleft()
                self.open_writes += 1
                self.aw_ready = c + 1
        self.open_writes -= answered
        if self.storing is None or not self.w_beats:
            return
        pieces, burst, first, last = self.w_beats[0]
        if self.w_gap is None:
            if c < self.w_ready + pieces or (first and burst >= accepted_before):
                return
            self.w_gap = self.stall(timing.WRITE, self.w_count)
        if self.w_gap > 0:
            self.w_gap -= 1
            return
        self.w_gap = None
        self.w_count += 1
        self.w_ready = c
        self.w_beats.popleft()
        if last:
            self.response_queue.append((c, self.storing, not self.w_beats))
        if not self.w_beats:
            self.storing = None

    def step_response(self, c: int) -> int:
        if not self.response_queue:
            return 0
        taken, flight, last = self.response_queue[0]
        if self.response_gap is None:
            if c < taken + self.cfg.memory.write_latency:
                return 0
            self.response_gap = self.stall(timing.RESPONSE, self.responses)
        if self.response_gap > 0:
            self.response_gap -= 1
            return 0
        self.response_gap = None
        self.responses += 1
        self.response_queue.popleft()
        if last:
            flight.complete = c + timing.STORE_RETIRE
        return 1
