"""Faults planted in the RTL and what the benches find of them: ``python -m benchmarks.mutation``.

Survivors are explained in docs/verification.md; one that is not there counts as one that a bench should have found.
"""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from pathlib import Path

import click

from benchmarks.common import percent, publish, table
from sim.rtl.build import ROOT
from sim.rtl.mutate import ENOUGH, LOCKSTEP, STAGES, CampaignError, Fate, Score, campaign, check_plain, sample
from sim.rtl.mutations import Mutation, mutations

EXPLAINED = ROOT / "docs" / "verification.md"
PROGRAMS = 25


def place(mutation: Mutation) -> str:
    """A fault's name without the line's number, which changes with everything above it."""
    return re.sub(r"(\.py):\d+", r"\1", str(mutation))


def without_effect() -> set[str]:
    """The survivors that the page says nothing can show: lines "- `fault`: why" under their heading."""
    text = EXPLAINED.read_text(encoding="utf-8")
    section = text.split("### Faults that nothing can show")[1].split("\n#")[0]
    return set(re.findall(r"^- `(hw/rtl/.+?)`: ", section, re.MULTILINE))


@click.command()
@click.option("--write", is_flag=True, help="Put the section into RESULTS.md.")
@click.option("--count", default=100, show_default=True, help="Faults to plant.")
@click.option("--seed", default=0, show_default=True, help="Which faults.")
@click.option("--jobs", default=len(os.sched_getaffinity(0)), show_default="all cores", help="Processes.")
@click.option("--state", type=click.Path(dir_okay=False, path_type=Path), help="As of python -m sim.rtl.mutate.")
def main(write: bool, count: int, seed: int, jobs: int, state: Path | None) -> None:
    """Plant faults; exit code 0 only if at least 95 % of those that change anything are found."""
    chosen = sample(count, seed)
    outcomes = []
    try:
        check_plain(PROGRAMS)
        with click.progressbar(campaign(chosen, PROGRAMS, jobs, state), len(chosen), file=sys.stderr) as judged:
            outcomes += judged
    except CampaignError as error:
        raise click.ClickException(str(error)) from None
    harmless = without_effect()
    survivors = [m for m, v in outcomes if v.fate == Fate.SURVIVED]
    rows = []
    for kind in (*sorted({m.kind for m in chosen}), ""):
        score = Score.of(outcomes, lambda m, kind=kind: kind in ("", m.kind))
        real = Score.of(outcomes, lambda m, kind=kind: kind in ("", m.kind) and place(m) not in harmless)
        shares = [percent(score.percent / 100), percent(real.percent / 100)]
        rows.append([kind or "all", score.counted, *score.killed.values(), score.counted - score.total, *shares])
    fates = Counter(v.fate for _, v in outcomes)
    text = [
        f"{len(chosen)} of the {len(mutations())} faults that can be planted, drawn from every module in turn and "
        f"evenly from the classes (seed {seed}); {fates[Fate.SAME]} of them give the same Verilog, "
        f"{fates[Fate.BROKEN]} do not elaborate. The last column leaves out survivors that nothing can show "
        "(docs/verification.md).",
        table(["class", "planted", f"killed by {LOCKSTEP}", *STAGES, "survived", "score", "without equivalent"], rows),
        "\n".join(f"- `{m}`" + (" (equivalent)" if place(m) in harmless else "") for m in survivors),
    ]
    publish("Faults planted in the RTL", "\n\n".join(text), write=write)
    sys.exit(0 if real.percent >= ENOUGH else 1)


if __name__ == "__main__":
    main()
