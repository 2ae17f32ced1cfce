"""The Python API: compile a model, run the artifact, simulate it with time."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hw.config import Config
from runtime.artifact import Artifact
from runtime.device import LayerWave
from runtime.executor import Executor, Progress, SimName
from vdla.report.model import Report
from vdla.resolve import builtin_calibration, check_batch, check_calibration, model_source

if TYPE_CHECKING:
    import onnx

    from compiler.backend.cpu.target import KnobSource
    from compiler.lower import PassContext
    from compiler.te import Schedule, Tensor
    from runtime.board.interface import Board
    from vdla.kernel import Kernel
    from vdla.target.target import Tiles


def compile(
    model: str | Path | onnx.ModelProto,
    *,
    target: Sequence[str] | str = ("vdla", "cpu"),
    config: Config | str | Path = "pynq-z1",
    virtual_threads: bool = True,
    batch: int | None = None,
    calibration: Iterable[Mapping[str, np.ndarray]] | None = None,
    integer: bool = False,
    tiles: Tiles | str | Path | None = None,
    kernels: KnobSource | None = None,
    progress: Progress | None = None,
) -> Artifact:
    """Compiles a network ahead of time.

    Args:
        model: an ONNX file's path, a loaded ONNX model, or the name of a built-in one (``"resnet18"``). For VDLA, float
            models are quantised to int8 after calibration; QDQ models are taken as they are.
        target: where operators may run, in order of preference; a comma-separated string is also understood.
        config: the machine: a board's name, a YAML file's path or a `Config`.
        virtual_threads: hide memory latency behind computation with two virtual threads.
        batch: extent of the first axis, for built-in networks and models where it is symbolic; 1 by default.
        calibration: inputs (name -> array) to calibrate a float model on, one mapping a run. By default a built-in
            network's own, or seeded normal numbers.
        integer: make a float model int8 even where no target asks for it, as VDLA does and CPUs do not.
        tiles: a tuning database (`vdla tune` makes one) whose best schedules are used where it has them, VDLA's and
            the CPU's; or VDLA's tiles themselves.
        kernels: the CPU's schedules, if not the database's.
        progress: told ``(what, done, total)`` as the passes go.

    Returns:
        The artifact. ``artifact.info["compile"]`` holds the seconds of each pass, ``artifact.info["tuning"]`` which
        operators a tuning database had tiles for.

    Raises:
        VdlaError, compiler.errors.CompileError: typed and in one line, for everything wrong with the model, the
            config, or both together.
    """
    started = time.perf_counter()
    machine = config if isinstance(config, Config) else Config.load(config)
    targets = tuple(t.strip() for t in target.split(",")) if isinstance(target, str) else tuple(target)
    source = model_source(str(model), batch) if isinstance(model, str | Path) else model
    check_calibration(calibration, targets, integer)
    if calibration is None and isinstance(model, str):
        calibration = builtin_calibration(model)
    # The compiler takes long to import; running an artifact needs none of it.
    from compiler.frontend.onnx_import import load_model
    from compiler.graph.pipeline import Calibration
    from vdla.driver import CompileOptions, compile_model
    from vdla.tune.kernels import TunedKernels, tuning_info
    from vdla.tune.lookup import TunedTiles, open_database

    known: TunedKernels | None = None
    if isinstance(tiles, str | Path):
        database = open_database(tiles)
        tiles, known = TunedTiles(machine, database), TunedKernels(database)
        kernels = kernels or known
    if batch is not None:
        check_batch(load_model(source), batch)
    options = CompileOptions(
        virtual_threads=virtual_threads,
        batch=batch or 1,
        calibration=Calibration(samples=calibration),
        tiles=tiles,
        kernels=kernels,
        integer=integer,
    )
    compiled = compile_model(source, machine, targets, options, progress)
    seconds = {"wall_s": time.perf_counter() - started, "passes": [list(item) for item in compiled.pass_times]}
    tuning = {}
    if known is not None:
        tuning = tuning_info(known, tiles if isinstance(tiles, TunedTiles) else None)
    info = {**compiled.artifact.info, "compile": seconds, "tuning": tuning}
    return dataclasses.replace(compiled.artifact, info=info)


def simulate(
    artifact: Artifact,
    inputs: Mapping[str, np.ndarray] | np.ndarray,
    *,
    sim: SimName = "cycle",
    config: Config | None = None,
    progress: Progress | None = None,
    wave: LayerWave | None = None,
    board: Board | None = None,
) -> Report:
    """One inference with a report of where the time went.

    Args:
        artifact: from `compile` or `Artifact.load`.
        inputs: name -> array, or a single array when the model has one input.
        sim: ``"cycle"`` (bits and time), ``"functional"`` (bits only), ``"rtl"`` (the Verilated hardware) or
            ``"gates"`` (the netlist of its synthesis).
        config: the same machine with another clock or memory (latencies, stall profile), if not the artifact's own.
        progress: told ``(what, done, total)``.
        wave: with ``"rtl"``, the layer whose waveform is wanted, and the file for it.
        board: run on this board (see `runtime.board.connect`); `sim` is not used then.

    Returns:
        The report; ``report.outputs`` are the outputs, ``report.document`` is report.json.

    Raises:
        InputError: when the inputs are not the declared ones.
        ArtifactError: when `config` is another machine.
        BoardError: for everything that goes wrong on a board.
    """
    with Executor(artifact, config, sim, wave, board=board) as executor:
        return Report.of(artifact, executor.config, executor.run(inputs, progress))


def build(
    schedule: Schedule,
    args: Sequence[Tensor],
    *,
    config: Config | str = "pynq-z1",
    name: str = "main",
    context: PassContext | None = None,
) -> Kernel:
    """Compiles one scheduled tensor expression for VDLA; see :func:`vdla.kernel.build`."""
    from vdla.kernel import build

    return build(schedule, args, config, name, context)


__all__ = ["build", "compile", "simulate"]
