"""The real driver, the real packets, bit by bit through a simulated harness with SDRAM: networks, memory, bad lines."""

from __future__ import annotations

import os
import pty
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import vdla
from hw.config import Config
from hw.harness import protocol
from hw.harness.sdram import Chip
from hw.harness.top import HarnessConfig
from hw.rtl.registers import OFFSET, Error
from runtime.board import BoardError, Driver, MachineError, connect
from runtime.board.uart import SerialLine, UartBoard
from runtime.executor import Executor
from tests.hw.harness.simulated_line import SimulatedLine, board_on

CFG = Config.load("tiny").with_(bus_bits=64, clock_mhz=50.0)
"""Four transfers of the SDRAM a bus word, at a clock at which its times are several cycles."""
HARNESS = HarnessConfig(divisor=4, gap_bits=1000)
"""Bits as short as they can be."""

Corrupt = Callable[[bytes], bytes]


class BadLine(SimulatedLine):
    """Changes what passes: `to_board` and `from_board` take the next packet or bytes, once, and are gone."""

    to_board: Corrupt | None = None
    from_board: Corrupt | None = None

    def write(self, data: bytes) -> None:
        change, self.to_board = self.to_board, None
        super().write(change(data) if change else data)

    def read(self, count: int, timeout_s: float) -> bytes:
        data = super().read(count, timeout_s)
        if not data:
            return data
        change, self.from_board = self.from_board, None
        return change(data) if change else data


@pytest.fixture(scope="module")
def line() -> Iterator[BadLine]:
    line = BadLine(CFG, HARNESS)
    yield line
    line.close()


@pytest.fixture
def board(line: BadLine) -> UartBoard:
    return board_on(line, HARNESS, CFG)


def flip(index: int) -> Corrupt:
    """One bit of one byte arrives wrong."""

    def change(data: bytes) -> bytes:
        changed = bytearray(data)
        changed[index] ^= 0x10
        return bytes(changed)

    return change


def test_the_board_says_what_it_is(board: UartBoard) -> None:
    info = board.identify()
    assert (info.clock_mhz, info.memory_bytes) == (CFG.clock_mhz, Chip().size)
    assert Driver(board).fingerprint == CFG.fingerprint


def test_memory_keeps_bytes_at_any_place(board: UartBoard, line: BadLine) -> None:
    rng = np.random.default_rng(0)
    size = Chip().size
    # Across bus words, rows and banks, and the two ends.
    places = [(0, 9), (1021, 300), (3 * 1024 - 5, 2050), (size - 77, 77), (5, 1)]
    expected: dict[int, int] = {}
    for address, count in places:
        data = rng.integers(0, 256, count).astype(np.uint8)
        board.write_memory(address, data)
        expected |= {address + k: int(value) for k, value in enumerate(data)}
    for address, count in places:
        found = board.read_memory(address, count)
        assert list(found) == [expected[address + k] for k in range(count)]
    assert all(count > 0 for count in line.counts().values())


def test_a_network_gives_the_simulators_bits(board: UartBoard) -> None:
    artifact = vdla.compile("digits", config=CFG)
    rng = np.random.default_rng(1)
    spec = artifact.inputs[0]
    x = {spec.name: rng.standard_normal(spec.shape).astype(spec.dtype)}
    with Executor(artifact, board=board) as executor:
        found, expected = executor.run(x), Executor(artifact).run(x)
        for name, values in expected.outputs.items():
            np.testing.assert_array_equal(found.outputs[name], values)
        assert found.profile.cycles
    assert executor._vdla.driver.lost_interrupts == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("index", [0, 1, 3, 5, 9, 10, 11, 40, -1])
def test_a_request_that_arrives_wrong_is_sent_again(board: UartBoard, line: BadLine, index: int) -> None:
    data = np.arange(64, dtype=np.uint8) + (index & 0x7F)
    line.to_board = flip(index)
    board.write_memory(4099, data)
    np.testing.assert_array_equal(board.read_memory(4099, data.size), data)


@pytest.mark.parametrize("lost", [1, 7, 30])
def test_a_request_that_breaks_off_is_forgotten(board: UartBoard, line: BadLine, lost: int) -> None:
    data = np.full(64, lost, np.uint8)
    line.to_board = lambda packet: packet[:-lost]
    board.write_memory(8192, data)
    np.testing.assert_array_equal(board.read_memory(8192, data.size), data)


def test_an_answer_that_arrives_wrong_is_asked_for_again(board: UartBoard, line: BadLine) -> None:
    data = np.arange(64, dtype=np.uint8)
    board.write_memory(0, data)
    line.from_board = flip(0)
    np.testing.assert_array_equal(board.read_memory(0, data.size), data)


def test_a_repeated_register_write_is_answered_but_not_done(board: UartBoard, line: BadLine) -> None:
    """As for a START whose answer was lost. The repetition differs here, so that one sees which was done."""
    address = OFFSET["PROGRAM_LENGTH"]
    for value in (3, 9):
        request = protocol.Request(protocol.Opcode.WRITE_REGISTER, 200, address, protocol.REGISTER_BYTES)
        line.write(protocol.pack_request(request, value.to_bytes(protocol.REGISTER_BYTES, "little")))
        answer = line.read(1 + protocol.ANSWER.size + protocol.CRC_BYTES, 1.0)
        assert answer[1:3] == bytes([protocol.Status.OK, 200])
    assert board.read32(address) == 3


def test_what_does_not_exist_is_refused(board: UartBoard) -> None:
    size = Chip().size
    with pytest.raises(BoardError, match="nothing there: READ_MEMORY of 2 bytes at 0x1ffffff"):
        board.read_memory(size - 1, 2)
    with pytest.raises(BoardError, match="nothing there: WRITE_MEMORY"):
        board.write_memory(size, np.zeros(1, np.uint8))
    for address in (protocol.HARNESS_REGISTERS, protocol.HARNESS_REGISTERS + 0x40):
        with pytest.raises(BoardError, match="nothing there: WRITE_REGISTER"):
            board.write32(address, 1)
    with pytest.raises(BoardError, match="nothing there: READ_REGISTER"):
        board.read32(protocol.HARNESS_REGISTERS + 0x40)
    assert Driver(board).fingerprint == CFG.fingerprint


def test_a_program_beyond_the_memory_ends_with_an_error(board: UartBoard) -> None:
    with pytest.raises(MachineError) as caught:
        Driver(board).run(Chip().size, 1)
    assert caught.value.code == Error.READ


def test_silence_is_an_error() -> None:
    class Dead(BadLine):
        def __init__(self) -> None:
            pass

        def write(self, data: bytes) -> None:
            pass

        def read(self, count: int, timeout_s: float) -> bytes:
            return b""

    with pytest.raises(BoardError, match="did not answer READ_REGISTER in 4 attempts; check port, rate and bitstream"):
        board_on(Dead(), HARNESS, CFG)


def test_a_serial_port_carries_bytes() -> None:
    far, near = pty.openpty()
    line = SerialLine(os.ttyname(near), 115_200)
    data = bytes(range(256))
    line.write(data)
    assert os.read(far, 1024) == data
    os.write(far, data)
    assert line.read(200, 5.0) == data[:200] and line.read(100, 0.1) == data[200:]
    line.close()
    os.close(near)
    os.close(far)


def test_a_port_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(BoardError, match="cannot open the serial port /dev/nothing"):
        connect("uart:/dev/nothing")
