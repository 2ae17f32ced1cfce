"""A sweep cut into parts: which machines and programs, run by a pool of processes, kept in a file to go on from.

A part is some programs on one machine under every memory. Each is generated and decoded once for all memories.
"""

from __future__ import annotations

import dataclasses
import json
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from hw.config import Config
from hw.errors import VdlaError
from sim.rtl.build import ROOT, digest, library
from sim.rtl.cases import PROFILES, SMALL, random_case, random_machine
from sim.rtl.coverage import Coverage
from sim.rtl.lockstep import Difference, compare, shrink
from sim.rtl.machine import Machine

PART = 50
"""Programs in a part."""


class SweepError(VdlaError):
    """The file of a sweep's state is not of this sweep."""


@dataclass(frozen=True)
class Plan:
    """What a sweep runs: `programs` programs of about `length` instructions on each machine, in `profiles` memories."""

    machines: int
    programs: int
    profiles: int
    length: int
    seed: int

    @property
    def configs(self) -> list[Config]:
        """The machines: those of the normal tests, then random ones."""
        return [*SMALL, *(random_machine(s) for s in range(self.seed, self.seed + self.machines))][: self.machines]

    @property
    def parts(self) -> list[tuple[int, range]]:
        """Machine and seeds of each part, machine by machine."""
        seeds = range(self.seed, self.seed + self.programs)
        return [(m, seeds[at : at + PART]) for m in range(self.machines) for at in range(0, self.programs, PART)]

    @property
    def key(self) -> str:
        """Of the plan and of every source that its outcome depends on."""
        sources = [
            f for folder in ("hw", "sim") for suffix in ("py", "cpp", "h") for f in (ROOT / folder).rglob(f"*.{suffix}")
        ]
        return digest(sorted(sources), json.dumps(dataclasses.asdict(self)))


@dataclass
class Share:
    """What some runs found."""

    runs: int = 0
    instructions: int = 0
    cycles: int = 0
    coverage: Coverage = field(default_factory=Coverage)
    difference: Difference | None = None

    def update(self, other: Share) -> None:
        """Add what other runs found."""
        self.runs += other.runs
        self.instructions += other.instructions
        self.cycles += other.cycles
        self.coverage.update(other.coverage)
        self.difference = self.difference or other.difference


def run_part(cfg: Config, seeds: range, profiles: int, length: int) -> Share:
    """The programs `seeds` on one machine, each with the first `profiles` memories. Stops at the first difference."""
    share, machine = Share(), _machine(cfg)
    for seed in seeds:
        case = random_case(seed, cfg, length)
        for profile in PROFILES[:profiles]:
            outcome = compare(machine, case.under(profile), share.coverage)
            share.runs += 1
            share.instructions += len(case.program)
            if isinstance(outcome, Difference):
                share.difference = shrink(machine, outcome)
                return share
            share.cycles += outcome
    return share


@lru_cache(maxsize=4)
def _machine(cfg: Config) -> Machine:
    """Kept in the process for its next part."""
    return Machine(cfg)


class State:
    """The finished parts of a sweep, one line of JSON each, behind a line with the plan's key.

    Without a path nothing is kept. Raises SweepError when the file belongs to another plan or to other sources.
    """

    def __init__(self, path: Path | None, plan: Plan) -> None:
        self.done: dict[int, Share] = {}
        self.machines: dict[int, Share] = {}
        """What was found on each machine."""
        self.seconds = 0.0
        """Wall-clock time of all sittings."""
        self._path = path
        self._since = time.perf_counter()
        if path is None:
            return
        if not path.exists():
            path.write_text(json.dumps({"key": plan.key}) + "\n", encoding="utf-8")
            return
        header, *lines = path.read_text(encoding="utf-8").splitlines() or [""]
        if _json(header).get("key") != plan.key:
            raise SweepError(f"{path} is of another sweep or of other sources; remove it or name another file")
        for line in lines:
            # A line that was being written when the sweep was stopped is worth nothing.
            if data := _json(line):
                share = Share(data["runs"], data["instructions"], data["cycles"], Coverage.from_dict(data["coverage"]))
                self._count(plan, data["part"], share, data["seconds"])

    def add(self, plan: Plan, part: int, share: Share) -> None:
        """A part has ended without a difference."""
        now = time.perf_counter()
        self._count(plan, part, share, now - self._since)
        data = {"part": part, "seconds": now - self._since, "coverage": share.coverage.to_dict()}
        data |= {name: getattr(share, name) for name in ("runs", "instructions", "cycles")}
        self._since = now
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(data) + "\n")

    @property
    def total(self) -> Share:
        """Of all finished parts."""
        total = Share()
        for share in self.done.values():
            total.update(share)
        return total

    def _count(self, plan: Plan, part: int, share: Share, seconds: float) -> None:
        self.done[part] = share
        self.machines.setdefault(plan.parts[part][0], Share()).update(share)
        self.seconds += seconds


def _json(line: str) -> dict[str, Any]:
    """The line's object; empty if it is none."""
    try:
        data = json.loads(line)
    except json.JSONDecodeError:
        return {}
    return data if isinstance(data, dict) else {}


def sweep(
    plan: Plan, state: State, jobs: int, built: Callable[[int], None], ran: Callable[[Share], None]
) -> Difference | None:
    """Run the parts that `state` lacks in `jobs` processes; the first difference, which ends it.

    `built(machine)` and `ran(share)` tell of progress. After a KeyboardInterrupt the parts that run are finished and
    kept. Raises RtlBuildError when a machine cannot be built.
    """
    configs, parts = plan.configs, plan.parts
    left = [n for n in range(len(parts)) if n not in state.done]
    # Not forked: the process may have threads by now.
    with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_ignore_interrupts) as pool:
        try:
            # Machines first: a part whose machine is missing would only wait for another process to build it.
            needed = sorted({parts[n][0] for n in left})
            for future, machine in _completed({pool.submit(library, configs[m]): m for m in needed}):
                future.result()
                built(machine)
            running: dict[Future[Share], int] = {}
            for n in left:
                machine, seeds = parts[n]
                running[pool.submit(run_part, configs[machine], seeds, plan.profiles, plan.length)] = n
            try:
                for future, n in _completed(running):
                    share = future.result()
                    if share.difference is not None:
                        return share.difference
                    state.add(plan, n, share)
                    ran(share)
            except KeyboardInterrupt:
                pool.shutdown(cancel_futures=True)
                for future, n in running.items():
                    if n not in state.done and not future.cancelled() and future.result().difference is None:
                        state.add(plan, n, future.result())
                raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    return None


def _completed(futures: dict[Any, int]) -> Iterator[tuple[Any, int]]:
    """The futures as they complete, with their numbers."""
    for future in as_completed(futures):
        yield future, futures[future]


def _ignore_interrupts() -> None:
    """An interrupt from the keyboard reaches every process; the first one decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
