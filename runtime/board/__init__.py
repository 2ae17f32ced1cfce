"""Artifacts on real machines: one driver, and the boards that it talks to.

with connect("pynq", bitstream="vdla.bit") as board:
    executor = Executor(Artifact.load("digits.vdla"), board=board)
    result = executor.run(x)
"""

from __future__ import annotations

from pathlib import Path

from hw.config import Config
from runtime.board.device import BoardDevice
from runtime.board.driver import Counters, Driver
from runtime.board.errors import (
    AllocationError,
    BoardError,
    BoardTimeoutError,
    MachineError,
    WrongMachineError,
    WrongRevisionError,
)
from runtime.board.interface import Board, BoardInfo, Buffer

PLACES = ("pynq", "rtl", "uart:DEVICE")
"""What `connect` understands."""


def connect(where: str, *, bitstream: str | Path | None = None, config: Config | None = None) -> Board:
    """Opens a board; close it, or use `with`.

    Args:
        where: ``"pynq"`` (this computer's programmable logic), ``"uart:/dev/ttyUSB0"`` (a board at the end of a
            serial link) or ``"rtl"`` (a simulation).
        bitstream: for ``"pynq"``, what to load.
        config: for ``"rtl"``, the machine.

    Raises:
        BoardError: for a place that is none, a missing or needless bitstream, or a board that does not answer.
    """
    kind, _, rest = where.partition(":")
    if bitstream is not None and kind != "pynq":
        raise BoardError(f"only pynq loads a bitstream, not {where}; load it with the board's own tool")
    # Each needs packages that the others' computers do not have.
    if kind == "pynq" and not rest:
        from runtime.board.pynq_backend import PynqBoard

        if bitstream is None:
            raise BoardError("pynq needs a bitstream")
        return PynqBoard(bitstream)
    if kind == "rtl" and not rest:
        from runtime.board.rtl import RtlBoard

        if config is None:
            raise BoardError("the RTL simulation needs a config")
        return RtlBoard(config)
    if kind == "uart" and rest:
        from runtime.board.uart import UartBoard

        return UartBoard.open(rest)
    raise BoardError(f"'{where}' is no board; give {', '.join(PLACES)}")


__all__ = [
    "PLACES", "AllocationError", "Board", "BoardDevice", "BoardError", "BoardInfo", "BoardTimeoutError", "Buffer",
    "Counters", "Driver", "MachineError", "WrongMachineError", "WrongRevisionError", "connect",
]  # fmt: skip
