"""The compile driver: ONNX -> integer graph -> targets -> fused groups -> layouts -> memory plan -> code -> artifact.

The lines of :func:`compile_model` are the pipeline.  Groups for VDLA that follow each other become one program; the
others become kernels of the CPU target.  Everything lies in one arena: constants, planned activations, then for each
program its micro-op image and its instructions.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import llvmlite.binding as llvm
import numpy as np

from compiler.backend.cpu import CpuKernel, CpuTarget, amx, compile_kernels
from compiler.backend.cpu.platforms import PLATFORMS, Platform, is_platform, platform_of
from compiler.backend.cpu.processor import Processor
from compiler.backend.cpu.target import KnobSource
from compiler.backend.llvm import host_features
from compiler.errors import TargetError
from compiler.frontend.onnx_import import from_onnx
from compiler.graph.constants import DistinctBytes, bytes_of
from compiler.graph.fuse import FusedGroup
from compiler.graph.ir import Graph, Node, Value
from compiler.graph.memory_plan import Buffer, lifetimes, plan
from compiler.graph.partition import fuse_on_targets, partition
from compiler.graph.pass_manager import GraphPass, PassManager
from compiler.graph.passes.layout import insert_layout_transforms
from compiler.graph.pipeline import Calibration, float_passes, integer_passes, is_quantized
from compiler.graph.work import group_work
from compiler.target import Target, get_target, target_names
from hw.config import Board, Config
from runtime.artifact import ALIGNMENT, Artifact, CpuCode, CpuStep, Segment, Step, TensorSpec, VdlaLayer, VdlaStep
from runtime.thread_pool import pool_ir
from vdla.target.program import Layer, write_program
from vdla.target.target import Tiles, VdlaTarget
from vdla.target.target import VdlaLayer as CompiledLayer

if TYPE_CHECKING:
    import onnx

Progress = Callable[[str, int, int], None]

BOARD = "board"
"""As a target: the processor of the board that the config belongs to."""


@dataclass(frozen=True)
class CompileOptions:
    """How to compile.

    virtual_threads: hide memory latency with two virtual threads.  fusion: fuse operators.  calibration: how to
    calibrate float models.  batch: extent of a symbolic first axis.  keep_tensors: give every tensor its own place in
    the arena, so that all of them can be read after a run (``artifact.info["tensors"]`` says where).  kernels: tuned
    schedules of the CPU's groups.  tiles: tuned tiles for VDLA's layers; they are tuned with virtual threads and not
    used without.  integer: make the network int8 even where no target asks for it.
    """

    virtual_threads: bool = True
    fusion: bool = True
    calibration: Calibration = field(default_factory=Calibration)
    batch: int | None = None
    keep_tensors: bool = False
    tiles: Tiles | None = None
    kernels: KnobSource | None = None
    integer: bool = False


@dataclass(frozen=True)
class CompiledModel:
    """The artifact, and (step, seconds) of the compilation in order."""

    artifact: Artifact
    pass_times: list[tuple[str, float]]


class Clock:
    """Times the steps and tells the progress."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.times: list[tuple[str, float]] = []
        self._progress, self._total, self._done = progress, total, 0

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        if self._progress is not None:
            self._progress(name, self._done, self._total)
        start = time.perf_counter()
        yield
        self.times.append((name, time.perf_counter() - start))
        self._done += 1


def compile_model(
    source: onnx.ModelProto | str | Path,
    config: Config,
    targets: Sequence[str] = ("vdla", "cpu"),
    options: CompileOptions | None = None,
    progress: Progress | None = None,
) -> CompiledModel:
    """Compile a model for a machine.

    Args:
        source: an ONNX file or a loaded model.
        targets: where operators may run, in order of preference: vdla, one CPU (cpu, arm64, armv7, or board for that of
            the config's board), and what is registered with :func:`compiler.target.register_target` (whose code must be
            a kernel of the CPU's).

    Raises:
        CompileError: the model cannot be imported, quantised or placed.
        VdlaError: a layer has no program on this machine.
    """
    options = options or CompileOptions()
    plugins = [_target(name, config, options) for name in targets]
    clock = Clock(progress, 8)
    model, graph, groups = lower_graph(source, plugins, options, clock)
    with clock.step("schedule"):
        by_name = {plugin.name: plugin for plugin in plugins}
        compiled = [by_name[group.target or ""].compile(group) for group in groups]
    with clock.step("memory plan"):
        arena = _Arena()
        for item in compiled:
            for arg in item.args:
                arena.add_constant(arg)
        arena.place(graph, groups, _workspaces(compiled), keep=options.keep_tensors)
    with clock.step("vdla programs"):
        steps = _steps(config, groups, compiled, arena)
    with clock.step("cpu kernels"):
        kernels = [item for item in compiled if isinstance(item, CpuKernel)]
        code = _cpu_code(kernels, _platform(plugins)) if kernels else None
    artifact = Artifact(
        model=model,
        config=config,
        arena_bytes=arena.size,
        inputs=tuple(arena.spec(v, v.name) for v in graph.inputs),
        outputs=tuple(arena.spec(v, n) for v, n in zip(graph.outputs, graph.output_names, strict=True)),
        segments=tuple(arena.segments),
        steps=tuple(steps),
        cpu_code=code,
        info={
            "options": {
                "virtual_threads": options.virtual_threads,
                "fusion": options.fusion,
                "integer": options.integer,
            },
            "memory": {"activations_peak": arena.peak, "activations_sum": arena.total},
            "tensors": [_describe(v, arena) for g in groups for v in g.outputs] if options.keep_tensors else [],
            "work": [_work(g, item) for g, item in zip(groups, compiled, strict=True)],
        },
    )
    return CompiledModel(artifact, clock.times)


def lower_graph(
    source: onnx.ModelProto | str | Path, plugins: Sequence[Target], options: CompileOptions, clock: Clock
) -> tuple[str, Graph, list[FusedGroup]]:
    """The model's name, its graph as the targets want it, and the fused groups in the order in which they run."""
    with clock.step("import"):
        graph = from_onnx(source, batch=options.batch)
    model = graph.name
    with clock.step("graph"):
        graph, times = _graph_passes(graph, plugins, options)
    clock.times.extend((f"graph.{name}", seconds) for name, seconds in times)
    with clock.step("partition"):
        partition(graph, plugins, fusion=options.fusion)
    with clock.step("layout"):
        by_name = {plugin.name: plugin for plugin in plugins}
        graph = insert_layout_transforms(graph, by_name, transform_target=_platform(plugins).name)
        groups = _order(fuse_on_targets(graph, plugins, fusion=options.fusion))
    return model, graph, groups


def _platform(plugins: Sequence[Target]) -> Platform:
    """The one CPU among the targets; this computer if there is none.

    Raises:
        TargetError: for several of them.
    """
    names = [plugin.name for plugin in plugins if is_platform(plugin.name)]
    if len(names) > 1:
        raise TargetError(f"targets {', '.join(names)}: a model runs on one kind of CPU; name one of them")
    return platform_of(names[0] if names else "cpu")


def _target(name: str, config: Config, options: CompileOptions) -> Target:
    if name == "vdla":
        tiles = options.tiles if options.virtual_threads else None
        return VdlaTarget(config, virtual_threads=options.virtual_threads, tiles=tiles)
    if name == BOARD:
        name = Board.load(config.name).host
    if is_platform(name):
        return cpu_target(platform_of(name), options.kernels)
    if name in target_names():
        return get_target(name)
    raise TargetError(f"no target '{name}'; there are {', '.join(['vdla', *PLATFORMS, BOARD, *target_names()])}")


def cpu_target(platform: Platform, kernels: KnobSource | None = None, *, tiles: bool = True) -> CpuTarget:
    """The target of a kind of CPU; ``tiles``: whether it may use tile registers, which a process must ask Linux for."""
    processor = Processor.of(platform.triple, platform.cpu)
    return CpuTarget(platform.name, processor if tiles else amx.without_tiles(processor), kernels)


def _graph_passes(
    graph: Graph, plugins: Sequence[Target], options: CompileOptions
) -> tuple[Graph, list[tuple[str, float]]]:
    """To the integer graph if the model or a target is quantised (else the float graph cleaned up), then their own."""
    passes: list[GraphPass] = []
    if options.integer or is_quantized(graph) or any(plugin.name == "vdla" for plugin in plugins):
        passes += integer_passes(options.calibration, quantized=is_quantized(graph))
    else:
        passes += float_passes()
    for plugin in plugins:
        passes += plugin.graph_passes()
    manager = PassManager(passes)
    return manager.run(graph), manager.timings


def _cpu_code(kernels: Sequence[CpuKernel], platform: Platform) -> CpuCode:
    """The kernels' object, with the features that it may use."""
    if platform.triple is not None:
        # The board may lack LLVM, with which kernels here are linked with the process's pool.
        pool = pool_ir(platform.triple, weak=True)
        image = compile_kernels(kernels, target_triple=platform.triple, cpu=platform.cpu, more=[pool])
        return CpuCode(image, platform.triple, platform.features)
    return CpuCode(compile_kernels(kernels), llvm.get_process_triple(), host_features())


def _workspaces(compiled: Sequence[CompiledLayer | CpuKernel]) -> list[Buffer]:
    """What the kernels need while they run, each during its own step."""
    return [
        Buffer(value.name, value.nbytes, step, step)
        for step, item in enumerate(compiled)
        if isinstance(item, CpuKernel)
        for value in item.workspaces
    ]


def _order(groups: Sequence[FusedGroup]) -> list[FusedGroup]:
    """A topological order that stays on one target as long as it can: fewer, longer VDLA programs."""
    waiting = list(groups)
    made: set[Value] = set()
    produced = {v for g in groups for v in g.outputs}
    out: list[FusedGroup] = []
    while waiting:
        ready = [g for g in waiting if all(v in made or v not in produced for v in g.inputs)]
        same = [g for g in ready if out and g.target == out[-1].target]
        # Off VDLA, do everything that is possible before it starts: what it produces may join one program.
        chosen = (same or ready)[0]
        waiting.remove(chosen)
        made.update(chosen.outputs)
        out.append(chosen)
    return out


class _Arena:
    """Where everything lies: constants first, then planned activations, then what is appended."""

    def __init__(self) -> None:
        self.size = ALIGNMENT  # address 0 stays unused: a forgotten address shows
        self.segments: list[Segment] = []
        self.peak = self.total = 0
        self._constants = DistinctBytes()
        self._of_array: dict[int, int] = {}
        self._of_value: dict[str, int] = {}

    def append(self, name: str, data: np.ndarray, alignment: int = ALIGNMENT) -> int:
        """Add a constant segment; returns its offset."""
        raw = bytes_of(data)
        at = -(-self.size // alignment) * alignment
        self.segments.append(Segment(name, at, raw))
        self.size = at + max(raw.size, 1)
        return at

    def add_constant(self, arg: Value | np.ndarray) -> None:
        """Place a constant argument (equal bytes once); other arguments are left to the plan."""
        if isinstance(arg, Value):
            if arg.const is None:
                return
            data, name = arg.storage(), arg.name
        else:
            data, name = arg, f"constant{len(self.segments)}"
        at = self._constants.place(bytes_of(data), lambda: self.append(name, data))
        if isinstance(arg, Value):
            self._of_value[arg.name] = at
        else:
            self._of_array[id(arg)] = at

    def place(self, graph: Graph, groups: Sequence[FusedGroup], workspaces: Sequence[Buffer], *, keep: bool) -> None:
        """Plan the activations and the kernels' workspaces.  ``keep``: nothing shares its place."""
        buffers = [*lifetimes(graph, groups, pin_outputs=True), *workspaces]
        if keep:
            end = max(len(groups) - 1, 0)
            buffers = [Buffer(b.name, b.size, 0, end) for b in buffers]
        memory = plan(buffers, alignment=ALIGNMENT)
        base = -(-self.size // ALIGNMENT) * ALIGNMENT
        self._of_value.update({name: base + offset for name, offset in memory.offsets.items()})
        self.size = base + memory.peak
        self.peak, self.total = memory.peak, memory.total

    def address(self, arg: Value | np.ndarray) -> int:
        """Byte offset of an argument."""
        return self._of_value[arg.name] if isinstance(arg, Value) else self._of_array[id(arg)]

    def spec(self, value: Value, name: str) -> TensorSpec:
        """An input or output of the model."""
        return TensorSpec(name, value.shape, value.dtype, self._of_value[value.name])


def _steps(
    config: Config, groups: Sequence[FusedGroup], compiled: Sequence[CompiledLayer | CpuKernel], arena: _Arena
) -> list[Step]:
    """The steps in order; each run of VDLA layers becomes one program, appended to the arena."""
    steps: list[Step] = []
    pending: list[Layer] = []

    def flush() -> None:
        if not pending:
            return
        base = -(-arena.size // ALIGNMENT) * ALIGNMENT
        program = write_program(config, pending, base, arena.size)
        arena.append(f"micro-ops {len(steps)}", program.uop_image)
        at = arena.append(f"program {len(steps)}", program.code, max(ALIGNMENT, config.instruction_bytes))
        layers = tuple(
            VdlaLayer(r.layer.name, r.layer.op, r.begin, r.end, r.layer.macs, r.layer.nodes) for r in program.ranges
        )
        steps.append(VdlaStep(at, len(program.instructions), layers))
        pending.clear()

    for group, item in zip(groups, compiled, strict=True):
        if isinstance(item, CompiledLayer):
            dram = tuple(arena.address(arg) for arg in item.args)
            pending.append(Layer(item.name, item.op, item.emitter, dram, item.macs, item.nodes))
            continue
        flush()
        reasons = dict.fromkeys(_reason(node) for node in group.nodes)
        names = tuple(node.name for node in group.nodes)
        label = "+".join(node.op for node in group.nodes)
        args = tuple(arena.address(arg) for arg in item.args)
        steps.append(CpuStep(item.symbol, args, group.name, label, "; ".join(filter(None, reasons)), names))
    flush()
    return steps


def _work(group: FusedGroup, item: CompiledLayer | CpuKernel) -> dict[str, int]:
    """What a group does by its operators' definitions, and the operations that its kernel executes: on a CPU other ones
    where an algorithm saves some, but for declared instructions, of which only the definition is known."""
    work = group_work(group)
    executed = work.operations
    if isinstance(item, CpuKernel) and not item.lowered.facts.llvm_calls:
        executed = item.lowered.facts.operations
    return {**dataclasses.asdict(work), "executed": executed}


def _reason(node: Node) -> str:
    """Why a node is not on VDLA, for the user; empty where it was not to be."""
    if node.reason is not None:
        return node.reason.removeprefix("vdla: ")
    return "converts between layouts" if node.op == "layout_transform" else ""


def _describe(value: Value, arena: _Arena) -> dict[str, object]:
    """Where a tensor lies, for looking inside a network."""
    return {
        "name": value.name,
        "origin": value.origin,
        "offset": arena.address(value),
        "shape": list(value.shape),
        "dtype": value.dtype,
        "layout": value.layout,
        "zero_offset": value.quant.offset if value.quant is not None else 0,
    }
