"""Parts and cells: limits from a board's file, what exceeds them, what the cells of a netlist cost."""

from __future__ import annotations

import dataclasses

import pytest

from hw.config import Board, boards
from hw.errors import ConfigError
from hw.synth.build import find_flow, make_build
from hw.synth.cells import count_cells, count_units
from hw.synth.flow import SynthesisError, flows
from hw.synth.parts import Part, Resources


@pytest.mark.parametrize("name", [name for name in boards() if name != "tiny"])
def test_every_board_says_what_its_part_holds(name: str) -> None:
    part = Part.of(Board.load(name))
    assert all(limit > 0 for limit in part.limits.to_dict().values())
    assert any(part.family in flow.families for flow in flows().values())


def test_excess_names_what_is_missing() -> None:
    part = Part.of(Board.load("pynq-z1"))
    assert part.excess(part.limits) == []
    assert part.excess(Resources(60000, 5, 260, 140.5)) == [
        "needs 60,000 LUT, xc7z020clg400-1 has 53,200",
        "needs 260 DSP, xc7z020clg400-1 has 220",
        "needs 140.5 RAMB36, xc7z020clg400-1 has 140",
    ]


def test_a_board_without_a_part_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"board\.luts: tiny does not say what its FPGA holds"):
        Part.of(Board.load("tiny"))
    strange = dataclasses.replace(Board.load("pynq-z1"), facts={**Board.load("pynq-z1").facts, "family": "xc9"})
    with pytest.raises(ConfigError, match=r"board\.family: 'xc9' is not a family that is known"):
        Part.of(strange)


def test_cells_of_units_add_up() -> None:
    inner = {"LUT6": 2, "RAM32M": 1, "FDRE": 8, "RAMB18E1": 3, "CARRY4": 9}
    modules = {
        r"\vdla": {"num_cells_by_type": {"LUT2": 1, "vdla.core": 1}},
        r"\vdla.core": {"num_cells_by_type": {"INV": 1, "vdla.core.lane$12": 2, "DSP48E1": 4}},
        r"\vdla.core.lane$12": {"num_cells_by_type": inner},
    }
    units = count_units({"modules": modules}, "xc7")
    assert units == {
        "vdla": Resources(lut=1),
        "core": Resources(lut=1, dsp=4),
        "core.lane": Resources(lut=12, ff=16, bram=3),
    }


@pytest.mark.parametrize(
    "family, cells, cost",
    [
        ("ecp5", {"LUT4": 3, "CCU2C": 2, "TRELLIS_DPR16X4": 1, "TRELLIS_FF": 4, "DP16KD": 5}, (13, 4, 0, 5)),
        ("cyclonev", {"MISTRAL_ALUT6": 3, "MISTRAL_MUL9X9": 3, "MISTRAL_MUL18X18": 4, "MISTRAL_FF": 1}, (3, 1, 3, 0)),
        ("xcup", {"LUT1": 1, "DSP48E2": 2, "RAMB36E2": 3, "RAM64M8": 1}, (9, 0, 2, 3)),
    ],
)
def test_cells_of_families(family: str, cells: dict[str, int], cost: tuple[int, ...]) -> None:
    assert count_cells(cells, family) == Resources(*cost)


def test_flows_and_options_are_checked(tmp_path) -> None:
    with pytest.raises(SynthesisError, match="there is no flow 'yosis'; did you mean yosys"):
        find_flow("yosis")
    board, flow = Board.load("pynq-z1"), find_flow("yosys")
    with pytest.raises(SynthesisError, match="not of the form NAME=VALUE"):
        make_build(board, board.config, tmp_path, flow, options=["fast"])
    with pytest.raises(SynthesisError, match="flow 'yosys' has no option 'seed'"):
        make_build(board, board.config, tmp_path, flow, options=["seed=1"])


def test_products_are_packed_where_the_part_has_too_few_multipliers(tmp_path) -> None:
    board, flow = Board.load("pynq-z1"), find_flow("yosys")
    small = board.config.with_(block_in=8, block_out=8)
    assert make_build(board, board.config, tmp_path, flow).packed
    assert not make_build(board, small, tmp_path, flow).packed
    assert not make_build(board, board.config, tmp_path, flow, packed=False).packed
