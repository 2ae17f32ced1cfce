"""What an xc7 netlist consists of, and whether the open place and route knows all of it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from hw.synth.cells import count_cells
from hw.synth.flow import SynthesisError
from hw.synth.parts import Part

PLACED_DSPS = 110
"""DSPs that stock nextpnr-xilinx places on an xc7z020: half of them."""
SUPPORTED = frozenset(
    [
        *(f"LUT{inputs}" for inputs in range(1, 7)),
        "INV", "MUXF7", "MUXF8", "CARRY4",
        "FDRE", "FDSE", "FDCE", "FDPE",
        "RAM32M", "RAM64M", "RAM32X1D", "RAM64X1D", "RAM128X1D",
        "SRL16E", "SRLC32E",
        "RAMB18E1", "RAMB36E1", "DSP48E1",
        "BUFG", "OBUF", "PS7",
    ]
)  # fmt: skip
"""Cells that nextpnr-xilinx packs, from the first version with them on: 0.9.3. The single-port forms of LUT RAM are
missing on purpose: it refuses some of them."""
UNTIMED = "block RAM, DSP and processor ports are not timed by it"


def cell_counts(netlist: Path, top: str) -> Counter[str]:
    """Cells of the flat module `top` of a netlist as yosys writes it (JSON), by type.

    Raises SynthesisError if the file is none, or the module is not flat.
    """
    try:
        modules: dict[str, Any] = json.loads(netlist.read_text(encoding="utf-8"))["modules"]
        cells = modules[top]["cells"].values()
        counts = Counter(str(cell["type"]) for cell in cells)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise SynthesisError(f"{netlist.name} is not a netlist with a module {top}") from None
    inside = [name for name in counts if name in modules and "blackbox" not in modules[name].get("attributes", {})]
    if inside:
        raise SynthesisError(f"{netlist.name} is not flat: it has a cell of {inside[0]}")
    return counts


def check_netlist(counts: Counter[str], part: Part) -> None:
    """Refuse what the open place and route cannot build. Raises SynthesisError, which names the cells."""
    unknown = sorted(set(counts) - SUPPORTED)
    if unknown:
        named = ", ".join(f"{kind} ({counts[kind]})" for kind in unknown)
        raise SynthesisError(f"nextpnr-xilinx is not known to place these cells: {named}")
    if counts["PS7"] != 1 or counts["BUFG"] != 1:
        raise SynthesisError(f"one PS7 and one BUFG are expected, found {counts['PS7']} and {counts['BUFG']}")
    if counts["DSP48E1"] > PLACED_DSPS:
        reason = f"nextpnr-xilinx places {PLACED_DSPS} DSP48E1, the machine needs {counts['DSP48E1']}"
        raise SynthesisError(f"{reason}; try the board pynq-z1-open, or two products a DSP (packed)")
    excess = part.excess(count_cells(counts, part.family))
    if excess:
        raise SynthesisError("; ".join(excess))
