"""What a synthesised netlist costs: cells of each family's library as LUTs, flip-flops, DSPs and block RAMs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hw.synth.parts import Resources

_XILINX = {
    **{f"LUT{n}": Resources(lut=1) for n in range(1, 7)},
    # Inverters that nothing absorbed are LUTs of one input.
    "INV": Resources(lut=1),
    **{f"FD{kind}E": Resources(ff=1) for kind in "RSCP"},
    **{f"LD{kind}E": Resources(ff=1) for kind in "CP"},
    "RAM32X1D": Resources(lut=2), "RAM64X1D": Resources(lut=2), "RAM128X1D": Resources(lut=4),
    "RAM32M": Resources(lut=4), "RAM64M": Resources(lut=4),
    "RAM32M16": Resources(lut=8), "RAM64M8": Resources(lut=8),
    "SRL16E": Resources(lut=1), "SRLC32E": Resources(lut=1),
    "DSP48E1": Resources(dsp=1), "DSP48E2": Resources(dsp=1),
    "RAMB18E1": Resources(bram=0.5), "RAMB18E2": Resources(bram=0.5),
    "RAMB36E1": Resources(bram=1), "RAMB36E2": Resources(bram=1),
}  # fmt: skip
_ECP5 = {
    "LUT4": Resources(lut=1),
    # Two carry bits, each made with a LUT; memory of 16 x 4 bits takes two slices and the write side of a third.
    "CCU2C": Resources(lut=2),
    "TRELLIS_DPR16X4": Resources(lut=6),
    "TRELLIS_FF": Resources(ff=1),
    "MULT18X18D": Resources(dsp=1),
    "DP16KD": Resources(bram=1), "PDPW16KD": Resources(bram=1),
}  # fmt: skip
_CYCLONE = {
    **{f"MISTRAL_ALUT{n}": Resources(lut=1) for n in range(2, 7)},
    "MISTRAL_ALUT_ARITH": Resources(lut=1),
    "MISTRAL_NOT": Resources(lut=1),
    # One bit of 32 words: a tenth of a MLAB, which takes the place of twenty ALUTs.
    "MISTRAL_MLAB": Resources(lut=2),
    "MISTRAL_FF": Resources(ff=1),
    "MISTRAL_MUL27X27": Resources(dsp=1), "MISTRAL_MUL18X18": Resources(dsp=1 / 2),
    "MISTRAL_MUL9X9": Resources(dsp=1 / 3),
    "MISTRAL_M10K": Resources(bram=1),
}  # fmt: skip
COSTS: dict[str, Mapping[str, Resources]] = {"xc7": _XILINX, "xcup": _XILINX, "ecp5": _ECP5, "cyclonev": _CYCLONE}
"""Cost of a cell, by family; a cell that is not listed (carry chains, multiplexers of a slice) costs nothing more."""

_GENERATED = re.compile(r"\$\d+$")


def count_units(stat: Mapping[str, Any], family: str, top: str = "vdla") -> dict[str, Resources]:
    """Cost of each unit by its path below the top (``core.compute.gemm``; the top itself is called `top`).

    `stat` is what yosys' ``stat -json`` says of a design whose units are still modules. A unit's cost is that without
    the units inside it, so all of them add up to the design.
    """
    modules = {name.removeprefix("\\"): module["num_cells_by_type"] for name, module in stat["modules"].items()}
    units: dict[str, Resources] = {}
    pending = [(top, 1)]
    while pending:
        name, times = pending.pop()
        cells = modules[name]
        # A module's name is its path, with a number at the end where two paths would be called the same.
        unit = _GENERATED.sub("", name.removeprefix(f"{top}."))
        units[unit] = units.get(unit, Resources()) + scaled(count_cells(cells, family), times)
        pending += [(cell, times * count) for cell, count in cells.items() if cell in modules]
    return dict(sorted(units.items()))


def count_cells(cells: Mapping[str, int], family: str) -> Resources:
    """Cost of so many cells of each type."""
    costs = COSTS[family]
    total = Resources()
    for cell, number in cells.items():
        if cell in costs:
            total += scaled(costs[cell], number)
    return total


def scaled(cost: Resources, times: float) -> Resources:
    """So many of the same; thirds and halves of a block are rounded off where they add up to whole ones."""
    return Resources(*(round(value * times, 6) for value in (cost.lut, cost.ff, cost.dsp, cost.bram)))
