"""Tuning for a processor: a network's fused groups, each timed as the runtime runs it.

A candidate is compiled here and timed in a process of its own, on this machine or on a device of a pool
(:mod:`vdla.tune.remote`), between runs of a kernel that never changes, so that a processor that slows down slows both.
Times vary: before a schedule is taken it is measured again beside the default, and taken only if it is faster by more
than the noise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import llvmlite.binding as llvm
import numpy as np

from compiler.backend.aot import LinkError
from compiler.backend.cpu import CpuTarget, compile_kernels
from compiler.backend.cpu.target import CpuKernel
from compiler.backend.llvm import host_features
from compiler.errors import CompileError
from compiler.graph.fuse import FusedGroup
from compiler.ir import PrimFunc
from compiler.tune.database import Database, Record
from compiler.tune.features import KnobFeatures
from compiler.tune.measure import Measurer, ProcessMeasurer
from compiler.tune.outdated import warm_start
from compiler.tune.search import Explorer
from compiler.tune.space import ConfigEntity, ConfigSpace, Knobs
from compiler.tune.timing import KernelSeconds, Refused
from compiler.tune.transfer import Prior
from compiler.tune.tuner import Task, Tuning
from runtime.artifact import ALIGNMENT, CpuCode, CpuStep
from runtime.cpu import CpuDevice
from runtime.kernel_library import filled_memory
from vdla.api import compile
from vdla.errors import UsageError
from vdla.models.layers import layer_model
from vdla.tune.kernels import CHOSEN, key_of, machine_key, workload
from vdla.tune.report import NetworkChoice
from vdla.tune.session import OperatorState, Session, TuneOptions, learned_search, make_explorer

if TYPE_CHECKING:
    import onnx

WORTH = 0.98
"""A schedule replaces the default if it takes at most this share of its time, measured side by side."""

CONFIRMATIONS = 3

REFERENCE = "D9"
"""The layer of :func:`reference_group`."""


# ------------------------------------------------------------------------------------------------ what to tune


@dataclass(frozen=True, eq=False)
class CpuGroup:
    """A fused group to tune; ``uses``: in how many places of the network it stands."""

    name: str
    uses: int
    target: CpuTarget
    group: FusedGroup
    space: ConfigSpace


class GroupCollector:
    """Notes the groups that the compiler asks for, and knows nothing about them."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[CpuTarget, FusedGroup]] = {}

    def knobs(self, target: CpuTarget, group: FusedGroup) -> Knobs | None:
        """Note a group (asked once for each signature)."""
        self.found.setdefault(workload(group), (target, group))
        return None


def groups_of(model: str | Path | onnx.ModelProto, platform: str = "cpu", **options: Any) -> list[CpuGroup]:
    """The groups of a model compiled for a CPU that have a choice of schedules, each once.

    Raises UsageError when there are none, TargetError for an unknown platform.
    """
    collector = GroupCollector()
    artifact = compile(model, target=platform, kernels=collector, **options)
    symbols = [step.symbol for step in artifact.steps if isinstance(step, CpuStep)]
    out: list[CpuGroup] = []
    for name, (target, group) in collector.found.items():
        space = target.space(group)
        if space is not None and len(space) > 1:
            uses = symbols.count(target.compile(group).symbol)
            out.append(CpuGroup(name, max(1, uses), target, group, space))
    if not out:
        raise UsageError("no operator of the model has a choice of schedules on the CPU: there is nothing to tune")
    return out


def reference_group(platform: str = "cpu") -> CpuGroup:
    """The group whose default kernel is run between the others: the same one for all tuners, so that they share
    results."""
    return groups_of(layer_model(REFERENCE), platform)[0]


# ------------------------------------------------------------------------------------------------ measuring


@dataclass(frozen=True)
class KernelJob:
    """A compiled kernel: its code, its symbol, and the bytes behind each of its pointers.

    ``turn``: tells measurements of one kernel apart.
    """

    code: CpuCode
    symbol: str
    sizes: tuple[int, ...]
    turn: int = 0


class _FixedKnobs:
    """Knows one group's decisions."""

    def __init__(self, knobs: Knobs) -> None:
        self._knobs = knobs

    def knobs(self, target: CpuTarget, group: FusedGroup) -> Knobs | None:
        """The decisions."""
        return self._knobs


def _target_of(tuned: CpuGroup, point: int) -> CpuTarget:
    return CpuTarget(tuned.target.name, tuned.target.processor, _FixedKnobs(ConfigEntity(tuned.space, point)))


def kernel_of(tuned: CpuGroup, point: int) -> CpuKernel:
    """The lowered kernel of a point of the group's space."""
    return _target_of(tuned, point).compile(tuned.group)


def loops_of(tuned: CpuGroup, point: int) -> PrimFunc:
    """The loops of a point of the group's space, for `compiler.tune.features`: made in milliseconds, where the lowered
    kernel takes tenths of a second, and what a cost model can compare."""
    return _target_of(tuned, point).loops(tuned.group)


def kernel_job(tuned: CpuGroup, point: int) -> KernelJob:
    """The kernel of a point of the group's space, for this machine."""
    kernel = kernel_of(tuned, point)
    code = CpuCode(compile_kernels([kernel]), llvm.get_process_triple(), host_features())
    return KernelJob(code, kernel.symbol, tuple(buffer.nbytes for buffer in kernel.func.params))


def step_of(symbol: str, sizes: Sequence[int]) -> tuple[CpuStep, int]:
    """A kernel as the runtime's step, its arguments side by side in an arena; and the arena's bytes."""
    offsets, end = [], 0
    for size in sizes:
        offsets.append(end)
        end += -(-size // ALIGNMENT) * ALIGNMENT
    return CpuStep(symbol, tuple(offsets), "kernel", "kernel", ""), end


class LoadedStep:
    """A kernel in this process, as the runtime runs it, on seeded numbers between -1 and 1."""

    def __init__(self, job: KernelJob, seed: int = 0) -> None:
        self._step, size = step_of(job.symbol, job.sizes)
        self._device = CpuDevice(job.code, [self._step])
        self._arena = np.frombuffer(memoryview(filled_memory(size, seed)), np.uint8)

    def run(self) -> float:
        """Run once; seconds."""
        return self._device.execute(self._step, self._arena)[0]


def process_measurer(workers: int, timeout: float) -> ProcessMeasurer:
    """Kernels timed in processes of their own; more than one at a time disturb each other."""
    return ProcessMeasurer(KernelSeconds(kernel_job(reference_group(), 0), LoadedStep), workers, timeout)


class Place(NamedTuple):
    """Where kernels are measured.

    name: of the processor. machine: how the database's keys name it. measurer: runs the jobs. job: makes that of a
    point of a group's space. unit: of the costs.
    """

    name: str
    machine: str
    measurer: Measurer
    job: Callable[[CpuGroup, int], Any]
    unit: str = "seconds"

    @staticmethod
    def here(measurer: Measurer) -> Place:
        """This machine, with a `process_measurer`."""
        return Place(llvm.get_host_cpu_name(), machine_key(), measurer, kernel_job)


# ------------------------------------------------------------------------------------------------ a session


def cpu_session(groups: Sequence[CpuGroup], database: Database, place: Place, options: TuneOptions) -> Session:
    """The tuning of groups."""

    def state(tuned: CpuGroup) -> OperatorState:
        def job(point: int) -> Any:
            try:
                return place.job(tuned, point)
            except LinkError:  # a tool is missing: no candidate could be measured
                raise
            except CompileError as error:
                return Refused(" ".join(str(error).split()))

        default = tuned.space.valid_indices()[0] if tuned.space.enumerable else 0
        task = Task(tuned.name, key_of(tuned.group, place.machine), tuned.space, int(default), place.unit, job)

        def learned() -> tuple[Explorer, Prior | None]:
            return learned_search(options, database, task.key, tuned.space, KnobFeatures(tuned.space))

        explorer, prior = make_explorer(options, tuned.space, learned)
        first = warm_start(database, task.key, tuned.space, CHOSEN)
        tuning = Tuning(
            task, explorer, place.measurer, database, trials=options.trials, batch=options.batch, first=first
        )
        return OperatorState(tuned, tuned.space, tuning, 0.0, prior)

    states = [state(tuned) for tuned in groups]
    return Session(states, database, options, (place.name, place.machine), place.unit)


def confirm(session: Session, measurer: Measurer, watch: Callable[[str], None] | None = None) -> NetworkChoice:
    """Measure every best schedule again beside its default, and save the faster of the two as chosen.

    Returns the seconds of all groups of the network together, by default and as chosen.
    """
    default = best = 0.0
    changed: list[str] = []
    records: list[Record] = []
    for state in session.states:
        found, task = state.outcome, state.outcome.task
        if found.best is None:
            continue
        point, seconds, plain = task.default, found.default_cost, found.default_cost
        if found.best != task.default:
            if watch is not None:
                watch(state.operator.name)
            jobs = [task.job(task.default), task.job(found.best)]
            turns = [[replace(job, turn=turn) for job in jobs] for turn in range(1, CONFIRMATIONS + 1)]
            costs = [[r.cost or np.inf for r in measurer.measure(turn)] for turn in turns]
            plain, other = (min(column) for column in zip(*costs, strict=True))
            seconds = plain
            if other <= WORTH * plain:
                point, seconds = found.best, other
                changed.append(state.operator.name)
        default += state.operator.uses * plain
        best += state.operator.uses * seconds
        name, _, machine, kit = task.key
        records.append(Record(name, CHOSEN, machine, kit, task.space.values(point), seconds, session.unit))
    session.database.append(records)
    return NetworkChoice(default, best, tuple(changed))
