"""Tuned schedules of the CPU's kernels: what a group is called in a tuning database, and what the database knows."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import llvmlite.binding as llvm

from compiler.backend.cpu import CpuTarget
from compiler.backend.cpu.platforms import Platform, is_platform, platform_of
from compiler.backend.cpu.processor import Processor
from compiler.backend.cpu.target import signature
from compiler.backend.llvm import host_features
from compiler.errors import CompileError
from compiler.graph.fuse import FusedGroup
from compiler.graph.ir import Value
from compiler.tune.database import Database, Key, Record
from compiler.tune.errors import SpaceError
from compiler.tune.recorded import RecordedKnobs
from compiler.tune.space import Knobs
from runtime.thread_pool import default_threads
from vdla.tune.versions import kernels_version

if TYPE_CHECKING:
    from vdla.tune.lookup import TunedTiles

TARGET, CHOSEN = "cpu", "cpu/chosen"
"""Targets of records: of every candidate, and of the schedules that were confirmed."""


def machine_key(threads: int | None = None) -> str:
    """What times on this machine are valid for: the processor and how many threads a kernel may use."""
    digest = hashlib.sha256(",".join(host_features()).encode()).hexdigest()[:8]
    return f"{llvm.get_host_cpu_name()}/{digest}/{threads or default_threads()} threads"


def code_key(platform: Platform) -> str:
    """How keys name the code of another processor, ``arm64:cortex-a53``; ``/`` and what it was measured on follows."""
    return f"{platform.name.partition(':')[0]}:{platform.cpu}"


def workload(group: FusedGroup) -> str:
    """A group as text: its operators, the shape and layout of what it reads, and a digest of everything else."""
    ops = "+".join(node.op for node in group.nodes)
    inputs = ", ".join(_value_text(value) for value in group.inputs)
    digest = hashlib.sha256(repr(signature(group)).encode()).hexdigest()[:12]
    return f"{ops}({inputs}) #{digest}"


def _value_text(value: Value) -> str:
    return f"{value.dtype}[{','.join(map(str, value.shape))}]"


def key_of(group: FusedGroup, machine: str) -> Key:
    """The database's key of a group's candidates on a machine, as the sources are now."""
    return (workload(group), TARGET, machine, kernels_version())


def tuning_info(kernels: TunedKernels, tiles: TunedTiles | None = None) -> dict[str, object]:
    """What a compilation took from a database: the workloads that had a schedule there and those that had not, which of
    these have one of another version, and what the schedules of kernels were measured on."""
    parts = [kernels] if tiles is None else [tiles, kernels]
    found, missing, outdated = (
        {name for part in parts for name in getattr(part, which)} for which in ("found", "missing", "outdated")
    )
    return {
        "database": str(kernels.database.path),
        "tuned": sorted(found),
        "untuned": sorted(missing),
        "outdated": sorted(outdated - found),
        "machines": sorted(kernels.machines),
    }


def _is_legal(target: CpuTarget, group: FusedGroup, record: Record) -> bool:
    space = target.space(group)
    try:
        if space is not None:
            space.find(record.knobs)
    except (SpaceError, CompileError):
        return False
    return space is not None


class TunedKernels:
    """The confirmed schedule of each group that a database knows (see :class:`compiler.backend.cpu.target.KnobSource`).

    For code of this machine those that were confirmed here, with as many threads; for another processor's code those
    that any device confirmed, the latest of them; those that an emulator counted only where there are no times.

    Attributes:
        database: where they come from.
        found, missing: workloads with a record, and without one, of those asked for so far.
        outdated: those without one that have one of another version (:mod:`vdla.tune.versions`).
        machines: what the schedules found were measured on.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.found: set[str] = set()
        self.missing: set[str] = set()
        self.outdated: set[str] = set()
        self.machines: set[str] = set()

    def knobs(self, target: CpuTarget, group: FusedGroup) -> Knobs | None:
        """The decisions of a group's schedule.  They raise DatabaseError when they are not legal."""
        name = workload(group)
        platform = platform_of(target.name if is_platform(target.name) else "cpu")
        known = self._confirmed(platform, name)
        chosen = [record for record in known if record.kit == kernels_version()]
        if not chosen:
            if target.offers_choice(group):
                self.missing.add(name)
                if known:
                    self.outdated.add(name)
            return None
        record = max(chosen, key=lambda r: (r.unit == "seconds", r.time))
        if target.processor != Processor.of(platform.triple, platform.cpu) and not _is_legal(target, group, record):
            self.missing.add(name)  # tuned with tile registers, compiled without
            return None
        self.found.add(name)
        self.machines.add(record.machine)
        return RecordedKnobs(record.knobs, f"{self.database.path}: the record of {name}")

    def _confirmed(self, platform: Platform, name: str) -> list[Record]:
        if platform.triple is None:
            return self.database.query(name, CHOSEN, machine_key())
        code = f"{code_key(platform)}/"
        return [r for r in self.database.query(name, CHOSEN) if r.machine.startswith(code)]
