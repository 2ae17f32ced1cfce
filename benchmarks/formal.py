"""The proofs of queues, counters and arbiter, with their times: ``python -m benchmarks.formal``."""

from __future__ import annotations

import sys

import click

from benchmarks.common import publish, table
from hw.errors import VdlaError
from hw.formal.__main__ import row
from hw.formal.catalog import benches
from hw.formal.prove import prove

HEADER = ["block", "size", "claims", "k", "seconds", "verdict"]


@click.command()
@click.option("--write", is_flag=True, help="Put the section into RESULTS.md.")
def main(write: bool) -> None:
    """Prove everything; exit code 0 only if all holds."""
    try:
        results = list(prove(benches()))
    except VdlaError as error:
        raise click.ClickException(str(error)) from None
    proved, claims = sum(result.proved for result in results), sum(len(result.bench.claims) for result in results)
    text = (
        f"{proved} of {len(results)} proofs, {claims} claims; what they say is in docs/verification.md. k: steps of "
        "history that the induction used."
    )
    publish("Proofs about the RTL", f"{text}\n\n{table(HEADER, [list(row(r)) for r in results])}", write=write)
    sys.exit(0 if proved == len(results) else 1)


if __name__ == "__main__":
    main()
