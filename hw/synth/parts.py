"""FPGA parts: what a board's device holds, in the words of its family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from hw.config import Board
from hw.errors import ConfigError

BRAM_NAMES = {"xc7": "RAMB36", "xcup": "RAMB36", "ecp5": "DP16KD", "cyclonev": "M10K"}
"""A family's block RAM. A RAMB18 is half a RAMB36."""


@dataclass(frozen=True)
class Resources:
    """Logic of a design or of a part. `bram` counts the family's block RAM; a RAMB18 counts one half."""

    lut: float = 0
    ff: float = 0
    dsp: float = 0
    bram: float = 0

    def __add__(self, other: Resources) -> Resources:
        return Resources(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    def to_dict(self) -> dict[str, float]:
        """Counts by name; whole numbers are written as such, parts of a block with two decimals."""
        return {name: int(value) if value == int(value) else round(value, 2) for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Part:
    """A device: its `family` is what the tools need to know, `limits` is what it holds."""

    name: str
    family: str
    limits: Resources

    @classmethod
    def of(cls, board: Board) -> Part:
        """The board's device, from the `board` section of its file.

        Raises ConfigError if the section says too little to synthesize for it.
        """
        facts: Mapping[str, Any] = board.facts
        for key in ("part", "family", "luts", "ffs", "dsps", "brams"):
            if key not in facts:
                reason = f"{board.name} does not say what its FPGA holds"
                raise ConfigError(f"board.{key}", reason, "see boards/pynq-z1.yaml for an example")
        if facts["family"] not in BRAM_NAMES:
            legal = ", ".join(BRAM_NAMES)
            raise ConfigError("board.family", f"'{facts['family']}' is not a family that is known", f"known: {legal}")
        limits = Resources(*(facts[key] for key in ("luts", "ffs", "dsps", "brams")))
        return cls(facts["part"], facts["family"], limits)

    @property
    def names(self) -> dict[str, str]:
        """What the family calls each resource."""
        return {"lut": "LUT", "ff": "FF", "dsp": "DSP", "bram": BRAM_NAMES[self.family]}

    def excess(self, used: Resources) -> list[str]:
        """By what a design does not fit: ``needs 260 DSP, xc7z020clg400-1 has 220``; empty if it fits."""
        limits = self.limits.to_dict()
        return [
            f"needs {count:,} {self.names[key]}, {self.name} has {limits[key]:,}"
            for key, count in used.to_dict().items()
            if count > limits[key]
        ]
