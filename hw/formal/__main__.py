"""`python -m hw.formal`: prove everything, print a table."""

from __future__ import annotations

import sys
import time

import click
from rich.console import Console
from rich.table import Table

from hw.errors import VdlaError
from hw.formal.catalog import benches
from hw.formal.prove import LONGEST, Result, prove


def row(result: Result) -> tuple[str, str, str, str, str, str]:
    """The cells of a result: block, size, claims, k, seconds, verdict."""
    if result.broken is not None:
        verdict = f"FAIL: {result.broken}"
    else:
        verdict = "PASS" if result.proved else f"not proved with k <= {LONGEST}"
    k = "" if result.k is None else str(result.k)
    bench = result.bench
    return bench.name, bench.size, str(len(bench.claims)), k, f"{result.seconds:.1f}", verdict


@click.command()
@click.option("--quick", is_flag=True, help="Two sizes of each block only.")
@click.option("--only", default="", help="Blocks whose name holds this.")
@click.option("--claims", is_flag=True, help="Print what is claimed of each block.")
def main(quick: bool, only: str, claims: bool) -> None:
    """Prove what hw/formal claims of the queues, counters and arbiter; exit code 0 only if all holds."""
    console = Console()
    began = time.perf_counter()
    chosen = benches(quick=quick, only=only)
    if not chosen:
        raise click.BadParameter(f"no block's name holds {only!r}", param_hint="--only")
    table = Table("block", "size", "claims", "k", "seconds", "verdict", title="k-induction with z3")
    proved = 0
    try:
        with console.status("proving") as status:
            for done, result in enumerate(prove(chosen), start=1):
                status.update(f"proving: {done} of {len(chosen)}")
                proved += result.proved
                table.add_row(*row(result))
    except VdlaError as error:
        raise click.ClickException(str(error)) from None
    console.print(table)
    if claims:
        for name in dict.fromkeys(bench.name for bench in chosen):
            console.print(f"{name}:")
            for claim in next(bench for bench in chosen if bench.name == name).claims:
                console.print(f"  - {claim}", markup=False)
    console.print(f"{proved} of {len(chosen)} proved in {time.perf_counter() - began:.0f} s")
    sys.exit(0 if proved == len(chosen) else 1)


if __name__ == "__main__":
    main()
