"""What the driver asks of a board: registers, memory that both sides reach, an interrupt.

An implementation is a `Board` and its `Buffer`s, and needs to know nothing of programs or artifacts. Host and machine
need not see the same bytes of a buffer: what the host wrote reaches the machine by `flush`, what the machine wrote
reaches the host by `invalidate`, and the driver calls both for exactly the bytes concerned. On a processor with caches
they are cache maintenance; on a link they copy.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import TracebackType
from typing import TypeVar

import numpy as np

from hw.rtl.registers import OFFSET, Status

AnyBoard = TypeVar("AnyBoard", bound="Board")

PAGE = 4096
"""Buffers start at a multiple of this: no burst crosses one, so time does not depend on where a buffer lies."""
POLL_S = 0.0005
"""Pause between two looks at STATUS, where no interrupt can be waited for."""


@dataclass(frozen=True)
class BoardInfo:
    """What a board says of itself, before any machine on it is asked.

    Attributes:
        name: of the board or the way to it, as a person should read it.
        clock_mhz: of the machine, if the board knows it.
        memory_bytes: that can be allocated at most, if the board knows it.
    """

    name: str
    clock_mhz: float | None = None
    memory_bytes: int | None = None


class Buffer(ABC):
    """Memory that host and machine share.

    Attributes:
        address: the machine's address of the first byte.
        view: the host's view, uint8[size], writable, its address in the host a multiple of 64.
    """

    address: int
    view: np.ndarray

    @abstractmethod
    def flush(self, begin: int, end: int) -> None:
        """Make bytes [begin, end) as the host sees them visible to the machine; it must not be writing them."""

    @abstractmethod
    def invalidate(self, begin: int, end: int) -> None:
        """Make bytes [begin, end) as the machine left them visible to the host, which must not have written to them."""

    @abstractmethod
    def free(self) -> None:
        """Give the memory back; the view must not be used any more. Freeing twice does nothing."""


class Board(ABC):
    """A machine somewhere, its registers (docs/registers.md) and its memory. Close it, or use `with`.

    Every method raises BoardError when the board does not answer.
    """

    @abstractmethod
    def identify(self) -> BoardInfo:
        """What the board is."""

    @abstractmethod
    def read32(self, offset: int) -> int:
        """The register at a byte offset, 0 .. 2**32 - 1."""

    @abstractmethod
    def write32(self, offset: int, value: int) -> None:
        """Write a register; it has the value when this returns."""

    @abstractmethod
    def allocate(self, size: int) -> Buffer:
        """At least `size` bytes, physically contiguous, from an address that is a multiple of PAGE.

        Raises AllocationError when there is no such room.
        """

    def wait_interrupt(self, timeout_s: float) -> bool:
        """Wait until the machine's interrupt is up, at most `timeout_s`; whether it is. The driver clears its cause.

        This looks at the registers now and then; boards that have an interrupt do better.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            if self.read32(OFFSET["STATUS"]) & (Status.DONE | Status.ERROR):
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(POLL_S, left))

    @abstractmethod
    def close(self) -> None:
        """Let go of the board. Closing twice does nothing."""

    def __enter__(self: AnyBoard) -> AnyBoard:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
