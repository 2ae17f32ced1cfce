"""The graph executor: an artifact's steps, one after the other, over one arena."""

from __future__ import annotations

import difflib
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Literal

import numpy as np

from hw.config import Config
from runtime.artifact import Artifact, CpuStep, TensorSpec, VdlaStep, check_same_machine
from runtime.device import LayerWave, VdlaDevice, VdlaRun
from runtime.errors import InputError
from runtime.profile import InstructionTrace, LayerRecord, RunProfile, total

if TYPE_CHECKING:
    from runtime.board.interface import Board
    from runtime.cpu import CpuDevice
    from runtime.linked_cpu import LinkedCpuDevice

SimName = Literal["functional", "cycle", "rtl", "gates"]

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, parts done, parts in all)."""


class RunResult:
    """Outputs (name -> array, in the model's shapes and dtypes) and profile of one inference."""

    def __init__(self, outputs: dict[str, np.ndarray], profile: Callable[[], RunProfile]) -> None:
        self.outputs = outputs
        self._profile = profile

    @cached_property
    def profile(self) -> RunProfile:
        """Put together when somebody asks: a small network runs faster than that."""
        return self._profile()


@dataclass(frozen=True, slots=True)
class _Ran:
    """What a run leaves for its profile: of each run of CPU steps their seconds, of each program what the device told;
    seconds of all."""

    parts: list[list[float] | VdlaRun]
    wall_s: float


class Executor:
    """Runs one artifact any number of times.

    Every run starts from the same arena (constants in place, for VDLA's programs zeros elsewhere), so equal inputs give
    equal outputs whatever ran before.
    """

    def __init__(
        self,
        artifact: Artifact,
        config: Config | None = None,
        sim: SimName = "functional",
        wave: LayerWave | None = None,
        *,
        board: Board | None = None,
        timeout_s: float | None = None,
    ) -> None:
        """Prepares the devices and the arena.

        Args:
            artifact: what to run.
            config: the machine to run it on; by default the one it was compiled for. Only what lies outside the
                hardware (clock, memory latencies, stall profile) may differ.
            sim: ``"functional"`` computes the bits, ``"cycle"`` also the time of every instruction; ``"rtl"`` runs the
                Verilated RTL, which has the same time, and ``"gates"`` the netlist of its synthesis (minutes to build).
            wave: with ``"rtl"``, the layer whose waveform is wanted, and the file for it.
            board: run on this board (see `runtime.board.connect`) instead of a simulator; `sim` is not used then.
            timeout_s: with a board, how long no instruction may retire.

        Raises:
            ArtifactError: when the machine is another one or the CPU code does not suit this processor.
            BoardError: when the board holds another machine, or has no room.
            InputError: when the waveform is of no VDLA layer, or of another simulator than the RTL.
        """
        self.artifact = artifact
        config = config if config is not None else artifact.config
        check_same_machine(artifact.config, config, f"the artifact of '{artifact.model}'")
        if wave is not None:
            _check_wave(wave, artifact, sim if board is None else "board")
        self._lent = _lent(artifact)
        outputs = [spec for spec in artifact.outputs if spec.offset in self._lent]
        self._made = [(spec.offset, spec.shape, np.dtype(spec.dtype)) for spec in outputs]
        self._cpu = _cpu_device(artifact, self._lent)
        self._vdla = _device(artifact, config, sim, wave, board, timeout_s)
        self.config = self._vdla.config
        self._parts = _parts(artifact)
        self._stale = True  # the arena does not hold what a run starts from

    def close(self) -> None:
        """Gives back what a board lent; a simulator needs none of it."""
        self._vdla.close()

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, inputs: Mapping[str, np.ndarray] | np.ndarray, progress: Progress | None = None) -> RunResult:
        """One inference.

        Args:
            inputs: name -> array, or a single array when the model has one input.
            progress: told how far the programs have come; the functional simulator never takes long enough to tell.

        Raises:
            InputError: when names, shapes or dtypes are not the declared ones.
        """
        arrays = check_inputs(self.artifact.inputs, inputs)
        started = time.perf_counter()
        arena = self._vdla.arena
        if self._stale:
            arena.fill(0)
            self._vdla.artifact.write_constants(arena)
            # A kernel writes its outputs and workspaces, nothing else, before it reads them; a program for VDLA may
            # leave anything behind.
            self._stale = any(isinstance(part, VdlaStep) for part in self._parts)
        lent: dict[int, np.ndarray] = {}
        for spec, array in arrays:
            if spec.offset in self._lent:
                lent[spec.offset] = _readable(array)
            else:
                raw = np.ascontiguousarray(array).view(np.uint8).reshape(-1)
                arena[spec.offset : spec.offset + spec.nbytes] = raw
        for offset, shape, dtype in self._made:
            lent[offset] = np.empty(shape, dtype)
        addresses = [lent[offset].__array_interface__["data"][0] for offset in self._lent]
        ran: list[list[float] | VdlaRun] = []
        cycle = layers = steps = 0
        for part in self._parts:
            if isinstance(part, VdlaStep):
                steps += 1
                what = f"program {steps} of {len(self.artifact.steps)}"
                told = None if progress is None else partial(progress, what)
                program = self._vdla.execute(part, cycle, layers, told)
                cycle += program.cycles
                layers += len(program.layers)
                ran.append(program)
            else:
                assert self._cpu is not None, "check_artifact demands CPU code where a step needs it"
                ran.append(self._cpu.execute(part[0], arena, addresses))
                layers += len(part)
                steps += len(part)
        outputs: dict[str, np.ndarray] = {}
        for spec in self.artifact.outputs:
            made = lent.get(spec.offset)
            outputs[spec.name] = read_tensor(arena, spec) if made is None else made
        return RunResult(outputs, partial(self._profile, _Ran(ran, time.perf_counter() - started)))

    def _profile(self, run: _Ran) -> RunProfile:
        layers: list[LayerRecord] = []
        programs: list[VdlaRun] = []
        for part, ran in zip(self._parts, run.parts, strict=True):
            if isinstance(part, VdlaStep):
                assert isinstance(ran, VdlaRun)
                layers.extend(ran.layers)
                programs.append(ran)
                continue
            assert isinstance(ran, list)
            for step, seconds in zip(part, ran, strict=True):
                layers.append(
                    LayerRecord(step.name, step.op, "cpu", wall_s=seconds, reason=step.reason, nodes=step.nodes)
                )
        device = self._vdla
        traces = [program.trace for program in programs if program.trace is not None]
        return RunProfile(
            sim=device.name,
            layers=tuple(layers),
            trace=InstructionTrace.join(traces) if device.traced else None,
            busy=total(*(program.busy for program in programs)),
            fetch_bytes=sum(program.fetch_bytes for program in programs),
            wall_s=run.wall_s,
            cycles=sum(program.cycles for program in programs) if device.timed else None,
            stalls=total(*(program.stalls for program in programs)),
            # In order, each once.
            notes=tuple(dict.fromkeys(note for program in programs for note in program.notes)),
        )

    def use_threads(self, threads: int) -> None:
        """Let the CPU's kernels use this many threads, the caller's included, from the next run on.

        Raises:
            InputError: unless 1 <= threads <= `runtime.thread_pool.MOST_THREADS` (at that run).
        """
        if self._cpu is not None:
            self._cpu.threads = threads

    def read(self, spec: TensorSpec) -> np.ndarray:
        """A copy of any tensor that the last run made, given where it lies; for looking inside a network."""
        return read_tensor(self._vdla.arena, spec)


def read_tensor(arena: np.ndarray, spec: TensorSpec) -> np.ndarray:
    """A copy of a tensor in the arena, in its own shape and dtype."""
    raw = arena[spec.offset : spec.offset + spec.nbytes]
    return raw.view(np.dtype(spec.dtype)).reshape(spec.shape).copy()


def _parts(artifact: Artifact) -> list[VdlaStep | list[CpuStep]]:
    """The steps, those of the CPU that follow each other together."""
    parts: list[VdlaStep | list[CpuStep]] = []
    for step in artifact.steps:
        if isinstance(step, VdlaStep):
            parts.append(step)
        elif parts and isinstance(parts[-1], list):
            parts[-1].append(step)
        else:
            parts.append([step])
    return parts


def _lent(artifact: Artifact) -> list[int]:
    """Offsets of the inputs that kernels read where the caller has them, and of the outputs that they write into arrays
    of the caller's own.

    Nothing else ever lies in an input's place (the memory plan keeps it), so an argument there is the input. One in an
    output's place is the output if no other kernel has an argument there. But VDLA reads and writes its own memory, and
    an output that is an input, a constant or another output is read from the arena.
    """
    steps = [step for step in artifact.steps if isinstance(step, CpuStep)]
    if len(steps) < len(artifact.steps):
        return []
    outputs = Counter(spec.offset for spec in artifact.outputs)
    inputs = [spec.offset for spec in artifact.inputs]
    uses = Counter(offset for step in steps for offset in step.args)

    def is_made(offset: int) -> bool:
        constant = any(s.offset <= offset < s.offset + s.data.size for s in artifact.segments)
        return outputs[offset] == uses[offset] == 1 and offset not in inputs and not constant

    return [offset for offset in inputs if offset not in outputs] + [offset for offset in outputs if is_made(offset)]


def _readable(array: np.ndarray) -> np.ndarray:
    """The array, or a copy where its elements do not lie as kernels expect them."""
    return array if array.flags.c_contiguous and array.flags.aligned else array.copy()


# Imported where they are needed: a board has no simulator, and may have no linker for CPU code.


def _device(
    artifact: Artifact,
    config: Config,
    sim: SimName,
    wave: LayerWave | None,
    board: Board | None,
    timeout_s: float | None,
) -> VdlaDevice:
    if board is None:
        from runtime.vdla_sim import VdlaSimDevice

        return VdlaSimDevice(artifact, config, sim, wave)
    from runtime.board.device import BoardDevice
    from runtime.board.driver import TIMEOUT_S

    return BoardDevice(board, artifact, timeout_s=TIMEOUT_S if timeout_s is None else timeout_s)


def _cpu_device(artifact: Artifact, lent: Sequence[int]) -> CpuDevice | LinkedCpuDevice | None:
    if artifact.cpu_code is None:
        return None
    try:
        from runtime.cpu import CpuDevice
    except ImportError:
        from runtime.linked_cpu import LinkedCpuDevice

        return LinkedCpuDevice(artifact.cpu_code, artifact.steps, lent)
    return CpuDevice(artifact.cpu_code, artifact.steps, lent)


def _check_wave(wave: LayerWave, artifact: Artifact, sim: str) -> None:
    from sim import rtl

    if sim != "rtl":
        raise InputError(f"only the RTL has waveforms, not {sim}; use sim rtl")
    rtl.Wave.format_of(wave.path)
    names = [layer.name for step in artifact.steps if not isinstance(step, CpuStep) for layer in step.layers]
    if wave.layer not in names:
        near = difflib.get_close_matches(wave.layer, names, 1, 0.0)
        raise InputError(f"'{wave.layer}' is no layer on VDLA" + (f"; did you mean '{near[0]}'?" if near else ""))


def check_inputs(
    specs: tuple[TensorSpec, ...], inputs: Mapping[str, np.ndarray] | np.ndarray
) -> list[tuple[TensorSpec, np.ndarray]]:
    """Pairs every declared input with its array.

    Raises:
        InputError: for a missing or unknown name, or another shape or dtype, saying what was expected.
    """

    def declared() -> str:
        return ", ".join(f"'{spec.name}' {spec.describe()}" for spec in specs)

    if isinstance(inputs, np.ndarray):
        if len(specs) != 1:
            raise InputError(f"the model has {len(specs)} inputs ({declared()}); give a dictionary of arrays by name")
        inputs = {specs[0].name: inputs}
    names = {spec.name for spec in specs}
    unknown = [name for name in inputs if name not in names]
    if unknown:
        raise InputError(f"no input named {', '.join(map(repr, unknown))}; the model's inputs are {declared()}")
    pairs: list[tuple[TensorSpec, np.ndarray]] = []
    for spec in specs:
        if spec.name not in inputs:
            raise InputError(f"input '{spec.name}' is missing: expected {spec.describe()}")
        array = inputs[spec.name]
        if not isinstance(array, np.ndarray):
            raise InputError(
                f"input '{spec.name}': expected a numpy array {spec.describe()}, got {type(array).__name__}"
            )
        if array.shape != spec.shape or array.dtype != np.dtype(spec.dtype):
            got = f"{array.dtype}[{','.join(map(str, array.shape))}]"
            raise InputError(f"input '{spec.name}': expected {spec.describe()}, got {got}")
        pairs.append((spec, array))
    return pairs
