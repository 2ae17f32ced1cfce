"""A board at the end of a serial line: registers, memory and interrupt by the packets of hw/harness/protocol.py."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from hw.harness.protocol import (
    ANSWER,
    CRC_BYTES,
    GAP_BITS,
    MAGIC,
    REGISTER_BYTES,
    SYNC,
    VERSION,
    WAIT_UNIT,
    WRITES,
    Answer,
    HarnessRegister,
    Opcode,
    Request,
    Status,
    pack_request,
    unchecked,
)
from runtime.artifact import ALIGNMENT
from runtime.board.errors import BoardError
from runtime.board.interface import Board, BoardInfo, Buffer
from runtime.board.pool import Pool

BAUD = 2_000_000
"""Rate of the line if none is given; that of the kit's boards."""
CHUNK = 16_384
"""Data bytes of a packet: many, so that the pauses between packets do not count; few, to repeat little."""
ATTEMPTS = 4
"""How often a request is sent before the board counts as lost."""
WAIT_S = 0.25
"""Longest wait for the interrupt in one request."""
BITS_PER_BYTE = 10
"""On the line: with start and stop bit."""


class Line(Protocol):
    """What carries bytes to the board and back."""

    def write(self, data: bytes) -> None:
        """Send all of it."""

    def read(self, count: int, timeout_s: float) -> bytes:
        """The next `count` bytes, or what has come of them in `timeout_s`."""
        ...

    def close(self) -> None:
        """Let go of it."""


class SerialLine:
    """A serial port of this computer.  Raises BoardError if there is none of that name, or no pyserial."""

    def __init__(self, port: str, baud: int = BAUD) -> None:
        serial: Any = _pyserial()
        try:
            self._port = serial.Serial(port, baud)
        except (serial.SerialException, ValueError) as error:
            raise BoardError(f"cannot open the serial port {port}: {error}") from None
        self._error = serial.SerialException
        self._name = port

    def write(self, data: bytes) -> None:
        """Send all of it.  Raises BoardError when the port is gone."""
        try:
            self._port.write(data)
        except self._error as error:
            raise BoardError(f"the serial port {self._name} failed: {error}") from None

    def read(self, count: int, timeout_s: float) -> bytes:
        """The next `count` bytes, or fewer after `timeout_s`.  Raises BoardError when the port is gone."""
        try:
            self._port.timeout = timeout_s
            return self._port.read(count)
        except self._error as error:
            raise BoardError(f"the serial port {self._name} failed: {error}") from None

    def close(self) -> None:
        """Let go of the port."""
        self._port.close()


def _pyserial() -> ModuleType:
    try:
        import serial
    except ImportError:
        raise BoardError("a board on a serial port needs pyserial; pip install pyserial") from None
    return serial


class Link:
    """Requests over a line, repeated until they are answered.

    `patience_s` is the time in which an answer comes at the latest, beyond that of its bytes on the line.
    """

    def __init__(self, line: Line, baud: int = BAUD, patience_s: float = 1.0) -> None:
        self._line, self._baud, self._patience = line, baud, patience_s
        self._sequence = 0

    def request(self, opcode: Opcode, address: int, count: int, data: bytes = b"", extra_s: float = 0.0) -> bytes:
        """Has it done and returns the answer's data; `extra_s` is how long the board may take for it.

        Raises BoardError if there is no answer, or the board refuses.
        """
        self._sequence = (self._sequence + 1) % 256
        packet = pack_request(Request(opcode, self._sequence, address, count), data)
        for _ in range(ATTEMPTS):
            self._line.write(packet)
            answered = self._answer(self._time(len(packet)) + extra_s)
            if answered is None:
                self._settle()
                continue
            status, result = answered
            if status == Status.OK and (opcode in WRITES or len(result) == count):
                return result
            if status == Status.BAD_ADDRESS:
                where = f"{count} bytes at {address:#x}"
                raise BoardError(f"the board has nothing there: {opcode.name} of {where}")
            if status == Status.BAD_REQUEST:
                raise BoardError(f"the board does not know {opcode.name} of {count} bytes; it has another harness")
        raise BoardError(
            f"the board did not answer {opcode.name} in {ATTEMPTS} attempts; check port, rate and bitstream"
        )

    def _time(self, count: int) -> float:
        """Seconds until `count` bytes have passed the line, and patience."""
        return count * BITS_PER_BYTE / self._baud + self._patience

    def _answer(self, timeout_s: float) -> tuple[int, bytes] | None:
        """Status and data of the answer to the last request; None if none comes in one piece."""
        size = ANSWER.size + CRC_BYTES
        while (byte := self._line.read(1, timeout_s)) != b"":
            if byte[0] != SYNC:
                continue
            head = unchecked(self._line.read(size, self._time(size)))
            if head is None or len(head) != ANSWER.size:
                return None
            answer = Answer(*ANSWER.unpack(head))
            data = b""
            if answer.count:
                whole = answer.count + CRC_BYTES
                received = unchecked(self._line.read(whole, self._time(whole)))
                if received is None or len(received) != answer.count:
                    return None
                data = received
            if answer.sequence == self._sequence:
                return answer.status, data
        return None

    def _settle(self) -> None:
        """Waits until nothing comes any more and the board has forgotten what it got of a request."""
        while self._line.read(CHUNK, GAP_BITS / self._baud + self._patience):
            pass


class UartBuffer(Buffer):
    """Memory of the board with a copy in the host."""

    def __init__(self, board: UartBoard, pool: Pool, size: int) -> None:
        self._board = board
        self._pool: Pool | None = pool
        self.address = pool.take(size)
        room = np.zeros(size + ALIGNMENT, np.uint8)
        skip = -room.ctypes.data % ALIGNMENT
        self.view = room[skip : skip + size]

    def flush(self, begin: int, end: int) -> None:
        """Copies bytes [begin, end) to the board."""
        self._board.write_memory(self.address + begin, self.view[begin:end])

    def invalidate(self, begin: int, end: int) -> None:
        """Copies bytes [begin, end) from the board."""
        self.view[begin:end] = self._board.read_memory(self.address + begin, end - begin)

    def free(self) -> None:
        """Gives the memory back; the view must not be used any more. Freeing twice does nothing."""
        if self._pool is not None:
            self._pool.give_back(self.address)
            self._pool = None


class UartBoard(Board):
    """A board with the harness of hw/harness at the other end of `line`.

    Raises BoardError when it does not answer, or is something else.
    """

    def __init__(self, line: Line, baud: int = BAUD, patience_s: float = 1.0, name: str = "board on a serial line"):
        self._line, self._name = line, name
        self._link = Link(line, baud, patience_s)
        if self._own(HarnessRegister.IDENTITY) != MAGIC:
            raise BoardError(f"what answers on {name} is no VDLA harness")
        version = self._own(HarnessRegister.VERSION)
        if version != VERSION:
            raise BoardError(
                f"{name} speaks version {version} of the protocol, this kit {VERSION}; load a new bitstream"
            )
        self._memory = self._own(HarnessRegister.MEMORY_BYTES)
        self._clock_hz = self._own(HarnessRegister.CLOCK_HZ)
        self._pool = Pool(0, self._memory)

    @classmethod
    def open(cls, port: str, baud: int = BAUD) -> UartBoard:
        """The board at a serial port of this computer, for example ``/dev/ttyUSB0``.  Raises BoardError."""
        line = SerialLine(port, baud)
        try:
            return cls(line, baud, name=port)
        except BoardError:
            line.close()
            raise

    def _own(self, register: HarnessRegister) -> int:
        return self.read32(register)

    def identify(self) -> BoardInfo:
        """Port, clock and memory of the board."""
        return BoardInfo(self._name, self._clock_hz / 1e6, self._memory)

    def read32(self, offset: int) -> int:
        """The register at a byte offset: the machine's (docs/registers.md) or the harness's."""
        return int.from_bytes(self._link.request(Opcode.READ_REGISTER, offset, REGISTER_BYTES), "little")

    def write32(self, offset: int, value: int) -> None:
        """Writes a register of the machine; it has the value when this returns."""
        data = value.to_bytes(REGISTER_BYTES, "little")
        self._link.request(Opcode.WRITE_REGISTER, offset, REGISTER_BYTES, data)

    def read_memory(self, address: int, size: int) -> np.ndarray:
        """Bytes of the board's memory, uint8[size]."""
        parts = [
            self._link.request(Opcode.READ_MEMORY, at, min(CHUNK, address + size - at))
            for at in range(address, address + size, CHUNK)
        ]
        return np.frombuffer(b"".join(parts), np.uint8)

    def write_memory(self, address: int, data: np.ndarray) -> None:
        """Writes bytes, uint8, into the board's memory."""
        for begin in range(0, data.size, CHUNK):
            part = data[begin : begin + CHUNK].tobytes()
            self._link.request(Opcode.WRITE_MEMORY, address + begin, len(part), part)

    def allocate(self, size: int) -> UartBuffer:
        """At least `size` bytes.  Raises AllocationError."""
        return UartBuffer(self, self._pool, size)

    def wait_interrupt(self, timeout_s: float) -> bool:
        """Has the board say when the machine's interrupt is up; whether it is within `timeout_s`."""
        left = timeout_s
        while True:
            part = min(left, WAIT_S)
            units = math.ceil(part * self._clock_hz / WAIT_UNIT)
            answer = self._link.request(Opcode.WAIT, units, REGISTER_BYTES, extra_s=part)
            left -= part
            if any(answer):
                return True
            if left <= 0:
                return False

    def close(self) -> None:
        """Lets go of the port."""
        self._line.close()
