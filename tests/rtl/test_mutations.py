"""The faults that the mutation campaign can plant: many, of every kind, each a change of one place."""

from __future__ import annotations

import ast
import difflib
import subprocess
import sys

import numpy as np

from sim.rtl.build import ROOT
from sim.rtl.mutations import DECLARATIONS, FOLDER, mutations, source_with

KINDS = {
    "dropped token", "lost assignment", "missing condition", "missing inversion", "off by one", "swapped operands",
    "wrong comparison", "wrong operator", "wrong sign extension",
}  # fmt: skip


def test_there_are_many_of_every_kind() -> None:
    found = mutations()
    assert len(found) >= 500
    assert {m.kind for m in found} == KINDS
    logic = {p.stem for p in FOLDER.glob("*.py")} - set(DECLARATIONS)
    assert logic == {m.module for m in found}
    assert len({(m.module, m.site) for m in found}) == len(found)


def test_each_changes_one_place() -> None:
    every = mutations()
    for index in np.random.default_rng(0).permutation(len(every))[:40]:
        mutation = every[index]
        plain = ast.unparse(ast.parse((FOLDER / f"{mutation.module}.py").read_text(encoding="utf-8"))).splitlines()
        changed = source_with(mutation).splitlines()
        compile("\n".join(changed), mutation.module, "exec")
        differing = [line for line in difflib.ndiff(plain, changed) if line[0] in "+-"]
        assert 1 <= len(differing) <= 2, str(mutation)


def test_a_planted_fault_reaches_the_verilog() -> None:
    """In a process of its own, since the fault stays there."""
    script = (
        "from sim.rtl.build import TOP, verilog_of\n"
        "from sim.rtl.cases import SMALL\n"
        "from sim.rtl.mutations import mutations, plant\n"
        "plain = verilog_of(SMALL[0])\n"
        "fault = next(m for m in mutations() if m.module == 'tokens' and m.kind == 'wrong comparison')\n"
        "assert plant(fault).to_verilog(SMALL[0], name=TOP, simulation=True) != plain, fault\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)
