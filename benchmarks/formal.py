"""Proofs about the RTL with their times, and the planted faults that they find: ``python -m benchmarks.formal``."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import click

from benchmarks.common import publish, table
from hw.errors import VdlaError
from sim.rtl.mutations import Mutation, mutations, plant

PROOFS_OF = {
    "queue": (("command queue", (3,)),),
    "tokens": (("token counter", (2,)), ("instructions in flight", (10,))),
    "read_port": (("read arbiter", (3, 2)),),
}
"""The modules of hw/rtl that proofs cover in full; the blocks and sizes that judge a fault in one."""
JUDGED_S = 300


def judge(mutation: Mutation) -> str:
    """Plant a fault in this process and run the proofs; what they say, in a word or the claim that is broken."""
    # A changed generator may raise anything at all.
    try:
        plant(mutation)
        catalog, prove = import_module("hw.formal.catalog"), import_module("hw.formal.prove")
        made = [catalog.PROOFS[block][0](*size) for block, size in PROOFS_OF[mutation.module]]
        results = list(prove.prove(made))
    except Exception as error:
        return f"not built: {error}"
    failed = [result for result in results if not result.proved]
    if not failed:
        return "survived"
    return f"found: {failed[0].broken or 'no proof'}"


def faults() -> list[Mutation]:
    """The faults in modules that proofs cover."""
    return [m for m in mutations() if m.module in PROOFS_OF]


def planted() -> tuple[str, list[str]]:
    """Judge every fault, each in a process of its own: a sentence with the score, and the survivors."""
    every = faults()
    verdicts = []
    with click.progressbar(range(len(every)), label="faults", file=sys.stderr) as numbers:
        for number in numbers:
            command = [sys.executable, "-m", "benchmarks.formal", "--judge", str(number)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=JUDGED_S, check=True)
            verdicts.append(done.stdout.strip())
    built = [v for v in verdicts if not v.startswith("not built")]
    survivors = [str(m) for m, verdict in zip(every, verdicts, strict=True) if verdict == "survived"]
    found = len(built) - len(survivors)
    modules = ", ".join(f"hw/rtl/{name}.py" for name in PROOFS_OF)
    return f"Of {len(built)} faults planted in {modules} the proofs find {found}.", survivors


@click.command()
@click.option("--write", is_flag=True, help="Put the section into RESULTS.md.")
@click.option("--judge", "number", type=int, hidden=True, help="Judge this one fault and print the verdict.")
def main(write: bool, number: int | None) -> None:
    """Prove everything, then plant every fault; exit code 0 only if all is proved."""
    if number is not None:
        click.echo(judge(faults()[number]))
        return
    command, catalog = import_module("hw.formal.__main__"), import_module("hw.formal.catalog")
    prove = import_module("hw.formal.prove").prove
    try:
        results = list(prove(catalog.benches()))
    except VdlaError as error:
        raise click.ClickException(str(error)) from None
    proved, claims = sum(result.proved for result in results), sum(len(result.bench.claims) for result in results)
    header = ["block", "size", "claims", "k", "seconds", "verdict"]
    score, survivors = planted()
    text = [
        f"{proved} of {len(results)} proofs, {claims} claims; what they say is in docs/verification.md. k: steps of "
        "history that the induction used.",
        table(header, [list(command.row(result)) for result in results]),
        score + (" Not found:" if survivors else ""),
        "\n".join(f"- `{survivor}`" for survivor in survivors),
    ]
    publish("Proofs about the RTL", "\n\n".join(text), write=write)
    sys.exit(0 if proved == len(results) else 1)


if __name__ == "__main__":
    main()
