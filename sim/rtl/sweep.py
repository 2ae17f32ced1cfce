"""`python -m sim.rtl.sweep`: random programs on random machines with several memories, RTL against cycle simulator.

Stops at the first difference with its shrunk program; exit code 0 means none.
"""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace

import click

from hw.config import Config
from hw.errors import VdlaError
from sim.rtl.cases import PROFILES, SMALL, random_case, random_machine
from sim.rtl.coverage import Coverage
from sim.rtl.lockstep import Difference, compare, shrink
from sim.rtl.machine import Machine


@dataclass
class Share:
    """What one machine's share of the sweep found."""

    cfg: Config
    runs: int = 0
    instructions: int = 0
    cycles: int = 0
    build_s: float = 0.0
    run_s: float = 0.0
    difference: Difference | None = None
    coverage: Coverage = field(default_factory=Coverage)


def sweep_machine(cfg: Config, seeds: range, profiles: int, length: int) -> Share:
    """The programs `seeds` on one machine, each with the first `profiles` memories. Stops at the first difference."""
    share = Share(cfg)
    begin = time.perf_counter()
    with Machine(cfg) as machine:
        share.build_s = time.perf_counter() - begin
        begin = time.perf_counter()
        for seed in seeds:
            case = random_case(seed, cfg, length)
            for profile in PROFILES[:profiles]:
                under = replace(case, cfg=cfg.with_(memory=profile))
                outcome = compare(machine, under, share.coverage)
                share.runs += 1
                share.instructions += len(case.program)
                if isinstance(outcome, Difference):
                    share.difference = shrink(machine, outcome)
                    return share
                share.cycles += outcome
        share.run_s = time.perf_counter() - begin
    return share


@click.command()
@click.option("--machines", default=20, show_default=True, help="Random configurations.")
@click.option("--programs", default=1000, show_default=True, help="Random programs for each.")
@click.option("--profiles", default=len(PROFILES), show_default=True, type=click.IntRange(1, len(PROFILES)))
@click.option("--length", default=30, show_default=True, help="Instructions in a program, about.")
@click.option("--seed", default=0, show_default=True, help="First seed of machines and programs.")
@click.option("--jobs", default=os.cpu_count() or 1, show_default=True, help="Processes.")
def main(machines: int, programs: int, profiles: int, length: int, seed: int, jobs: int) -> None:
    """Compare the RTL with the cycle simulator on random programs, machines and memories."""
    configs = [*SMALL, *(random_machine(s) for s in range(seed, seed + machines))][:machines]
    begin = time.perf_counter()
    total = Share(configs[0])
    with ProcessPoolExecutor(jobs) as pool:
        seeds = range(seed, seed + programs)
        futures = [pool.submit(sweep_machine, cfg, seeds, profiles, length) for cfg in configs]
        for n, future in enumerate(as_completed(futures), 1):
            try:
                share = future.result()
            except VdlaError as error:
                pool.shutdown(cancel_futures=True)
                raise click.ClickException(str(error)) from None
            total.runs += share.runs
            total.cycles += share.cycles
            total.instructions += share.instructions
            total.coverage.update(share.coverage)
            shape = f"{share.cfg.batch}x{share.cfg.block_in}x{share.cfg.block_out} bus {share.cfg.bus_bits}"
            click.echo(
                f"[{n}/{len(configs)}] {share.cfg.fingerprint} {shape}: {share.runs} runs, {share.cycles} cycles"
            )
            if share.difference is not None:
                pool.shutdown(cancel_futures=True)
                click.echo(share.difference.text)
                sys.exit(1)
    seconds = time.perf_counter() - begin
    click.echo(str(total.coverage))
    click.echo(
        f"0 differences: {programs} programs x {len(configs)} machines x {profiles} memories = {total.runs} runs, "
        f"{total.instructions} instructions, {total.cycles} cycles in {seconds:.0f} s"
    )


if __name__ == "__main__":
    main()
