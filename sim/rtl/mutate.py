"""`python -m sim.rtl.mutate`, in the project's folder: how many faults planted in the RTL do the benches find?

Each fault is built and run on random programs with two memories, then by the tests of registers, errors and resets.
A fault that does not elaborate, or changes no Verilog, does not count. Survivors are listed, for a person to explain.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from dataclasses import replace
from enum import Enum
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np

from hw.config import Config
from hw.errors import VdlaError
from sim.rtl import build
from sim.rtl.build import TOP, library_for_once, verilog_of
from sim.rtl.cases import PROFILES, SMALL, random_case
from sim.rtl.lockstep import Difference, compare
from sim.rtl.machine import Machine
from sim.rtl.mutations import Mutation, mutations, plant

TIMEOUT_S = 600
MACHINE = SMALL[0]
CONTROL_TESTS = "tests/rtl/test_control.py"


class Fate(Enum):
    """What became of a fault."""

    KILLED = "killed"
    SURVIVED = "survived"
    SAME = "same Verilog"
    BROKEN = "does not elaborate"


def judge(mutation: Mutation, cfg: Config, programs: int) -> tuple[Fate, str]:
    """Plant a fault in this process and run it; its fate and how it was found."""
    original = verilog_of(cfg)
    # A changed generator may raise anything at all; that is no fault of the machine.
    try:
        verilog = plant(mutation).to_verilog(cfg, name=TOP, simulation=True)
    except Exception as error:
        return Fate.BROKEN, str(error)
    if verilog == original:
        return Fate.SAME, ""
    with TemporaryDirectory() as folder:
        try:
            path = library_for_once(verilog, cfg, Path(folder))
        except VdlaError as error:
            return Fate.BROKEN, str(error)
        try:
            fate, how = _run(Machine(cfg, path=path), cfg, programs)
        except VdlaError as error:
            return Fate.KILLED, str(error)
        if fate == Fate.SURVIVED and _control_fails(path):
            fate, how = Fate.KILLED, CONTROL_TESTS
        return fate, how


def _control_fails(path: Path) -> bool:
    """Whether the tests of registers, errors and resets find fault with a machine."""
    import pytest

    # The tests ask for the machine by its configuration; here they are to get this one.
    build.library = lambda cfg, *, wave=False: path
    with redirect_stdout(StringIO()):
        return pytest.main([CONTROL_TESTS, "-q", "-x", "-p", "no:cacheprovider"]) != pytest.ExitCode.OK


def _run(machine: Machine, cfg: Config, programs: int) -> tuple[Fate, str]:
    with machine:
        for seed in range(programs):
            case = random_case(seed, cfg)
            for profile in PROFILES[:2]:
                outcome = compare(machine, replace(case, cfg=cfg.with_(memory=profile)))
                if isinstance(outcome, Difference):
                    return Fate.KILLED, f"program {seed}: {outcome.summary}"
    return Fate.SURVIVED, ""


def _judge_apart(mutation: Mutation, programs: int) -> tuple[Fate, str]:
    """judge() in a process of its own: its hw.rtl is changed for good, and a machine may loop for ever or abort."""
    command = [sys.executable, "-m", "sim.rtl.mutate", "--programs", str(programs)]
    try:
        done = subprocess.run(
            [*command, "--judge", f"{mutation.module}:{mutation.site}"],
            capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Fate.KILLED, "the simulation does not end"
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no output"]
        return Fate.KILLED, f"the simulation aborts: {lines[-1]}"
    answer = json.loads(done.stdout.splitlines()[-1])
    return Fate(answer["fate"]), answer["how"]


@click.command()
@click.option("--count", default=60, show_default=True, help="Faults to plant.")
@click.option("--programs", default=40, show_default=True, help="Random programs to find one with.")
@click.option("--seed", default=0, show_default=True, help="Which faults.")
@click.option("--jobs", default=os.cpu_count() or 1, show_default=True, help="Processes.")
@click.option("--judge", "site", hidden=True, help="Judge this one fault and print its fate.")
def main(count: int, programs: int, seed: int, jobs: int, site: str | None) -> None:
    """Plant faults in the RTL and count those that the benches find."""
    every = mutations()
    if site is not None:
        mutation = next(m for m in every if f"{m.module}:{m.site}" == site)
        fate, how = judge(mutation, MACHINE, programs)
        click.echo(json.dumps({"fate": fate.value, "how": how}))
        return
    order = np.random.default_rng(seed).permutation(len(every))
    chosen = [every[i] for i in order[:count]]
    click.echo(f"{len(every)} faults can be planted; trying {len(chosen)}")
    fates: Counter[Fate] = Counter()
    with ThreadPoolExecutor(jobs) as pool:
        outcomes = pool.map(lambda m: _judge_apart(m, programs), chosen)
        for mutation, (fate, how) in zip(chosen, outcomes, strict=True):
            fates[fate] += 1
            click.echo(f"{fate.value}: {mutation}" + (f"  [{how}]" if how else ""))
    valid = fates[Fate.KILLED] + fates[Fate.SURVIVED]
    score = 100 * fates[Fate.KILLED] / valid if valid else 0.0
    click.echo(
        f"killed {fates[Fate.KILLED]} of {valid} ({score:.1f} %); {fates[Fate.SAME]} changed no Verilog, ", nl=False
    )
    click.echo(f"{fates[Fate.BROKEN]} did not elaborate")
    sys.exit(0 if valid and score >= 95 else 1)


if __name__ == "__main__":
    main()
