"""The ECP5's phase-locked loop: settings for a wanted clock."""

from __future__ import annotations

from dataclasses import dataclass

from hw.errors import ConfigError

VCO_MHZ = (400.0, 800.0)
LEAST_COMPARED_MHZ = 3.125
"""Slowest reference behind its divider."""
MOST_DIVISOR = 128
EIGHTHS = 8
"""Steps of a phase in a period of the VCO."""


@dataclass(frozen=True)
class PllSettings:
    """EHXPLLL with feedback from its first output: out = in / reference * feedback, VCO = out * output."""

    reference: int
    feedback: int
    output: int

    @classmethod
    def of(cls, input_mhz: float, output_mhz: float) -> PllSettings:
        """The settings that give the clock exactly.  Raises ConfigError, with the nearest that can be had."""
        found: list[tuple[float, float, PllSettings]] = []
        for reference in range(1, int(input_mhz / LEAST_COMPARED_MHZ) + 1):
            feedback = min(max(round(output_mhz * reference / input_mhz), 1), MOST_DIVISOR)
            clock = input_mhz / reference * feedback
            # In the middle of the VCO's range.
            output = min(max(round(sum(VCO_MHZ) / 2 / clock), 1), MOST_DIVISOR)
            if VCO_MHZ[0] <= clock * output <= VCO_MHZ[1]:
                found.append((abs(clock - output_mhz), clock, cls(reference, feedback, output)))
        error, clock, best = min(found, key=lambda entry: entry[:2])
        if error > 1e-6:
            reason = f"{output_mhz} MHz cannot be had from the board's {input_mhz} MHz"
            raise ConfigError("vdla.clock_mhz", reason, f"try {clock:g}")
        return best

    @property
    def first_phase(self) -> int:
        """CLKOP_CPHASE: where the first output's period begins, in periods of the VCO."""
        return self.output // 2 - 1

    def delayed_by(self, share: float) -> tuple[int, int]:
        """CPHASE and FPHASE of an output that is late by a share of its period."""
        return divmod(self.first_phase * EIGHTHS + round(share * self.output * EIGHTHS), EIGHTHS)
