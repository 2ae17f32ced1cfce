"""Compiled models: one flat DRAM image, the steps that run over it, and the machine they were compiled for.

An artifact is a value: constants (weights, micro-ops, encoded instructions), tensors at fixed arena offsets, and a
list of steps. All offsets are byte offsets into one arena shared by VDLA (as its DRAM addresses) and the CPU.
`runtime.artifact_file` stores it; `runtime.executor` runs it. Nothing here needs the compiler.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hw.asm import disassemble
from hw.config import Config, hardware_fields
from hw.isa import decode_program
from runtime.errors import ArtifactError

if TYPE_CHECKING:
    from runtime.executor import SimName

ALIGNMENT = 64
"""CPU kernels may assume that every tensor starts at a multiple of this many bytes."""

DTYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "float32", "float64", "bool")


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A model input or output: where it lies in the arena, dense and in row-major order."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    offset: int

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def describe(self) -> str:
        """The tensor's type as a person reads it, e.g. ``float32[1,3,224,224]``."""
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """Constant bytes (uint8, one dimension) that lie at `offset` in the arena when a run starts."""

    name: str
    offset: int
    data: np.ndarray


@dataclass(frozen=True, slots=True)
class VdlaLayer:
    """Instructions [begin, end) of a program: one fused group of the model. `macs` counts useful products only."""

    name: str
    op: str
    begin: int
    end: int
    macs: int = 0
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VdlaStep:
    """Runs `n_instr` encoded instructions at arena offset `program_addr`. The layers partition the program."""

    program_addr: int
    n_instr: int
    layers: tuple[VdlaLayer, ...]


@dataclass(frozen=True, slots=True)
class CpuStep:
    """Calls ``void symbol(uint8_t *, ...)`` with one pointer per arena offset in `args`.

    `reason` says why the operator was not placed on VDLA.
    """

    symbol: str
    args: tuple[int, ...]
    name: str
    op: str
    reason: str
    nodes: tuple[str, ...] = ()


Step = VdlaStep | CpuStep


@dataclass(frozen=True, slots=True, eq=False)
class CpuCode:
    """A relocatable object with the kernels of all `CpuStep`s, and the processor it needs.

    `features` are LLVM feature names (``avx2``, ``neon``); all must be present on the machine that runs it.
    """

    image: bytes
    triple: str
    features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Artifact:
    """A compiled model. Raises `ArtifactError` at construction if its parts contradict each other."""

    model: str
    config: Config
    arena_bytes: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    segments: tuple[Segment, ...]
    steps: tuple[Step, ...]
    cpu_code: CpuCode | None = None
    info: Mapping[str, object] = field(default_factory=dict)
    """What the compiler wants to be remembered (JSON values): per-pass seconds, options, quantisation."""

    def __post_init__(self) -> None:
        check_artifact(self)

    def program(self, step: VdlaStep) -> np.ndarray:
        """The encoded instructions of a step, uint8[n_instr * instruction bytes].

        Raises:
            ArtifactError: when no constant segment holds the whole program.
        """
        size = step.n_instr * self.config.instruction_bytes
        for segment in self.segments:
            start = step.program_addr - segment.offset
            if start >= 0 and start + size <= segment.data.size:
                return segment.data[start : start + size]
        raise ArtifactError(
            f"program at {step.program_addr:#x} ({step.n_instr} instructions) lies in no constant segment"
        )

    def disassembly(self, step: VdlaStep) -> str:
        """The program of a step as assembler text, a comment line before each layer."""
        lines = disassemble(decode_program(self.program(step), self.config))
        text = lines.splitlines() if isinstance(lines, str) else list(lines)
        out: list[str] = []
        for layer in step.layers:
            out.append(f"# {layer.name} ({layer.op}), instructions {layer.begin}..{layer.end}")
            out.extend(text[layer.begin : layer.end])
        return "\n".join(out) + "\n"

    def initial_arena(self) -> np.ndarray:
        """A new arena (uint8[arena_bytes], aligned to `ALIGNMENT`) with the constants in place and zeros elsewhere."""
        room = np.zeros(self.arena_bytes + ALIGNMENT, np.uint8)
        skip = -room.ctypes.data % ALIGNMENT
        arena = room[skip : skip + self.arena_bytes]
        self.write_constants(arena)
        return arena

    def write_constants(self, arena: np.ndarray) -> None:
        """Copies every constant segment to its place."""
        for segment in self.segments:
            arena[segment.offset : segment.offset + segment.data.size] = segment.data

    def save(self, path: str | Path) -> None:
        """Writes the artifact; see `runtime.artifact_file.save`."""
        from runtime.artifact_file import save

        save(self, Path(path))

    @staticmethod
    def load(path: str | Path) -> Artifact:
        """Reads an artifact; see `runtime.artifact_file.load`."""
        from runtime.artifact_file import load

        return load(Path(path))

    def run(self, inputs: Mapping[str, np.ndarray] | np.ndarray, sim: SimName = "functional") -> dict[str, np.ndarray]:
        """One inference. For many, or for timing, make a `runtime.executor.Executor`.

        Args:
            inputs: name -> array, or a single array when the model has one input.
            sim: ``"functional"`` (bits only) or ``"cycle"``.

        Returns:
            Output name -> array, in the model's own shapes and dtypes.

        Raises:
            InputError: when names, shapes or dtypes are not the declared ones.
        """
        from runtime.executor import Executor

        return Executor(self, sim=sim).run(inputs).outputs


def check_artifact(artifact: Artifact) -> None:
    """Checks that everything lies inside the arena, that layers partition programs and CPU code is there.

    Raises:
        ArtifactError: naming the part that does not fit.
    """

    def inside(what: str, offset: int, nbytes: int) -> None:
        if offset < 0 or offset + nbytes > artifact.arena_bytes:
            raise ArtifactError(
                f"{what} occupies bytes {offset}..{offset + nbytes}, outside the arena of {artifact.arena_bytes} bytes"
            )

    for role, specs in (("input", artifact.inputs), ("output", artifact.outputs)):
        for spec in specs:
            if spec.dtype not in DTYPES:
                raise ArtifactError(f"{role} '{spec.name}' has dtype {spec.dtype}, not one of {', '.join(DTYPES)}")
            if spec.offset % ALIGNMENT:
                raise ArtifactError(f"{role} '{spec.name}' at {spec.offset} is not aligned to {ALIGNMENT} bytes")
            inside(f"{role} '{spec.name}'", spec.offset, spec.nbytes)
    for segment in artifact.segments:
        if segment.data.dtype != np.uint8 or segment.data.ndim != 1:
            raise ArtifactError(f"constant segment '{segment.name}' is not a flat uint8 array")
        inside(f"constant segment '{segment.name}'", segment.offset, segment.data.size)
    for index, step in enumerate(artifact.steps):
        if isinstance(step, CpuStep):
            if artifact.cpu_code is None:
                raise ArtifactError(f"step {index} calls '{step.symbol}' on the CPU, but there is no CPU code")
            for offset in step.args:
                inside(f"an argument of step {index} ('{step.symbol}')", offset, 0)
            continue
        size = step.n_instr * artifact.config.instruction_bytes
        inside(f"the program of step {index}", step.program_addr, size)
        at = 0
        for layer in step.layers:
            if layer.begin != at or layer.end < layer.begin:
                raise ArtifactError(
                    f"step {index}: layer '{layer.name}' has instructions {layer.begin}..{layer.end}, "
                    f"but the layer before it ends at {at}"
                )
            at = layer.end
        if at != step.n_instr:
            raise ArtifactError(f"step {index}: layers cover {at} of {step.n_instr} instructions")


def check_same_machine(compiled_for: Config, given: Config, what: str) -> None:
    """Checks that a program for one machine is not started on another.

    Raises:
        ArtifactError: naming both fingerprints and every hardware field that differs.
    """
    if compiled_for.fingerprint == given.fingerprint:
        return
    differing = [
        f"{name} {getattr(compiled_for, name)} -> {getattr(given, name)}"
        for name in hardware_fields()
        if getattr(compiled_for, name) != getattr(given, name)
    ]
    raise ArtifactError(
        f"{what} was compiled for config '{compiled_for.name}' ({compiled_for.fingerprint}) and cannot run on "
        f"'{given.name}' ({given.fingerprint}): {', '.join(differing)}; compile it again for this config"
    )
