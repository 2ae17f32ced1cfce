"""Tuned schedules of the CPU's kernels: what a group is called in a tuning database, and what the database knows."""

from __future__ import annotations

import hashlib

import llvmlite.binding as llvm

from compiler.backend.cpu import CpuTarget
from compiler.backend.cpu.target import signature
from compiler.backend.llvm import host_features
from compiler.errors import CompileError
from compiler.graph.fuse import FusedGroup
from compiler.graph.ir import Value
from compiler.tune.database import Database, Key
from compiler.tune.errors import DatabaseError, SpaceError
from compiler.tune.space import Knobs
from runtime.thread_pool import default_threads
from runtime.version import KIT_VERSION

TARGET, CHOSEN = "cpu", "cpu/chosen"
"""Targets of records: of every candidate, and of the schedules that were confirmed."""


def machine_key() -> str:
    """What times are valid for: the processor and how many threads a kernel may use."""
    digest = hashlib.sha256(",".join(host_features()).encode()).hexdigest()[:8]
    return f"{llvm.get_host_cpu_name()}/{digest}/{default_threads()} threads"


def workload(group: FusedGroup) -> str:
    """A group as text: its operators, the shape and layout of what it reads, and a digest of everything else."""
    ops = "+".join(node.op for node in group.nodes)
    inputs = ", ".join(_value_text(value) for value in group.inputs)
    digest = hashlib.sha256(repr(signature(group)).encode()).hexdigest()[:12]
    return f"{ops}({inputs}) #{digest}"


def _value_text(value: Value) -> str:
    return f"{value.dtype}[{','.join(map(str, value.shape))}]"


def key_of(group: FusedGroup, target: str = TARGET) -> Key:
    """The database's key of a group on this machine, as this version of the kit compiles it."""
    return (workload(group), target, machine_key(), KIT_VERSION)


class TunedKernels:
    """The confirmed schedule of each group that a database knows (see :class:`compiler.backend.cpu.target.KnobSource`).

    Attributes:
        found, missing: workloads with a record, and without one, of those asked for so far.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.found: set[str] = set()
        self.missing: set[str] = set()

    def knobs(self, target: CpuTarget, group: FusedGroup) -> Knobs | None:
        """The decisions of a group's schedule.  Raises DatabaseError when the record is not legal."""
        space = target.space(group)
        if space is None or len(space) < 2:
            return None
        key = key_of(group, CHOSEN)
        chosen = self._database.query(*key)
        if not chosen:
            self.missing.add(key[0])
            return None
        record = max(chosen, key=lambda r: r.time)
        try:
            point = space.find(record.knobs)
        except (SpaceError, CompileError) as error:
            raise DatabaseError(f"{self._database.path}: the record of {key[0]} is not legal: {error}") from error
        self.found.add(key[0])
        return point
