"""What can go wrong between the driver and a board."""

from __future__ import annotations

from hw.errors import VdlaError


class BoardError(VdlaError):
    """A board that cannot be used: not found, not answering, or of an unusable kind."""


class WrongMachineError(BoardError):
    """The machine on the board is not the one that the artifact was compiled for.

    `on_board` and `wanted` are the two configuration fingerprints, 16 hexadecimal digits each.
    """

    def __init__(self, reason: str, on_board: str, wanted: str) -> None:
        self.on_board, self.wanted = on_board, wanted
        super().__init__(reason)


class WrongRevisionError(BoardError):
    """The machine on the board reads another encoding of instructions (hw.rtl.revision) than this package writes."""

    def __init__(self, reason: str, on_board: int, wanted: int) -> None:
        self.on_board, self.wanted = on_board, wanted
        super().__init__(reason)


class AllocationError(BoardError):
    """Memory that the machine can reach is exhausted, or is not placed as it must be."""


class MachineError(BoardError):
    """The machine stopped with an error, which `code` (hw.rtl.registers.Error) names; the next run may go well."""

    def __init__(self, reason: str, code: int) -> None:
        self.code = code
        super().__init__(reason)


class BoardTimeoutError(BoardError):
    """A program that made no progress for too long, and has been abandoned; the message says what each unit did."""
