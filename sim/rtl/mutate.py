"""`python -m sim.rtl.mutate`, in the project's folder: how many faults planted in the RTL do the benches find?

Each fault is run in lock-step on random programs, machines and memories; if nothing differs, through the tests of
registers, errors, resets and answers in any order; then through the benches of single units. The first that notices
ends it. A fault that does not elaborate, or that changes the Verilog of none of the machines, does not count.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import lru_cache
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
import pytest

from hw.config import Config
from hw.errors import VdlaError
from sim.rtl import build
from sim.rtl.build import ROOT, TOP, cached_verilog, digest, library_for_once
from sim.rtl.cases import PROFILES, SMALL, random_case
from sim.rtl.lockstep import Difference, compare
from sim.rtl.machine import Machine
from sim.rtl.mutations import FOLDER, Mutation, mutations, plant

LOCKSTEP = "lock-step"
STAGES = {
    "errors and resets": ("test_control.py", "test_faults.py", "test_answer_order.py"),
    "parts of units": ("test_units.py",),
    "single units": ("test_unit_benches.py",),
}
"""Tests of tests/rtl that a fault goes through when the lock-step finds nothing."""
PART_OF = {
    "decode": "fetch", "interlock": "sequencer", "logic": "test", "layouts": "test", "tokens": "tokens or in_flight",
    "walk": "fetch or load or store",
}  # fmt: skip
"""Modules that are in units of another name: those of test_unit_benches.py that have them (of its tests, all)."""
HANG_S = 600
"""Every bench bounds the cycles of a machine that does not end; this ends a simulator that does not get on."""
ENOUGH = 95.0
"""Percent of the faults that the command asks for."""


class CampaignError(VdlaError):
    """The machine fails without a fault, or the file of verdicts is not of this RTL."""


class Fate(StrEnum):
    """What became of a fault."""

    KILLED = "killed"
    SURVIVED = "survived"
    SAME = "same Verilog"
    BROKEN = "does not elaborate"


@dataclass(frozen=True)
class Verdict:
    """A fault's fate; of one killed, by which stage and what was noticed."""

    fate: Fate
    stage: str = ""
    how: str = ""


# ---- one fault, in a process of its own -------------------------------------------------------------------------


def judge(mutation: Mutation | None, programs: int) -> Verdict:
    """Plant a fault (None: none at all) in this process and run everything until something notices it."""
    with TemporaryDirectory() as name:
        try:
            to_verilog = plant(mutation).to_verilog if mutation else None
        except Exception as error:
            return Verdict(Fate.BROKEN, how=str(error))

        @lru_cache
        def text(cfg: Config) -> str:
            return to_verilog(cfg, name=TOP, simulation=True) if to_verilog else cached_verilog(cfg)

        def library(cfg: Config) -> Path:
            folder = Path(name) / cfg.fingerprint
            if folder.exists():
                return next(folder.glob("*.so"))
            folder.mkdir()
            return library_for_once(text(cfg), cfg, folder)

        changed = False
        for cfg in SMALL:
            # A changed generator may raise anything at all; that is no fault of the machine.
            try:
                if mutation and text(cfg) == cached_verilog(cfg):
                    continue
                path = library(cfg)
            except Exception as error:
                return Verdict(Fate.BROKEN, how=str(error))
            changed = True
            if how := _lockstep(cfg, path, programs):
                return Verdict(Fate.KILLED, LOCKSTEP, how)
        if not changed:
            return Verdict(Fate.SAME)
        # The tests ask for a machine by its configuration; here they are to get the changed one.
        build.library = lambda cfg, *, wave=None: library(cfg)
        for stage, tests in STAGES.items():
            module = mutation.module if mutation and tests == STAGES["single units"] else ""
            if how := _failing(tests, PART_OF.get(module, module)):
                return Verdict(Fate.KILLED, stage, how)
    return Verdict(Fate.SURVIVED)


def _lockstep(cfg: Config, path: Path, programs: int) -> str:
    """The first difference between a machine and the simulator; empty if there is none."""
    try:
        with Machine(cfg, path=path) as machine:
            for seed in range(programs):
                case = random_case(seed, cfg)
                for profile in PROFILES:
                    outcome = compare(machine, case.under(profile))
                    if isinstance(outcome, Difference):
                        return f"program {seed}: {outcome.summary}"
    except VdlaError as error:
        return str(error)
    return ""


class _FirstFailure:
    """A pytest plugin that keeps the name of the first test to fail."""

    name = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.name:
            self.name = report.nodeid


def _failing(tests: Sequence[str], names: str) -> str:
    """The first failing test of some files of tests/rtl, of those with such names; empty if all pass, or none has."""
    first = _FirstFailure()
    paths = [str(ROOT / "tests" / "rtl" / test) for test in tests]
    with redirect_stdout(StringIO()):
        code = pytest.main(
            [*paths, "-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", names], plugins=[first]
        )
    return (
        ""
        if code in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
        else first.name or "the tests cannot be collected"
    )


# ---- many -------------------------------------------------------------------------------------------------------


def sample(count: int, seed: int) -> list[Mutation]:
    """`count` faults, drawn from every module in turn, each of the kind that was drawn least so far."""
    every = mutations()
    left: dict[str, dict[str, list[Mutation]]] = {}
    for index in np.random.default_rng(seed).permutation(len(every)):
        left.setdefault(every[index].module, {}).setdefault(every[index].kind, []).append(every[index])
    drawn: list[Mutation] = []
    while left:
        for module, kinds in list(left.items()):
            used = Counter(m.kind for m in drawn)
            kind = min(kinds, key=lambda kind: used[kind])
            drawn.append(kinds[kind].pop())
            if not kinds[kind]:
                del kinds[kind]
            if not kinds:
                del left[module]
            if len(drawn) == count:
                return sorted(drawn, key=lambda m: (m.module, m.site))
    return sorted(drawn, key=lambda m: (m.module, m.site))


def check_plain(programs: int) -> None:
    """Raises CampaignError if the benches find fault with the machine as it is."""
    plain = judge_apart(None, programs)
    if plain.fate != Fate.SURVIVED:
        raise CampaignError(f"{plain.stage} finds fault with the machine as it is: {plain.how}")


def campaign(
    chosen: Sequence[Mutation], programs: int, jobs: int, path: Path | None = None
) -> Iterator[tuple[Mutation, Verdict]]:
    """Judge faults, each in a process of its own, `jobs` at once; in their order.

    With a path, verdicts are kept in that file and taken from it, but survivors are judged again: the benches may have
    become better. Raises CampaignError when the file is of another RTL.
    """
    known = _recall(path) if path else {}

    def verdict_of(mutation: Mutation) -> Verdict:
        verdict = known.get(str(mutation)) or judge_apart(mutation, programs)
        if path and str(mutation) not in known:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"fault": str(mutation), **asdict(verdict)}) + "\n")
        return verdict

    with ThreadPoolExecutor(jobs) as pool:
        yield from zip(chosen, pool.map(verdict_of, chosen), strict=True)


def _recall(path: Path) -> dict[str, Verdict]:
    """The verdicts in a file, which is made if it is missing, without survivors."""
    key = digest(sorted(FOLDER.glob("*.py")))
    if not path.exists():
        path.write_text(json.dumps({"key": key}) + "\n", encoding="utf-8")
    header, *lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    if header["key"] != key:
        raise CampaignError(f"{path} is of another RTL; remove it or name another file")
    verdicts = {line.pop("fault"): Verdict(Fate(line.pop("fate")), **line) for line in lines}
    return {fault: verdict for fault, verdict in verdicts.items() if verdict.fate != Fate.SURVIVED}


def judge_apart(mutation: Mutation | None, programs: int) -> Verdict:
    """judge() in a process of its own: its hw.rtl is changed for good, and a machine may loop for ever or abort."""
    site = f"{mutation.module}:{mutation.site}" if mutation else ""
    command = [sys.executable, "-m", "sim.rtl.mutate", "--programs", str(programs), "--judge", site]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == -signal.SIGALRM:
        return Verdict(Fate.KILLED, LOCKSTEP, "the simulation does not end")
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no output"]
        return Verdict(Fate.KILLED, LOCKSTEP, f"the simulation aborts: {lines[-1]}")
    answer = json.loads(done.stdout.splitlines()[-1])
    return Verdict(Fate(answer["fate"]), answer["stage"], answer["how"])


@dataclass
class Score:
    """Faults of one kind: how many count, and how many each stage killed."""

    counted: int
    killed: dict[str, int]

    @classmethod
    def of(cls, outcomes: Sequence[tuple[Mutation, Verdict]], chosen: Callable[[Mutation], bool]) -> Score:
        """The score of those faults that are `chosen`."""
        verdicts = [v for m, v in outcomes if chosen(m) and v.fate in (Fate.KILLED, Fate.SURVIVED)]
        return cls(len(verdicts), {s: sum(v.stage == s for v in verdicts) for s in (LOCKSTEP, *STAGES)})

    @property
    def total(self) -> int:
        """All that were killed."""
        return sum(self.killed.values())

    @property
    def percent(self) -> float:
        """Of the faults that count, those killed."""
        return 100 * self.total / self.counted if self.counted else 100.0


@click.command()
@click.option("--count", default=100, show_default=True, type=click.IntRange(1), help="Faults to plant.")
@click.option("--programs", default=25, show_default=True, help="Random programs to find one with.")
@click.option("--seed", default=0, show_default=True, help="Which faults.")
@click.option("--jobs", default=len(os.sched_getaffinity(0)), show_default="all cores", help="Processes.")
@click.option(
    "--state",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Keep verdicts in this file; the same command then judges only survivors, and what is missing.",
)
@click.option("--judge", "site", hidden=True, help="Judge this one fault, or the machine as it is, and print its fate.")
def main(count: int, programs: int, seed: int, jobs: int, path: Path | None, site: str | None) -> None:
    """Plant faults in the RTL and count those that the benches find."""
    if site is not None:
        signal.alarm(HANG_S)
        mutation = next(m for m in mutations() if f"{m.module}:{m.site}" == site) if site else None
        click.echo(json.dumps(asdict(judge(mutation, programs))))
        return
    outcomes = []
    try:
        check_plain(programs)
        for mutation, verdict in campaign(sample(count, seed), programs, jobs, path):
            outcomes.append((mutation, verdict))
            click.echo(f"{verdict.fate}: {mutation}" + (f"  [{verdict.stage}: {verdict.how}]" if verdict.how else ""))
    except CampaignError as error:
        raise click.ClickException(str(error)) from None
    for kind in sorted({m.kind for m, _ in outcomes}):
        score = Score.of(outcomes, lambda m, kind=kind: m.kind == kind)
        click.echo(f"{kind}: {score.total} of {score.counted}")
    score = Score.of(outcomes, lambda _: True)
    click.echo(f"killed {score.total} of {score.counted} ({score.percent:.1f} %)")
    sys.exit(0 if score.percent >= ENOUGH else 1)


if __name__ == "__main__":
    main()
