"""Typed errors of the machine, the simulators, the runtime and the command line.

Every error a user can cause derives from :class:`VdlaError` and carries a single line that says what is
wrong, where it is wrong and what would be right.  The command line prints that line and nothing else.
"""

from __future__ import annotations


class VdlaError(Exception):
    """Base of every error that a user's input can cause."""


class ConfigError(VdlaError):
    """A configuration that does not load, contradicts itself or does not fit the instruction word.

    ``field`` is the YAML key (``vdla.block_in``), ``reason`` says what is wrong with it and ``legal`` names a
    neighbouring legal value or the legal alternatives ('' where there is none to name).
    """

    def __init__(self, field: str, reason: str, legal: str = "") -> None:
        self.field = field
        self.reason = reason
        self.legal = legal
        super().__init__(f"{field}: {reason}" + (f"; {legal}" if legal else ""))


class EncodeError(VdlaError):
    """A value that does not fit its instruction or micro-op field."""

    def __init__(self, instr: str, field: str, value: object, width: int, signed: bool = False) -> None:
        self.instr = instr
        self.field = field
        self.value = value
        self.width = width
        self.signed = signed
        low, high = (-(1 << (width - 1)), (1 << (width - 1)) - 1) if signed else (0, (1 << width) - 1)
        super().__init__(
            f"{instr}: field '{field}' = {value} does not fit its {width} {'signed ' if signed else ''}bits;"
            f" legal is {low}..{high}"
        )


class AsmError(VdlaError):
    """Assembler text that does not parse; names the line and what was expected."""

    def __init__(self, line: int, reason: str) -> None:
        self.line = line
        self.reason = reason
        super().__init__(f"line {line}: {reason}")


class ProgramError(VdlaError):
    """An illegal instruction stream: bad field, address out of range, token imbalance or race."""

    def __init__(self, reason: str, index: int | None = None, field: str | None = None) -> None:
        self.reason = reason
        self.index = index
        self.field = field
        where = "program" if index is None else f"instruction {index}"
        super().__init__(where + (f", field '{field}'" if field else "") + f": {reason}")


class DeadlockError(ProgramError):
    """A program that stops before its end; the message says who waits for whom."""
