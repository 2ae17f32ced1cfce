"""Exploring machines: one network on every combination of the parameters' values, side by side.

::

    import vdla
    found = vdla.explore("resnet18", grid={"vdla.block_out": [16, 32], "vdla.bus_bits": [64, 128]})
    print(found.table())
    print(found.best(where=lambda row: row.multipliers <= 256))
    found.save("out/explore")
"""

from __future__ import annotations

import itertools
import pickle
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from compiler.errors import CompileError
from hw.config import Config
from hw.config_checks import did_you_mean
from hw.errors import ConfigError, VdlaError
from runtime.executor import Progress, SimName, check_inputs
from vdla.api import compile, simulate
from vdla.calibration import load_graph, specs_of
from vdla.errors import UsageError
from vdla.report.exploration import DOCUMENT, SCHEMA, pareto, print_exploration, render_files
from vdla.report.files import ReportFolder
from vdla.resolve import builtin_calibration, model_source, random_inputs

if TYPE_CHECKING:
    import onnx

BUFFERS = ("uop", "inp", "wgt", "acc", "out", "aux")

Value = int | float | str | None
"""A parameter's value, as YAML knows it."""

Measure = Literal["time_ms", "cycles", "dram_bytes", "utilization"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """The network on one machine.

    Attributes:
        parameters: the value of each parameter of the grid.
        refusal: why there is no result - an illegal configuration, or a layer that does not fit; None when it ran.
        fingerprint, multipliers, buffer_bytes: of the machine; buffer_bytes is all on-chip buffers together. None
            and 0 when the configuration itself is illegal.
        area: estimated cost on a Xilinx part (hw/area.py): ``"plain"`` with one product a DSP and ``"packed"`` with
            two, each ``{"lut", "ff", "dsp", "bram"}``; empty when the configuration itself is illegal.
        cycles, time_ms, utilization: of one inference; None when refused, and in a functional simulation.
        stalls: cause -> cycles without a product.
        moved_to_cpu: operator -> reason, for those that do not fit this machine and ran on the CPU, but on VDLA in
            another row. Their time is not in `cycles`, so such a row is not compared with the others.
        outputs: name -> ``{"shape", "dtype", "sha256"}``.
        compile_s, simulate_s: seconds on the computer that explores.
    """

    parameters: Mapping[str, Value]
    refusal: str | None = None
    fingerprint: str | None = None
    multipliers: int = 0
    buffer_bytes: int = 0
    area: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    cycles: int | None = None
    time_ms: float | None = None
    utilization: float | None = None
    macs: int = 0
    mac_floor_cycles: int = 0
    dram_read_bytes: int = 0
    dram_write_bytes: int = 0
    stalls: Mapping[str, int] = field(default_factory=dict)
    moved_to_cpu: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    compile_s: float = 0.0
    simulate_s: float = 0.0

    @property
    def comparable(self) -> bool:
        """Whether it ran, with everything on VDLA that any row has there."""
        return self.refusal is None and not self.moved_to_cpu

    @property
    def dram_bytes(self) -> int:
        """Bytes read and written, instruction fetch included."""
        return self.dram_read_bytes + self.dram_write_bytes


@dataclass(frozen=True)
class Exploration:
    """All rows of a grid, in its order: the last parameter changes fastest.

    Attributes:
        config: the machine that the grid changes.
        grid: parameter -> its values.
        wall_s: seconds that the whole exploration took.
    """

    model: str
    config: Config
    sim: SimName
    grid: Mapping[str, Sequence[Value]]
    rows: tuple[Row, ...]
    wall_s: float

    @cached_property
    def document(self) -> dict[str, Any]:
        """The content of explore.json, of plain Python values; the schema is report/explore_schema.json."""
        ran = [row for row in self.rows if row.refusal is None]
        reference = next((row.time_ms for row in ran if row.comparable), None)
        rows = []
        for row in self.rows:
            change = row.time_ms / reference - 1 if row.comparable and row.time_ms is not None and reference else None
            rows.append(
                {
                    **asdict(row),
                    "dram_bytes": row.dram_bytes,
                    "comparable": row.comparable,
                    "change": change,
                    "outputs_equal": row.outputs == ran[0].outputs if row.refusal is None else None,
                }
            )
        return {
            "schema": SCHEMA,
            "model": self.model,
            "sim": self.sim,
            "config": {**self.config.to_dict(), "fingerprint": self.config.fingerprint},
            "grid": {key: list(values) for key, values in self.grid.items()},
            "rows": rows,
            "pareto": {
                "both": pareto(rows, "multipliers", "buffer_bytes"),
                "multipliers": pareto(rows, "multipliers"),
                "buffer_bytes": pareto(rows, "buffer_bytes"),
            },
            "wall_s": self.wall_s,
        }

    def table(self) -> str:
        """The rows as text, with the reasons of refusals below."""
        from rich.console import Console

        console = Console(width=200, force_terminal=False)
        with console.capture() as capture:
            print_exploration(self.document, console)
        return capture.get()

    def best(self, by: Measure = "time_ms", *, where: Callable[[Row], bool] = lambda _: True) -> Row:
        """The row with the least `by` (for ``"utilization"``: the most) of the comparable ones that `where` admits.

        Raises:
            UsageError: when there is none.
        """
        sign = -1 if by == "utilization" else 1
        rows = [row for row in self.rows if row.comparable and getattr(row, by) is not None and where(row)]
        if not rows:
            raise UsageError(f"none of the {len(self.rows)} configurations is comparable, admitted and has '{by}'")
        return min(rows, key=lambda row: sign * getattr(row, by))

    def save(self, folder: str | Path) -> list[str]:
        """Writes explore.json, explore.png and index.html to a new folder, or in place of another exploration.

        Returns:
            The names of the files.

        Raises:
            ReportError: when the place cannot be written or holds something else.
        """
        with ReportFolder(Path(folder), DOCUMENT) as place:
            return place.write_files(self.files())

    def files(self) -> dict[str, bytes]:
        """Every file of the report, by name."""
        return render_files(self.document)


def explore(
    model: str | Path | onnx.ModelProto,
    *,
    config: Config | str | Path = "pynq-z1",
    grid: Mapping[str, Sequence[Value]],
    inputs: Mapping[str, np.ndarray] | np.ndarray | None = None,
    target: Sequence[str] | str = ("vdla", "cpu"),
    virtual_threads: bool = True,
    batch: int | None = None,
    calibration: Iterable[Mapping[str, np.ndarray]] | None = None,
    sim: SimName = "cycle",
    jobs: int = 1,
    progress: Progress | None = None,
) -> Exploration:
    """Compiles and simulates a network on every combination of the grid's values.

    A combination that is no legal machine, or that a layer does not fit, becomes a row with the reason.

    Args:
        model: as for `vdla.compile`.
        config: the machine that the grid changes.
        grid: values by parameter, e.g. ``{"vdla.block_out": [16, 32], "memory.read_latency": [28]}``; the keys are
            those of ``--set``.
        inputs: name -> array, or a single array when the model has one input; by default seeded random ones. The same
            for all rows.
        target, virtual_threads, batch, calibration: as for `vdla.compile`.
        sim: ``"cycle"``, or ``"functional"`` to compare the bits only.
        jobs: processes that share the work. With more than one, a script needs the usual
            ``if __name__ == "__main__":`` around its main part.
        progress: told ``(what, rows done, rows in all)``.

    Raises:
        VdlaError, compiler.errors.CompileError: for what is wrong with all rows alike: the model, the inputs, a
            parameter that does not exist, a process that died.
    """
    started = time.perf_counter()
    base = config if isinstance(config, Config) else Config.load(config)
    _check_grid(base, grid)
    if jobs < 1:
        raise UsageError(f"jobs={jobs}: at least one process does the work")
    source = model_source(str(model), batch) if isinstance(model, str | Path) else model
    if calibration is None and isinstance(model, str):
        calibration = builtin_calibration(model)
    graph = load_graph(source, batch)
    specs = specs_of(graph)
    given = random_inputs(specs) if inputs is None else {s.name: array for s, array in check_inputs(specs, inputs)}
    samples = None if calibration is None else list(calibration)
    work = _Work(source, base, target, virtual_threads, batch, samples, given, sim)
    points = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    tell = progress or (lambda *_: None)
    if jobs == 1:
        placed = list(_in_turn(work, points, tell))
    else:
        placed = _in_processes(work, points, min(jobs, len(points)), tell)
    rows = tuple(_with_moves(placed))
    return Exploration(graph.name, base, sim, dict(grid), rows, time.perf_counter() - started)


def _check_grid(base: Config, grid: Mapping[str, Sequence[Value]]) -> None:
    """Refuses what is wrong with the question, not with a machine."""
    if not grid:
        raise UsageError('nothing to explore; give values of a parameter, e.g. {"vdla.block_out": [16, 32]}')
    data = base.to_dict()
    keys = [f"{section}.{name}" for section in ("vdla", "memory") for name in data[section]]
    for key, values in grid.items():
        if key not in keys:
            raise ConfigError(key, "no such parameter", did_you_mean(key, keys))
        if isinstance(values, str) or not isinstance(values, Sequence):
            raise UsageError(f"{key}: give a list of values, e.g. [{values!r}]")
        if not values:
            raise UsageError(f"{key}: give at least one value")


_Placement = Mapping[str, str | None]
"""Operator -> why it ran on the CPU; None for those on VDLA."""


def _with_moves(placed: Sequence[tuple[Row, _Placement]]) -> Iterator[Row]:
    """The rows with `moved_to_cpu`, which only all of them together tell."""
    on_vdla = {node for _, placement in placed for node, reason in placement.items() if reason is None}
    for row, placement in placed:
        moved = {node: why for node, why in placement.items() if why is not None and node in on_vdla}
        yield replace(row, moved_to_cpu=moved)


@dataclass(frozen=True)
class _Work:
    """What all rows have in common; can be pickled."""

    source: onnx.ModelProto | Path
    base: Config
    target: Sequence[str] | str
    virtual_threads: bool
    batch: int | None
    calibration: list[Mapping[str, np.ndarray]] | None
    inputs: Mapping[str, np.ndarray]
    sim: SimName

    def row(self, parameters: Mapping[str, Value], progress: Progress | None = None) -> tuple[Row, _Placement]:
        """Compiles and simulates one machine; where the operators ran comes with the row."""
        # The area is that of the RTL, and Amaranth takes long to import.
        from hw.area import estimate

        machine: dict[str, Any] = {}
        try:
            config = _changed(self.base, parameters)
            on_chip = sum(getattr(config, f"{kind}_buffer") for kind in BUFFERS)
            machine = {
                "fingerprint": config.fingerprint,
                "multipliers": config.macs_per_cycle,
                "buffer_bytes": on_chip,
                "area": {name: estimate(config, name == "packed").to_dict() for name in ("plain", "packed")},
            }
            artifact = compile(
                self.source,
                target=self.target,
                config=config,
                virtual_threads=self.virtual_threads,
                batch=self.batch,
                calibration=self.calibration,
                progress=progress,
            )
            document = simulate(artifact, self.inputs, sim=self.sim, progress=progress).document
        except (VdlaError, CompileError) as error:
            return Row(parameters=parameters, refusal=" ".join(str(error).split()), **machine), {}
        totals = document["totals"]
        names = (
            "cycles", "time_ms", "utilization", "macs", "mac_floor_cycles", "dram_read_bytes", "dram_write_bytes",
            "stalls",
        )  # fmt: skip
        placement = {node: layer.get("reason") for layer in document["layers"] for node in layer["nodes"]}
        row = Row(
            parameters=parameters,
            **machine,
            **{name: totals[name] for name in names},
            outputs=document["outputs"],
            compile_s=document["compile"]["wall_s"],
            simulate_s=totals["wall_s"],
        )
        return row, placement


def _changed(base: Config, parameters: Mapping[str, Value]) -> Config:
    data = base.to_dict()
    for key, value in parameters.items():
        section, name = key.split(".")
        data[section][name] = value
    return Config.from_dict(data)


def _label(parameters: Mapping[str, Value]) -> str:
    return " ".join(f"{key.removeprefix('vdla.')}={value}" for key, value in parameters.items())


def _in_turn(work: _Work, points: Sequence[Mapping[str, Value]], tell: Progress) -> Iterator[tuple[Row, _Placement]]:
    for done, parameters in enumerate(points):

        def step(what: str, *_: int, done: int = done, label: str = _label(parameters)) -> None:
            tell(f"{label}: {what}", done, len(points))

        step("start")
        yield work.row(parameters, step)
    tell("done", len(points), len(points))


_work: _Work | None = None
"""In a process of the pool: what it was started for."""


def _start(path: str) -> None:
    global _work
    _work = pickle.loads(Path(path).read_bytes())


def _row(parameters: Mapping[str, Value]) -> tuple[Row, _Placement]:
    assert _work is not None, "the pool's initializer has run"
    return _work.row(parameters)


@contextmanager
def _deaf_children() -> Iterator[None]:
    """Processes started meanwhile ignore interrupts: these reach the whole group, and are this one's to handle."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


_NO_MAIN = 'a script whose main part is not under `if __name__ == "__main__":`'


def _in_processes(
    work: _Work, points: Sequence[Mapping[str, Value]], jobs: int, tell: Progress
) -> list[tuple[Row, _Placement]]:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from concurrent.futures.process import BrokenProcessPool

    # Such a script starts over in each process it starts. Refused before a pool there takes semaphores: the process
    # is killed as soon as another one has died, and whoever reads the error would read of leaked semaphores after it.
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise UsageError(f"called in a process that explore started: by {_NO_MAIN}")
    # Spawned, not forked: the compiler's and the caller's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    tell(f"starting {jobs} processes", 0, len(points))
    with tempfile.TemporaryDirectory(prefix="vdla-explore-") as folder:
        # In a file: a process that dies before it reads a long argument from its pipe would leave this one waiting.
        path = Path(folder) / "work"
        path.write_bytes(pickle.dumps(work))
        with ProcessPoolExecutor(jobs, mp_context=context, initializer=_start, initargs=(str(path),)) as pool:
            try:
                with _deaf_children():
                    futures = [pool.submit(_row, parameters) for parameters in points]
                labels = dict(zip(futures, map(_label, points), strict=True))
                for done, future in enumerate(as_completed(futures), 1):
                    future.result()
                    tell(f"{labels[future]} done", done, len(points))
            except BrokenProcessPool as error:
                raise UsageError(
                    f"one of {jobs} processes died: too little memory (fewer jobs need less), or {_NO_MAIN}"
                ) from error
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return [future.result() for future in futures]


__all__ = ["Exploration", "Row", "explore"]
