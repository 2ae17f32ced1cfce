"""Where a network's time goes on this machine's processor, group by group, against what the machine can do.

The roofs are measured, not looked up: products with everything in registers, and a stream over memory that no cache
of a core holds, both by kernels that this kit compiles, on as many threads as the network runs on.
"""

from __future__ import annotations

import io
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import llvmlite.binding as llvm
import matplotlib
import numpy as np
from matplotlib.figure import Figure

from compiler import te
from compiler.backend.cpu.processor import Processor
from compiler.backend.llvm import compile_functions
from compiler.ir import Expr, PrimFunc
from compiler.lower import lower
from runtime.artifact import Artifact, CpuCode, CpuStep
from runtime.executor import Executor
from runtime.thread_pool import default_threads
from vdla.errors import UsageError
from vdla.tune.cpu import KernelJob, LoadedStep

SCHEMA = "vdla.profile/1"
STREAM_BYTES = 1 << 28
"""Bytes that the memory roof reads: more than a core's share of any cache."""

ROOF_SECONDS = 0.3
"""How long each roof is measured, about."""


@dataclass(frozen=True)
class Roofs:
    """What this machine can do: float32 operations and bytes a second, on so many threads."""

    operations: float
    bytes: float
    threads: int


def _products(processor: Processor) -> tuple[PrimFunc, float]:
    """Tiles of a matrix product whose sums stay in registers and whose operands stay in the first cache."""
    lanes, tiles, depth = processor.lanes, 512, 256
    vectors, rows = (4, 6) if processor.registers >= 32 else (2, 6)
    a, b = te.placeholder((depth, rows), "float32", "a"), te.placeholder((depth, vectors, lanes), "float32", "b")
    k = te.reduce_axis(depth, "k")

    def element(t: Expr, r: Expr, v: Expr, lane: Expr) -> Expr:
        return te.sum(a[k, r] * b[k, v, lane], axis=k)

    out = te.compute((tiles, rows, vectors, lanes), element, "products")
    schedule = te.create_schedule(out)
    cached = schedule.cache_write(out, "local")
    t, r, v, lane = schedule[out].op.axis  # pyright: ignore[reportAttributeAccessIssue]
    schedule[out].parallel(t)
    for axis in (r, v):
        schedule[out].unroll(axis)
    schedule[out].vectorize(lane)
    stage = schedule[cached]
    stage.compute_at(schedule[out], t)
    _, r, v, lane = stage.op.axis  # pyright: ignore[reportAttributeAccessIssue]
    stage.reorder(stage.op.reduce_axis[0], r, v, lane)  # pyright: ignore[reportAttributeAccessIssue]
    for axis in (r, v):
        stage.unroll(axis)
    stage.vectorize(lane)
    return lower(schedule, [a, b, out], "products"), 2.0 * tiles * rows * vectors * lanes * depth


def _stream(processor: Processor) -> tuple[PrimFunc, float]:
    """Sums over memory, a few vectors side by side."""
    lanes, blocks, side = processor.lanes, 64, 8
    steps = STREAM_BYTES // (4 * blocks * side * lanes)
    x = te.placeholder((blocks, steps, side, lanes), "float32", "x")
    k = te.reduce_axis(steps, "k")
    out = te.compute((blocks, side, lanes), lambda b, s, lane: te.sum(x[b, k, s, lane], axis=k), "stream")
    schedule = te.create_schedule(out)
    cached = schedule.cache_write(out, "local")
    b, s, lane = schedule[out].op.axis  # pyright: ignore[reportAttributeAccessIssue]
    schedule[out].parallel(b)
    schedule[out].vectorize(lane)
    stage = schedule[cached]
    stage.compute_at(schedule[out], b)
    _, s, lane = stage.op.axis  # pyright: ignore[reportAttributeAccessIssue]
    stage.reorder(stage.op.reduce_axis[0], s, lane)  # pyright: ignore[reportAttributeAccessIssue]
    stage.unroll(s)
    stage.vectorize(lane)
    return lower(schedule, [x, out], "stream"), float(STREAM_BYTES)


def _rate(func: PrimFunc, amount: float) -> float:
    """The amount over the least time of a run."""
    func.attrs["parallel"] = True
    code = CpuCode(compile_functions([func]), llvm.get_process_triple())
    step = LoadedStep(KernelJob(code, func.name, tuple(buffer.nbytes for buffer in func.params)))
    best, spent = step.run(), 0.0
    while spent < ROOF_SECONDS:
        seconds = step.run()
        best, spent = min(best, seconds), spent + seconds
    return amount / best


@cache
def measured_roofs() -> Roofs:
    """This machine's roofs; measured once a process, which takes about a second."""
    processor = Processor.of()
    return Roofs(_rate(*_products(processor)), _rate(*_stream(processor)), default_threads())


@dataclass(frozen=True)
class GroupTime:
    """A fused group: its median seconds, its work, and the seconds that the roofs allow at best.

    operations: of the operators' definitions. executed: of the kernel, which may need fewer (Winograd) or more.
    """

    name: str
    op: str
    seconds: float
    operations: int
    executed: int
    bytes: int
    floor: float

    @property
    def roofline(self) -> float:
        """Share of what the roofs allow to what is executed; above 1 where data is still in a cache."""
        return self.floor / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class CpuProfile:
    """A network on this processor.  ``seconds``: median of a whole run; ``groups``: medians of their own."""

    model: str
    seconds: float
    runs: int
    roofs: Roofs
    groups: tuple[GroupTime, ...]
    peak_bytes: int
    sum_bytes: int

    def document(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "schema": SCHEMA,
            "model": self.model,
            "seconds": self.seconds,
            "runs": self.runs,
            "threads": self.roofs.threads,
            "roofs": {"gflops": self.roofs.operations / 1e9, "gbytes_per_s": self.roofs.bytes / 1e9},
            "memory": {"activations_peak": self.peak_bytes, "activations_sum": self.sum_bytes},
            "groups": [
                {
                    "name": group.name,
                    "op": group.op,
                    "seconds": group.seconds,
                    "operations": group.operations,
                    "executed": group.executed,
                    "bytes": group.bytes,
                    "roofline": group.roofline,
                }
                for group in self.groups
            ],
        }


def profile_cpu(artifact: Artifact, inputs: Mapping[str, np.ndarray], runs: int = 30) -> CpuProfile:
    """Run an artifact ``runs`` times, after two runs that warm it up.

    Raises UsageError when a part of it does not run on the CPU.
    """
    if not all(isinstance(step, CpuStep) for step in artifact.steps):
        raise UsageError("parts of the model run on VDLA; `vdla run --report` profiles those")
    roofs = measured_roofs()
    whole: list[float] = []
    times: list[list[float]] = []
    with Executor(artifact) as executor:
        for run in range(runs + 2):
            profile = executor.run(inputs).profile
            if run >= 2:
                whole.append(sum(layer.wall_s for layer in profile.layers))
                times.append([layer.wall_s for layer in profile.layers])
    work: Any = artifact.info["work"]
    groups = []
    for layer, seconds, one in zip(profile.layers, zip(*times, strict=True), work, strict=True):
        executed, moved = one["executed"], one["bytes"]
        floor = max(executed / roofs.operations, moved / roofs.bytes)
        median = statistics.median(seconds)
        groups.append(GroupTime(layer.name, layer.op, median, one["operations"], executed, moved, floor))
    memory: Any = artifact.info["memory"]
    peak, total = memory["activations_peak"], memory["activations_sum"]
    return CpuProfile(artifact.model, statistics.median(whole), runs, roofs, tuple(groups), peak, total)


def picture(profile: CpuProfile) -> bytes:
    """Executed operations a second over those a byte, under the measured roofs; area: time.  PNG."""
    matplotlib.use("Agg")
    figure = Figure(figsize=(10, 5), layout="constrained")
    axes = figure.subplots()
    shown = [group for group in profile.groups if group.executed and group.bytes and group.seconds]
    intensity = [group.executed / group.bytes for group in shown]
    roofs = profile.roofs
    knee = roofs.operations / roofs.bytes
    low, high = min([knee, *intensity]) / 2, max([knee, *intensity]) * 2
    x = np.geomspace(low, high, 200)
    axes.plot(x, np.minimum(roofs.operations, roofs.bytes * x) / 1e9, color="black", linewidth=1.2)
    longest = max((group.seconds for group in shown), default=1.0)
    for number, (group, at) in enumerate(zip(shown, intensity, strict=True), 1):
        speed = group.executed / group.seconds / 1e9
        size = 40 + 260 * group.seconds / longest
        axes.scatter(
            at, speed, s=size, alpha=0.5, edgecolors="black", linewidths=0.5, label=f"{number} {group.op[:28]}"
        )
        axes.annotate(str(number), (at, speed), fontsize=6, ha="center", va="center")
    axes.set(xscale="log", yscale="log", xlabel="executed operations per byte", ylabel="executed GFLOP/s")
    axes.set_title(f"{profile.model}, {roofs.threads} threads, {1e3 * profile.seconds:.3g} ms; area: time", fontsize=10)
    axes.grid(True, which="major", alpha=0.3)
    if shown:
        columns = 1 + len(shown) // 31
        figure.legend(loc="outside right upper", fontsize=7, frameon=False, ncols=columns, markerscale=0.4)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    return stream.getvalue()
