"""One artifact on a board: its arena in memory that the machine reaches, and its programs moved there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hw.isa import Opcode
from hw.rtl.revision import isa_revision, timing_revision
from runtime.artifact import ALIGNMENT, Artifact, VdlaLayer, VdlaStep
from runtime.board.driver import TIMEOUT_S, Driver
from runtime.board.errors import AllocationError, WrongMachineError, WrongRevisionError
from runtime.board.interface import PAGE, Board, Buffer
from runtime.board.program import Copies, Spans, copies, joined, relocated
from runtime.device import VdlaRun
from runtime.profile import LayerRecord

ADDRESS_SPACE = 1 << 32
"""Bytes that the machine's addresses reach."""


_OTHER_RULES = (
    "the machine was made from other rules of time ({:04x}) than this package simulates ({:04x}): the same results,"
    " but cycles may differ from the simulators'"
)


@dataclass(frozen=True)
class _Traffic:
    """What a step's program touches: spans that it needs from the host or writes over, spans that it writes."""

    needed: Spans
    written: Spans
    loads: Copies
    stores: Copies


class BoardDevice:
    """A `runtime.device.VdlaDevice` on a board.

    Several may share a board: each has its own memory, and every program starts from the same state. Close it to give
    the memory back; the board stays open.
    """

    name = "board"
    timed = True
    traced = False

    def __init__(self, board: Board, artifact: Artifact, *, timeout_s: float = TIMEOUT_S) -> None:
        """Checks the machine, allocates the arena and moves the programs there.

        Raises:
            WrongMachineError: when the machine on the board is not the one that the artifact was compiled for.
            WrongRevisionError: when it reads instructions in another encoding than this package writes.
            AllocationError: when the arena does not fit the board's memory, or lies where it must not.
        """
        self.driver = Driver(board)
        info, config = board.identify(), artifact.config
        if self.driver.fingerprint != config.fingerprint:
            raise WrongMachineError(
                f"{info.name} holds the machine {self.driver.fingerprint}, the artifact of '{artifact.model}' was "
                f"compiled for config '{config.name}' ({config.fingerprint}); load its bitstream or compile again",
                self.driver.fingerprint,
                config.fingerprint,
            )
        encoding, rules = self.driver.revision
        if encoding != isa_revision():
            raise WrongRevisionError(
                f"{info.name} holds a machine of instruction encoding {encoding:04x}, this package has "
                f"{isa_revision():04x}; load a bitstream made with this version",
                encoding,
                isa_revision(),
            )
        self._notes = (_OTHER_RULES.format(rules, timing_revision()),) if rules != timing_revision() else ()
        self.config = config if info.clock_mhz is None else config.with_(clock_mhz=info.clock_mhz)
        self._timeout_s = timeout_s
        self._buffer = board.allocate(artifact.arena_bytes)
        try:
            _check_place(self._buffer, artifact.arena_bytes)
            self.artifact = relocated(artifact, self._buffer.address)
            self.arena = self._buffer.view[: artifact.arena_bytes]
            # What the original says: offsets in the arena.
            self._traffic = {step: _traffic(artifact, step) for step in artifact.steps if isinstance(step, VdlaStep)}
        except BaseException:
            self._buffer.free()
            raise

    def execute(
        self,
        step: VdlaStep,
        start_cycle: int,
        first_layer: int,
        progress: Callable[[int, int], None] | None = None,
    ) -> VdlaRun:
        """Runs the step's program; see `Driver.run` for what it raises. Layers have no times of their own."""
        traffic = self._traffic[step]
        for begin, end in traffic.needed:
            self._buffer.flush(begin, min(end, self.arena.size))
        counters = self.driver.run(
            self._buffer.address + step.program_addr, step.n_instr, timeout_s=self._timeout_s, progress=progress
        )
        for begin, end in traffic.written:
            self._buffer.invalidate(begin, min(end, self.arena.size))
        return VdlaRun(
            layers=tuple(_record(layer, traffic) for layer in step.layers),
            fetch_bytes=step.n_instr * self.config.instruction_bytes,
            cycles=counters.cycles,
            busy=counters.busy,
            stalls={cause: count for cause, count in counters.causes.items() if cause != "gemm" and count},
            notes=self._notes,
        )

    def close(self) -> None:
        """Gives the memory back."""
        self._buffer.free()


def _check_place(buffer: Buffer, size: int) -> None:
    begin, end = buffer.address, buffer.address + size
    if begin % PAGE:
        raise AllocationError(f"the board's memory for the arena begins at {begin:#x}, not at a multiple of {PAGE}")
    if end > ADDRESS_SPACE:
        raise AllocationError(
            f"the board's memory for the arena ends at {end:#x}; the machine's addresses reach {ADDRESS_SPACE:#x}"
        )
    if buffer.view.ctypes.data % ALIGNMENT or buffer.view.size < size:
        raise AllocationError(f"the host's view of the arena must have {size} bytes, aligned to {ALIGNMENT}")


def _traffic(artifact: Artifact, step: VdlaStep) -> _Traffic:
    program, config = artifact.program(step), artifact.config
    loads, stores = copies(program, Opcode.LOAD, config), copies(program, Opcode.STORE, config)
    written = stores.spans()
    end = -(-(step.program_addr + program.size) // ALIGNMENT) * ALIGNMENT
    own = ((step.program_addr // ALIGNMENT * ALIGNMENT, end),)
    # Lines that the machine writes must not be written back over it by the host's cache.
    return _Traffic(joined(loads.spans() + written + own), written, loads, stores)


def _record(layer: VdlaLayer, traffic: _Traffic) -> LayerRecord:
    def copied(of: Copies) -> int:
        return int(of.copied[(of.index >= layer.begin) & (of.index < layer.end)].sum())

    return LayerRecord(
        layer.name,
        layer.op,
        "vdla",
        macs=layer.macs,
        dram_read_bytes=copied(traffic.loads),
        dram_write_bytes=copied(traffic.stores),
        nodes=layer.nodes,
    )
