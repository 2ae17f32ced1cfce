"""The VDLA device: programs in the arena, run by the functional or the cycle simulator or on the RTL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from hw.config import Config
from runtime.artifact import Artifact, VdlaStep
from runtime.device import LayerWave, VdlaRun
from runtime.profile import InstructionTrace, LayerRecord, total
from sim import cycle
from sim.functional import copied_bytes, execute
from sim.program import F, decode
from sim.state import State


class VdlaSimDevice:
    """A simulated VDLA: a `runtime.device.VdlaDevice` whose DRAM is an array."""

    def __init__(
        self,
        artifact: Artifact,
        config: Config,
        sim: Literal["functional", "cycle", "rtl", "gates"],
        wave: LayerWave | None = None,
    ) -> None:
        self.artifact = artifact
        self.config = config
        self.name = self.sim = sim
        self.timed = self.traced = sim != "functional"
        self.wave = wave
        self.arena = artifact.initial_arena()

    def execute(
        self,
        step: VdlaStep,
        start_cycle: int,
        first_layer: int,
        progress: Callable[[int, int], None] | None = None,
    ) -> VdlaRun:
        """See `VdlaDevice`.

        Raises:
            ProgramError: for an illegal program; DeadlockError if it stops before its end; on the RTL also
                RtlBuildError.
        """
        if self.sim == "functional":
            return self._functional(step, self.arena)
        return self._timed(step, self.arena, start_cycle, first_layer, progress)

    def _functional(self, step: VdlaStep, arena: np.ndarray) -> VdlaRun:
        program = decode(arena, step.program_addr, step.n_instr, self.config)
        execute(program, arena, State(self.config))
        read, written = copied_bytes(program)
        layers = tuple(
            LayerRecord(
                layer.name,
                layer.op,
                "vdla",
                macs=layer.macs,
                dram_read_bytes=int(read[layer.begin : layer.end].sum()),
                dram_write_bytes=int(written[layer.begin : layer.end].sum()),
                nodes=layer.nodes,
            )
            for layer in step.layers
        )
        return VdlaRun(layers, step.n_instr * self.config.instruction_bytes)

    def close(self) -> None:
        """See `VdlaDevice`; an array needs no closing."""

    def _run(self, step: VdlaStep, arena: np.ndarray, progress: Callable[[int, int], None] | None) -> cycle.CycleResult:
        program = step.program_addr, step.n_instr, self.config
        if self.sim == "cycle":
            return cycle.run(arena, *program, progress=progress)
        if self.sim == "gates":
            from sim import gate

            return gate.run(arena, *program, progress=progress)
        # Imports Amaranth, which takes a second that no other simulator should cost.
        from sim import rtl

        wave = None
        for layer in step.layers:
            if self.wave is not None and layer.name == self.wave.layer:
                # The cycle simulator has the same cycles, and has them at once.
                span = cycle.run(arena.copy(), *program).interval(layer.begin, layer.end)
                wave = rtl.Wave(self.wave.path, span.first_cycle, span.last_cycle)
        return rtl.run(arena, *program, progress=progress, wave=wave)

    def _timed(
        self,
        step: VdlaStep,
        arena: np.ndarray,
        start_cycle: int,
        first_layer: int,
        progress: Callable[[int, int], None] | None,
    ) -> VdlaRun:
        result = self._run(step, arena, progress)
        layers: list[LayerRecord] = []
        owner = np.zeros(step.n_instr, np.int64)
        for index, layer in enumerate(step.layers):
            owner[layer.begin : layer.end] = first_layer + index
            part = result.interval(layer.begin, layer.end)
            layers.append(
                LayerRecord(
                    layer.name,
                    layer.op,
                    "vdla",
                    macs=layer.macs,
                    cycles=part.cycles,
                    stalls={cause: count for cause, count in part.causes.items() if cause != "gemm" and count},
                    dram_read_bytes=part.dram_read_bytes,
                    dram_write_bytes=part.dram_write_bytes,
                    nodes=layer.nodes,
                )
            )
        trace = InstructionTrace(
            unit=result.program.column(F.UNIT),
            start=result.issue + start_cycle,
            end=result.last + 1 + start_cycle,
            layer=owner,
        )
        fetch_bytes = result.fetch_beats * self.config.bus_bytes
        return VdlaRun(
            tuple(layers), fetch_bytes, result.cycles, result.busy, total(*(la.stalls for la in layers)), trace
        )
