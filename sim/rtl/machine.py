"""Runs a program on the Verilated machine, driven through its control registers as a driver would.

The result has the form of the cycle simulator's, from the trace port: so the two can be compared, and every report
works on either.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np

from hw.config import Config
from hw.errors import DeadlockError, VdlaError
from hw.isa import Opcode, Unit
from hw.rtl.registers import OFFSET, Control, Error, Status
from hw.timing import CAUSES, DECODE, START_LATENCY
from sim.cycle.result import CycleResult
from sim.program import F, Program, decode
from sim.rtl.bench import Bench, Recording
from sim.rtl.build import WaveFormat, library

QUIET_CYCLES = 50_000_000
"""A machine that retires nothing for so long is taken for deadlocked."""
_CHUNK = 1 << 18


class RtlError(VdlaError):
    """The machine reported an error, or disagrees with what is known of the program."""


class WaveError(VdlaError):
    """A waveform is asked for in a file that says no format."""


@dataclass(frozen=True)
class Wave:
    """Which cycles (both included) of a run go to a waveform file, whose suffix (.vcd or .fst) says its format."""

    path: Path
    first: int = 0
    last: int = 1 << 62

    def __post_init__(self) -> None:
        self.format_of(self.path)

    @staticmethod
    def format_of(path: Path) -> WaveFormat:
        """The format that a file's name asks for. Raises WaveError when it is neither .vcd nor .fst."""
        for kind in get_args(WaveFormat):
            if path.suffix == f".{kind}":
                return kind
        raise WaveError(f"a waveform is written as .vcd or as .fst, not as '{path.name}'")


class RtlResult(CycleResult):
    """A run on the RTL. As a CycleResult, but for loads and stores `last` is the retirement: the trace has no other."""


class Machine:
    """A machine that runs programs one after the other, without a reset between them. Close it, or use `with`.

    `wave` is the format of waveforms, if any are wanted. Raises RtlBuildError when it cannot be built.
    """

    def __init__(self, cfg: Config, *, path: Path | None = None, wave: WaveFormat | None = None) -> None:
        self.cfg = cfg
        self.cycles = 0
        """Cycles of all programs so far."""
        self._idle = np.zeros(64, np.uint8)
        self._bench = Bench(path or library(cfg, wave=wave), self._idle, cfg.memory)
        self._bench.reset()
        fingerprint = self._bench.read(OFFSET["FINGERPRINT_HIGH"]) << 32 | self._bench.read(OFFSET["FINGERPRINT_LOW"])
        if f"{fingerprint:016x}" != cfg.fingerprint:
            self.close()
            raise RtlError(f"the machine has the fingerprint {fingerprint:016x}, the configuration {cfg.fingerprint}")

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the machine."""
        self._bench.close()

    def reset(self) -> None:
        """Reset it, for instance after an error; the buffers keep their contents."""
        self._bench.reset()

    def run(
        self,
        memory: np.ndarray,
        program_address: int,
        instructions: int,
        *,
        cfg: Config | None = None,
        wave: Wave | None = None,
        limit: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> RtlResult:
        """Run a program to its end, changing `memory` (uint8, the DRAM from address 0) in place.

        `cfg`, of the same fingerprint, may give the memory another behaviour. `limit` is the number of cycles after
        which it counts as deadlocked (without it, when nothing retires for QUIET_CYCLES). After any error, reset.

        Raises ProgramError for an illegal program, DeadlockError, BusError when the machine breaks the AXI protocol,
        and RtlError when it reports an error.
        """
        program = decode(memory, program_address, instructions, cfg or self.cfg)
        return self.run_decoded(program, memory, wave=wave, limit=limit, progress=progress)

    def run_decoded(
        self,
        program: Program,
        memory: np.ndarray,
        *,
        wave: Wave | None = None,
        limit: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> RtlResult:
        """As run, for a program that has been decoded from this memory, or from an equal one, before."""
        cfg, instructions = program.cfg, len(program)
        if cfg.fingerprint != self.cfg.fingerprint:
            raise RtlError(f"this machine has the fingerprint {self.cfg.fingerprint}, not {cfg.fingerprint}")
        begin = time.perf_counter()
        of_unit = [int((program.column(F.UNIT) == unit).sum()) for unit in Unit]
        self._bench.attach(memory, cfg.memory)
        with ExitStack() as stack:
            if wave is not None:
                stack.enter_context(self._waveform(wave))
            load, compute, store = of_unit
            recording = self._bench.record(
                (load, compute, store, compute, load, compute, store, instructions), compute + 1
            )
            self._start(program.address, instructions)
            self._finish(recording, instructions, limit, progress)
        counters = {unit.name.lower(): self._bench.read(OFFSET[f"BUSY_{unit.name}"]) for unit in Unit}
        self.cycles += recording.cycles
        # The memory is the caller's again.
        self._bench.attach(self._idle, cfg.memory)
        return _result(program, recording, counters, time.perf_counter() - begin)

    @contextmanager
    def _waveform(self, wave: Wave) -> Iterator[None]:
        """Write a waveform meanwhile. It has its name when it is whole, also of a run that failed."""
        unfinished = wave.path.with_name(f".{wave.path.name}.part")
        # Verilator does not tell when it cannot write.
        unfinished.touch()
        self._bench.wave(unfinished, wave.first, wave.last)
        try:
            yield
        finally:
            self._bench.wave_close()
            os.replace(unfinished, wave.path)

    def _start(self, address: int, count: int) -> None:
        self._bench.write(OFFSET["STATUS"], Status.DONE | Status.ERROR)
        self._bench.write(OFFSET["PROGRAM_ADDRESS"], address)
        self._bench.write(OFFSET["PROGRAM_LENGTH"], count)
        self._bench.write(OFFSET["CONTROL"], Control.START)

    def _finish(
        self, recording: Recording, count: int, limit: int | None, progress: Callable[[int, int], None] | None
    ) -> None:
        # Cycles are counted here too: a machine that never begins to run has none of its own.
        quiet_since, before, spent = 0, -1, 0
        ended = count == 0
        while not ended:
            chunk = _CHUNK if limit is None else min(_CHUNK, max(1, limit + 1 + START_LATENCY - spent))
            ended = self._bench.step(chunk)
            spent += chunk
            retired = sum(recording.counts[f"{u.name.lower()}_retire"] for u in Unit)
            if retired != before:
                quiet_since, before = spent, retired
            if progress is not None:
                progress(retired, count)
            allowed = spent + 1 if limit is None else limit
            stuck = not ended and (spent - quiet_since > QUIET_CYCLES or spent > allowed + START_LATENCY)
            if stuck or recording.cycles > allowed:
                raise DeadlockError(
                    f"the RTL has retired {retired} of {count} instructions after {recording.cycles} cycles"
                )
        if count == 0:
            self._bench.step(16, beyond=True)
        status = Status(self._bench.read(OFFSET["STATUS"]))
        if status != Status.DONE:
            error = Error(self._bench.read(OFFSET["ERROR"]))
            raise RtlError(f"the machine stopped with status {status!r} and error {error.name}")


def run(
    memory: np.ndarray,
    program_address: int,
    instructions: int,
    cfg: Config,
    *,
    wave: Wave | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> RtlResult:
    """As sim.cycle.run, on the RTL: changes `memory` (uint8) in place. `wave` asks for a waveform.

    Raises as Machine.run, and RtlBuildError when the machine cannot be built.
    """
    with Machine(cfg, wave=None if wave is None else Wave.format_of(wave.path)) as machine:
        return machine.run(memory, program_address, instructions, wave=wave, progress=progress)


def _result(program: Program, recording: Recording, busy: dict[str, int], seconds: float) -> RtlResult:
    n, cfg = len(program), program.cfg
    units = program.column(F.UNIT)
    retire, start, last = (np.full(n, -1, np.int64) for _ in range(3))
    for unit in Unit:
        mine = np.flatnonzero(units == unit)
        name = unit.name.lower()
        for target, event in ((retire, "retire"), (start, "start")):
            found = recording.counts.get(f"{name}_{event}", 0)
            if found != mine.size:
                raise RtlError(
                    f"the {name} unit reports {found} times '{event}' in a program with {mine.size} instructions"
                )
            target[mine] = recording.events[f"{name}_{event}"][: mine.size]
    compute = np.flatnonzero(units == Unit.COMPUTE)
    last[:] = retire
    last[compute] = recording.events["compute_last"][: compute.size]
    issue = start + DECODE
    if compute.size:
        issue[compute[1:]] = np.maximum(issue[compute[1:]], last[compute[:-1]] + 1)
    causes = np.zeros((n, len(CAUSES)), np.int64)
    rows = recording.causes[: compute.size, : len(CAUSES)].copy()
    # The machine cannot know that no compute instruction will follow; until then it waits for one.
    drain, fetch = CAUSES.index("drain"), CAUSES.index("fetch")
    rows[:, fetch] += rows[:, drain]
    rows[:, drain] = 0
    causes[compute] = rows
    beats = _beats(program)
    fetch_beats = -(-n * cfg.instruction_bytes // cfg.bus_bytes)
    copies = program.column(F.OPCODE) == Opcode.LOAD
    busy["read_port"] = int(beats[copies].sum()) + fetch_beats
    return RtlResult(
        program=program,
        cycles=recording.cycles,
        dispatch=recording.events["dispatch"][:n].copy(),
        start=start,
        issue=issue,
        last=last,
        retire=retire,
        causes=causes,
        beats=beats,
        busy=busy,
        fetch_beats=fetch_beats,
        wall_s=seconds,
    )


def _beats(program: Program) -> np.ndarray:
    """Bus words that each load and store transfers, int64[n]."""
    bus, opcode = program.cfg.bus_bytes, program.column(F.OPCODE)
    copies = np.flatnonzero(((opcode == Opcode.LOAD) & (program.column(F.FILL) == 0)) | (opcode == Opcode.STORE))
    seg, x_size, x_dram, y_size, y_dram, dram = (
        program.column(f)[copies] for f in (F.SEG, F.X_SIZE, F.X_DRAM, F.Y_SIZE, F.Y_DRAM, F.DRAM)
    )
    # Runs (docs/timing.md, 3): whole rows, or each segment for itself.
    whole = (x_dram == seg) | (x_size == 1)
    length, columns = np.where(whole, seg * x_size, seg), np.where(whole, 1, x_size)
    runs = columns * y_size
    of = np.repeat(np.arange(copies.size), runs)
    number = np.arange(of.size) - np.repeat(np.cumsum(runs) - runs, runs)
    address = dram[of] + number // columns[of] * y_dram[of] + number % columns[of] * x_dram[of]
    words = (address + length[of] + bus - 1) // bus - address // bus
    beats = np.zeros(len(program), np.int64)
    np.add.at(beats, copies[of], words)
    return beats
