"""The driver on the RTL, registers and all: results of the simulators, and what happens when something goes wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest

import vdla
from hw.config import Config
from hw.isa import Buffer, Gemm, Load, Opcode, Store, Sync, decode_program, encode_program
from hw.rtl.registers import OFFSET, Control, Error, Status
from hw.rtl.revision import isa_revision, timing_revision
from runtime.artifact import Artifact, Segment, VdlaStep
from runtime.board import (
    AllocationError,
    BoardError,
    BoardTimeoutError,
    Driver,
    MachineError,
    WrongMachineError,
    WrongRevisionError,
    connect,
)
from runtime.board.interface import PAGE
from runtime.board.program import copies, joined, relocated
from runtime.board.rtl import RtlBoard
from runtime.device import LayerWave
from runtime.errors import InputError
from runtime.executor import Executor, RunResult
from sim.rtl.bench import Fault
from tests import handmade

TINY = Config.load("tiny")


@pytest.fixture
def board() -> Iterator[RtlBoard]:
    with RtlBoard(TINY) as opened:
        yield opened


@cache
def compiled(model: str) -> Artifact:
    return vdla.compile(model, config=TINY)


def some_input(artifact: Artifact, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {spec.name: rng.standard_normal(spec.shape).astype(spec.dtype) for spec in artifact.inputs}


def equal(a: RunResult, b: RunResult) -> bool:
    """The same bits, cycles, and cycles by cause."""
    bits = all(np.array_equal(a.outputs[name], b.outputs[name]) for name in b.outputs)
    return bits and a.profile.cycles == b.profile.cycles and dict(a.profile.stalls) == dict(b.profile.stalls)


def with_program(program: list[Load | Store | Gemm | Sync], artifact: Artifact) -> Artifact:
    """The hand-made artifact with another program, and nothing on the CPU."""
    code = encode_program(program, artifact.config)
    segments = tuple(s for s in artifact.segments if s.offset != handmade.PROGRAM)
    layer = next(s for s in artifact.steps if isinstance(s, VdlaStep)).layers[0]
    step = VdlaStep(handmade.PROGRAM, len(program), (dataclasses.replace(layer, begin=0, end=len(program)),))
    return dataclasses.replace(
        artifact, segments=(*segments, Segment("program", handmade.PROGRAM, code)), steps=(step,), cpu_code=None
    )


@pytest.mark.parametrize("model", ["digits", "resnet_tiny"])
def test_networks_give_the_simulators_bits_and_cycles(board: RtlBoard, model: str) -> None:
    artifact = compiled(model)
    simulated = Executor(artifact, sim="cycle")
    with Executor(artifact, board=board) as executor:
        for seed in range(2):
            x = some_input(artifact, seed)
            found, expected = executor.run(x), simulated.run(x)
            assert equal(found, expected)
            units = ("load", "compute", "store")
            assert [found.profile.busy[u] for u in units] == [expected.profile.busy[u] for u in units]
    assert executor._vdla.driver.lost_interrupts == 0  # type: ignore[attr-defined]


def test_profile_and_report(board: RtlBoard) -> None:
    artifact, x = handmade.artifact(), handmade.example_input()
    with Executor(artifact, board=board) as executor:
        profile = executor.run(x).profile
    functional = Executor(artifact).run(x).profile
    assert profile.sim == "board" and profile.trace is None and profile.cycles
    assert [layer.cycles for layer in profile.layers] == [None, None, None]
    assert profile.dram_write_bytes == functional.dram_write_bytes
    assert profile.dram_read_bytes == functional.dram_read_bytes


def test_runs_and_artifacts_do_not_disturb_each_other(board: RtlBoard) -> None:
    first, second = compiled("digits"), handmade.artifact()
    x, y = some_input(first, 1), handmade.example_input(2)
    with Executor(first, board=board) as one, Executor(second, board=board) as other:
        before = one.run(x)
        assert np.array_equal(other.run(y).outputs["y"], handmade.expected(y))
        one.run(some_input(first, 3))
        assert equal(one.run(x), before)


def test_memory_is_given_back(board: RtlBoard) -> None:
    places = set()
    for _ in range(3):
        with Executor(handmade.artifact(), board=board) as executor:
            places.add(executor._vdla._buffer.address)  # type: ignore[attr-defined]
    assert len(places) == 1


def test_wrong_machine_names_both() -> None:
    artifact = handmade.artifact()
    other = TINY.with_(token_depth=3)
    with RtlBoard(other) as board, pytest.raises(WrongMachineError) as caught:
        Executor(artifact, board=board)
    assert caught.value.on_board == other.fingerprint and caught.value.wanted == TINY.fingerprint
    assert other.fingerprint in str(caught.value) and TINY.fingerprint in str(caught.value)


def test_another_encoding_is_refused(board: RtlBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine made before the encoding changed: here the package's side changes."""
    monkeypatch.setattr("runtime.board.device.isa_revision", lambda: isa_revision() ^ 1)
    with pytest.raises(WrongRevisionError, match=f"encoding {isa_revision():04x}") as caught:
        Executor(handmade.artifact(), board=board)
    assert caught.value.on_board == isa_revision() == caught.value.wanted ^ 1


def test_other_rules_of_time_are_noted(board: RtlBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    x = handmade.example_input()
    with Executor(handmade.artifact(), board=board) as executor:
        assert executor.run(x).profile.notes == ()
    monkeypatch.setattr("runtime.board.device.timing_revision", lambda: timing_revision() ^ 1)
    with Executor(handmade.artifact(), board=board) as executor:
        result = executor.run(x)
    assert np.array_equal(result.outputs["y"], handmade.expected(x))
    [note] = result.profile.notes
    assert "cycles may differ" in note and f"{timing_revision():04x}" in note


@pytest.mark.parametrize(
    ("fault", "code"), [(Fault(read_beat=40), Error.READ), (Fault(write_burst=0, response=3), Error.WRITE)]
)
def test_bus_error_and_then_a_right_run(board: RtlBoard, fault: Fault, code: Error) -> None:
    x = handmade.example_input()
    with Executor(handmade.artifact(), board=board) as executor:
        board.inject(fault)
        with pytest.raises(
            MachineError, match=rf"{code.name}, an error response .* of 12 instructions|{code.name}"
        ) as e:
            executor.run(x)
        assert e.value.code == code
        board.inject(None)
        assert np.array_equal(executor.run(x).outputs["y"], handmade.expected(x))


def test_a_deadlock_times_out_and_then_a_right_run(board: RtlBoard) -> None:
    stuck = with_program([Sync(), Sync(pop_prev=True)], handmade.artifact())
    x = handmade.example_input()
    with Executor(stuck, board=board, timeout_s=0.2) as executor:
        with pytest.raises(BoardTimeoutError, match="1 of 2 instructions .* compute waits for a token of load, load s"):
            executor.run(x)
    assert board.read32(OFFSET["STATUS"]) & Status.BUSY == 0
    with Executor(handmade.artifact(), board=board) as executor:
        assert np.array_equal(executor.run(x).outputs["y"], handmade.expected(x))


def test_an_illegal_program_is_an_error_of_the_machine(board: RtlBoard) -> None:
    broken = with_program([Sync()], handmade.artifact())
    broken.program(next(s for s in broken.steps if isinstance(s, VdlaStep)))[0] = 0
    with Executor(broken, board=board) as executor, pytest.raises(MachineError, match="0 of 1 .*INSTRUCTION, an unkn"):
        executor.run(handmade.example_input())


class Deaf(RtlBoard):
    """A board whose interrupt goes nowhere."""

    def wait_interrupt(self, timeout_s: float) -> bool:
        super().wait_interrupt(timeout_s)
        return False


def test_a_lost_interrupt_costs_time_only() -> None:
    x = handmade.example_input()
    with Deaf(TINY) as board, Executor(handmade.artifact(), board=board) as executor:
        assert np.array_equal(executor.run(x).outputs["y"], handmade.expected(x))
        assert executor._vdla.driver.lost_interrupts == 1  # type: ignore[attr-defined]


class Polled(RtlBoard):
    """A board without an interrupt: the interface's own way, with time passing between two looks."""

    def wait_interrupt(self, timeout_s: float) -> bool:
        RtlBoard.wait_interrupt(self, min(timeout_s, 0.001))
        return super(RtlBoard, self).wait_interrupt(0.0)


def test_a_board_without_an_interrupt() -> None:
    x = handmade.example_input()
    with Polled(TINY) as board, Executor(handmade.artifact(), board=board) as executor:
        assert np.array_equal(executor.run(x).outputs["y"], handmade.expected(x))


def test_a_program_that_somebody_left_running_is_abandoned(board: RtlBoard) -> None:
    stuck = encode_program([Sync(pop_prev=True)], TINY)
    buffer = board.allocate(stuck.size)
    buffer.view[:] = stuck
    buffer.flush(0, stuck.size)
    for name, value in (("PROGRAM_ADDRESS", buffer.address), ("PROGRAM_LENGTH", 1), ("CONTROL", Control.START)):
        board.write32(OFFSET[name], value)
    assert not board.wait_interrupt(0.0) and board.read32(OFFSET["STATUS"]) & Status.BUSY
    Driver(board)
    assert not board.read32(OFFSET["STATUS"]) & Status.BUSY


def test_an_empty_program(board: RtlBoard) -> None:
    assert Driver(board).run(PAGE, 0).retired == 0


def test_exhausted_memory() -> None:
    with RtlBoard(TINY, memory_bytes=4 * PAGE, first=2 * PAGE) as board:
        with Executor(handmade.artifact(), board=board), Executor(handmade.artifact(), board=board):
            with pytest.raises(AllocationError, match="no [0-9]+ bytes of board memory are left .*, at most 0"):
                Executor(handmade.artifact(), board=board)
        with Executor(handmade.artifact(), board=board) as executor:
            x = handmade.example_input()
            assert np.array_equal(executor.run(x).outputs["y"], handmade.expected(x))


@pytest.mark.parametrize(("shift", "message"), [(32, "not at a multiple of 4096"), (1 << 32, "ends at 0x1")])
def test_memory_in_an_unusable_place(
    board: RtlBoard, monkeypatch: pytest.MonkeyPatch, shift: int, message: str
) -> None:
    allocate, freed = board.allocate, []

    def elsewhere(size: int):
        buffer = allocate(size)
        address = buffer.address
        monkeypatch.setattr(buffer, "free", lambda: freed.append(address))
        buffer.address += shift
        return buffer

    monkeypatch.setattr(board, "allocate", elsewhere)
    with pytest.raises(AllocationError, match=message):
        Executor(handmade.artifact(), board=board)
    assert len(freed) == 1


def test_only_the_rtl_simulator_has_waveforms(board: RtlBoard, tmp_path) -> None:
    with pytest.raises(InputError, match="only the RTL has waveforms, not board"):
        Executor(handmade.artifact(), wave=LayerWave("fc", tmp_path / "x.vcd"), board=board)


def test_what_is_no_register_reads_as_zero(board: RtlBoard) -> None:
    assert board.read32(0x3FC) == 0


def test_unknown_places() -> None:
    for where in ("nowhere", "uart", "pynq:1"):
        with pytest.raises(BoardError, match=f"'{where}' is no board; give pynq, rtl, uart"):
            connect(where)


def test_relocation_moves_addresses_and_nothing_else() -> None:
    artifact = compiled("digits")
    step = next(s for s in artifact.steps if isinstance(s, VdlaStep))
    base = 0x1234_5000
    before = decode_program(artifact.program(step), TINY)
    after = decode_program(relocated(artifact, base).program(step), TINY)
    for old, new in zip(before, after, strict=True):
        if isinstance(old, Load | Store) and not (isinstance(old, Load) and old.fill):
            old = dataclasses.replace(old, dram=old.dram + base)
        assert new == old


def test_spans_cover_what_programs_touch() -> None:
    program = encode_program(
        [
            Load(buffer=Buffer.INP, dram=1000, seg=3, x_size=2, x_dram=100, y_size=3, y_dram=4096),
            Load(buffer=Buffer.INP, fill=True, seg=8),
            Store(dram=130, seg=4),
        ],
        TINY,
    )
    loads = copies(program, Opcode.LOAD, TINY)
    assert (loads.index.tolist(), loads.copied.tolist()) == ([0], [18])
    assert loads.spans() == ((960, 9344),)
    assert copies(program, Opcode.STORE, TINY).spans() == ((128, 192),)
    assert joined(((8, 9), (0, 4), (3, 5))) == ((0, 5), (8, 9))
