"""`python -m sim.rtl.sweep`: random programs on random machines with several memories, RTL against cycle simulator.

Stops at the first difference with its shrunk program. Exit code 0: no difference, 1: one, 130: interrupted.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from hw.config import Config
from hw.errors import VdlaError
from sim.rtl.campaign import Plan, Share, State, sweep
from sim.rtl.cases import PROFILES
from sim.rtl.lockstep import Difference

INTERRUPTED = 130


@click.command()
@click.option("--machines", default=20, show_default=True, type=click.IntRange(1), help="Random configurations.")
@click.option("--programs", default=1000, show_default=True, type=click.IntRange(1), help="Random programs for each.")
@click.option("--profiles", default=len(PROFILES), show_default=True, type=click.IntRange(1, len(PROFILES)))
@click.option("--length", default=30, show_default=True, help="Instructions in a program, about.")
@click.option("--seed", default=0, show_default=True, help="First seed of machines and programs.")
@click.option("--jobs", default=len(os.sched_getaffinity(0)), show_default="all cores", help="Processes.")
@click.option(
    "--state",
    "state_path",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Keep what is done in this file; the same command then goes on after an interruption.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout instead of text.")
def main(
    machines: int,
    programs: int,
    profiles: int,
    length: int,
    seed: int,
    jobs: int,
    state_path: Path | None,
    as_json: bool,
) -> None:
    """Compare the RTL with the cycle simulator on random programs, machines and memories."""
    # Being asked to end is being interrupted: what is done is kept, and no process stays behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    plan = Plan(machines, programs, profiles, length, seed)
    try:
        state = State(state_path, plan)
        difference = _run(plan, state, jobs)
    except VdlaError as error:
        raise click.ClickException(str(error)) from None
    except KeyboardInterrupt:
        click.echo("stopped" + (f"; the same command goes on from {state_path}" if state_path else ""), err=True)
        sys.exit(INTERRUPTED)
    result = summary(plan, state, difference, jobs)
    if as_json:
        click.echo(json.dumps(result, indent=2))
    elif difference is None:
        click.echo(_text(plan, state, result))
    if difference is not None:
        click.echo(difference.text, err=as_json)
        sys.exit(1)


def _run(plan: Plan, state: State, jobs: int) -> Difference | None:
    """The sweep, with progress on stderr."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        build = progress.add_task("machines built", total=plan.machines)
        runs = progress.add_task(
            "runs", total=plan.machines * plan.programs * plan.profiles, completed=state.total.runs
        )

        def ran(share: Share) -> None:
            progress.update(build, completed=plan.machines)
            progress.advance(runs, share.runs)

        return sweep(plan, state, jobs, lambda _: progress.advance(build), ran)


def shape(cfg: Config) -> str:
    """A machine in a few words."""
    return f"{cfg.batch}x{cfg.block_in}x{cfg.block_out}, {cfg.bus_bits} bits, {cfg.axi}, bursts of {cfg.burst_beats}"


def summary(plan: Plan, state: State, difference: Difference | None, jobs: int) -> dict[str, Any]:
    """The outcome as plain values; `seconds` is the wall-clock time of all sittings, building included."""
    total = state.total
    return {
        "machines": [
            {"fingerprint": cfg.fingerprint, "shape": shape(cfg), "runs": share.runs, "cycles": share.cycles}
            for cfg, share in ((cfg, state.machines.get(m, Share())) for m, cfg in enumerate(plan.configs))
        ],
        "programs": plan.programs,
        "profiles": plan.profiles,
        "runs": total.runs,
        "instructions": total.instructions,
        "cycles": total.cycles,
        "differences": int(difference is not None),
        "coverage": {group: {"met": met, "of": of} for group, (met, of) in total.coverage.groups.items()},
        "never_met": [list(point) for point in total.coverage.missing],
        "jobs": jobs,
        "seconds": round(state.seconds, 1),
    }


def _text(plan: Plan, state: State, result: dict[str, Any]) -> str:
    """The summary for a person; its last line has the figures."""
    lines = [f"{m['fingerprint']} {m['shape']}: {m['runs']} runs, {m['cycles']} cycles" for m in result["machines"]]
    lines.append(str(state.total.coverage))
    lines.append(
        f"{result['differences']} differences: {plan.programs} programs x {plan.machines} machines x {plan.profiles} "
        f"memories = {result['runs']} runs, {result['instructions']} instructions, {result['cycles']} cycles, "
        f"{len(result['never_met'])} points never met, {result['seconds']:.0f} s"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
