"""The driver: runs encoded programs on a board through the control registers, and says what went wrong.

It knows registers (docs/registers.md) and programs' addresses, nothing of artifacts: see runtime/board/device.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hw.isa import Unit
from hw.rtl.registers import MEANING, OFFSET, Control, Error, Status
from hw.rtl.revision import HALF_BITS
from hw.timing import CAUSES
from runtime.board.errors import BoardError, BoardTimeoutError, MachineError
from runtime.board.interface import Board

TIMEOUT_S = 10.0
"""A machine that retires nothing for so long is given up; the longest instruction takes milliseconds."""
SLICE_S = 0.1
"""The driver looks at the machine at least so often, so an interrupt that is lost costs no more than this."""
RESET_S = 1.0
"""How long an abandoned program may take to end what it has under way on the memory port."""
OBSERVE_S = 0.01
"""Time between the two looks at the counters of a machine that hangs."""


@dataclass(frozen=True)
class Counters:
    """What the machine counted in a program: all cycles, instructions retired, and cycles by unit and by cause."""

    cycles: int
    retired: int
    busy: Mapping[str, int]
    causes: Mapping[str, int]


class Driver:
    """Drives the machine on a board. A program that another process left running is abandoned first.

    Attributes:
        board: what is driven.
        fingerprint: of the machine's configuration, 16 hexadecimal digits.
        revision: of its encoding and of its rules of time (hw.rtl.revision), two half-words.
        lost_interrupts: programs that ended without their interrupt being seen.
    """

    def __init__(self, board: Board) -> None:
        self.board = board
        self.lost_interrupts = 0
        self.fingerprint = f"{self._read64('FINGERPRINT'):016x}"
        self.revision = divmod(self._read("REVISION"), 1 << HALF_BITS)
        if self._status() & Status.BUSY:
            self.abandon()

    def run(
        self,
        address: int,
        count: int,
        *,
        timeout_s: float = TIMEOUT_S,
        progress: Callable[[int, int], None] | None = None,
    ) -> Counters:
        """Run `count` instructions at the machine's address `address`, to their end.

        Args:
            timeout_s: how long no instruction may retire.
            progress: told (instructions retired, instructions in all) now and then.

        Raises:
            MachineError: when the machine reports an error.
            BoardTimeoutError: when it hangs; the program is abandoned.
            BoardError: when it cannot even be reset, or the board does not answer.
            After the first two, the next run starts afresh.
        """
        self._write("STATUS", Status.DONE | Status.ERROR)
        self._write("INTERRUPT_ENABLE", 1)
        self._write("PROGRAM_ADDRESS", address)
        self._write("PROGRAM_LENGTH", count)
        self._write("CONTROL", Control.START)
        try:
            self._wait(count, timeout_s, progress)
        except BaseException:
            # An interrupt by the user, too, must not leave the machine writing to memory that is freed.
            if self._status() & Status.BUSY:
                self.abandon()
            raise
        status, counters = self._status(), self.counters()
        code = self._read("ERROR")
        self._write("STATUS", Status.DONE | Status.ERROR)
        if status & Status.ERROR:
            raise MachineError(_error_text(code, counters.retired, count), code)
        if counters.retired != count:
            raise BoardError(f"the machine says that it is done, with {counters.retired} of {count} instructions")
        return counters

    def counters(self) -> Counters:
        """What the machine has counted in the last program, or in the one that runs so far."""
        busy = {unit.name.lower(): self._read(f"BUSY_{unit.name}") for unit in Unit}
        causes = {cause: self._read(f"CYCLES_{cause.upper()}") for cause in CAUSES}
        return Counters(self._read64("CYCLES"), self._read("RETIRED"), busy, causes)

    def abandon(self) -> None:
        """End the program that runs. Raises BoardError when the machine does not come to rest."""
        self._write("CONTROL", Control.RESET)
        deadline = time.monotonic() + RESET_S
        while self._status() & Status.BUSY:
            if time.monotonic() > deadline:
                raise BoardError("the machine waits for the memory and cannot be reset; load its bitstream again")
            self.board.wait_interrupt(OBSERVE_S)

    def _wait(self, count: int, timeout_s: float, progress: Callable[[int, int], None] | None) -> None:
        before, since = -1, time.monotonic()
        while True:
            raised = self.board.wait_interrupt(min(SLICE_S, timeout_s))
            status = self._status()
            retired = self._read("RETIRED")
            if progress is not None:
                progress(retired, count)
            if not status & Status.BUSY:
                break
            now = time.monotonic()
            if retired != before:
                before, since = retired, now
            elif now - since >= timeout_s:
                what = self._observe(count)
                self.abandon()
                raise BoardTimeoutError(f"no instruction retired for {timeout_s:g} s, the program is abandoned: {what}")
        if not status & (Status.DONE | Status.ERROR):
            raise BoardError("the machine stopped with neither DONE nor ERROR: somebody else has reset it")
        if not raised and not self.board.wait_interrupt(0.0):
            self.lost_interrupts += 1

    def _observe(self, count: int) -> str:
        """What every unit of a machine that hangs is doing: which counters move."""
        first = self.counters()
        self.board.wait_interrupt(OBSERVE_S)
        then = self.counters()
        text = f"{then.retired} of {count} instructions retired after {then.cycles} cycles"
        if then.cycles == first.cycles:
            return f"{text}; its cycle counter stands still"
        moving = {cause: then.causes[cause] - first.causes[cause] for cause in CAUSES}
        cause = max(moving, key=lambda name: moving[name])
        doing = [f"compute {_COMPUTE_DOES.get(cause, cause) if moving[cause] else 'has no instruction'}"]
        for unit in ("load", "store"):
            works = then.busy[unit] != first.busy[unit]
            doing.append(f"{unit} {'works' if works else 'stands still'}")
        return f"{text}; {', '.join(doing)}"

    def _status(self) -> Status:
        return Status(self._read("STATUS"))

    def _read(self, name: str) -> int:
        return self.board.read32(OFFSET[name])

    def _read64(self, name: str) -> int:
        return self._read(f"{name}_HIGH") << 32 | self._read(f"{name}_LOW")

    def _write(self, name: str, value: int) -> None:
        self.board.write32(OFFSET[name], int(value))


_COMPUTE_DOES = {
    "wait_load": "waits for a token of load",
    "wait_store": "waits for a token of store",
    "fetch": "has no instruction",
}


def _error_text(code: int, retired: int, count: int) -> str:
    known = [error for error in Error if error == code]
    what = f"{known[0].name}, {MEANING[Error][known[0]]}" if known else f"unknown code {code}"
    return f"the machine abandoned the program after {retired} of {count} instructions: {what}"
