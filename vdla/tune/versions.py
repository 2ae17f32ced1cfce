"""Versions of tuning records: digests of the sources that a cost follows from, and of nothing else.

What tuning itself consists of - searches, cost models, the database - is not among them: it decides which schedules are
measured, not what they cost. Neither is what only decides which operators there are (front end, graph, quantisation),
since a record's workload says which operator it is of.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path

from compiler.backend.llvm.cache import code_generator
from compiler.sources import source_digest

ROOT = Path(__file__).parents[2]

_LOWERING = ("compiler/arith", "compiler/ir", "compiler/lower", "compiler/te")

KERNELS = (
    *_LOWERING,
    "compiler/backend/cpu",
    "compiler/backend/llvm",
    "compiler/ops/compute",
    "compiler/tune/generic.py",
    "compiler/tune/timing.py",
    "runtime/thread_pool.ll",
    "runtime/thread_pool.py",
)
"""What a processor's kernel and its time follow from."""

_CODE = ("affine", "dma", "emit", "fold", "in_place", "intrinsics", "layout", "program", "schedule_loads", "stream")

CYCLES = (
    *_LOWERING,
    *(f"hw/{name}.py" for name in ("config", "dependence", "footprint", "isa", "timing", "words")),
    "sim/cycle",
    "sim/program.py",
    "vdla/target/ops",
    *(f"vdla/target/{name}.py" for name in _CODE),
    "vdla/tune/simulate.py",
)
"""What the program of an operator on VDLA and its cycles follow from."""


@cache
def kernels_version() -> str:
    """The version of what is measured of a processor's kernels, with the code generator that is installed."""
    return sha256(repr((version_of(KERNELS), code_generator())).encode()).hexdigest()[:_DIGITS]


@cache
def cycles_version() -> str:
    """The version of what the cycle simulator measures."""
    return version_of(CYCLES)


def version_of(places: Sequence[str], root: Path = ROOT) -> str:
    """Of files and folders below the folder with the kit's packages: 12 hexadecimal digits."""
    return source_digest(*(root / place for place in places))[:_DIGITS]


_DIGITS = 12
