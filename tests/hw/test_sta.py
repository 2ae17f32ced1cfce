"""Static timing on netlists made by hand, whose paths can be added up on paper from yosys' library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hw.synth.flow import SynthesisError
from hw.synth.sta import WireModel, estimate, slowest

CLOCK_TO_Q, SETUP_CE, LUT_I0, LUT_I5 = 0.303, 0.109, 0.642, 0.127
"""FDRE, its enable, the slowest and the fastest input of a LUT6, in ns: cells_sim.v."""
NO_WIRES = WireModel(base=0.0, slope=0.0, port=0.0)


def cell(kind: str, parameters: dict[str, str] | None = None, **pins: list[Any]) -> dict[str, Any]:
    outputs = {"Q", "O", "P", "DOADO"}
    return {
        "type": kind,
        "parameters": parameters or {},
        "port_directions": {p: "output" if p in outputs else "input" for p in pins},
        "connections": pins,
    }


def lut(output: int, slow: int, fast: Any = "0") -> dict[str, Any]:
    pins: dict[str, list[Any]] = {f"I{k}": ["0"] for k in range(1, 5)}
    return cell("LUT6", {"INIT": "0110" * 16}, O=[output], I0=[slow], I5=[fast], **pins)


def flop(output: int, data: Any, enable: Any = "1") -> dict[str, Any]:
    return cell("FDRE", C=[2], CE=[enable], D=[data], R=["0"], Q=[output])


def netlist(folder: Path, cells: dict[str, Any], names: dict[str, Any] | None = None, **ports: Any) -> Path:
    nets = {
        n: {"hide_name": 0, "bits": bits, "attributes": {"src": where}} for n, (bits, where) in (names or {}).items()
    }
    module = {"attributes": {"top": "1"}, "ports": ports, "cells": cells, "netnames": nets}
    path = folder / "netlist.json"
    path.write_text(json.dumps({"modules": {"vdla": module}}), encoding="utf-8")
    return path


def test_a_path_is_the_sum_of_its_cells(tmp_path: Path) -> None:
    cells = {"a": flop(10, "0"), "l": lut(11, 10), "m": lut(12, 11), "b": flop(13, 12)}
    names = {"core.from": ([10], "unit.py:3"), "core.middle": ([11], "unit.py:4"), "core.to": ([13], "unit.py:5")}
    found = estimate(netlist(tmp_path, cells, names), "xc7", NO_WIRES)
    assert found.fmax_mhz == pytest.approx(1000 / (CLOCK_TO_Q + 2 * LUT_I0), rel=1e-6)
    assert [step.cell for step in found.path] == ["FDRE", "LUT6.I0", "LUT6.I0", "FDRE.D"]
    assert [(step.net, step.where) for step in found.path if step.where] == [
        ("core.from", "unit.py:3"), ("core.middle", "unit.py:4"), ("core.to", "unit.py:5"),
    ]  # fmt: skip
    assert "xc7" in found.tool and "not routed" in found.tool


def test_the_slower_of_two_ways_counts_and_an_enable_has_its_set_up_time(tmp_path: Path) -> None:
    cells = {"a": flop(10, "0"), "l": lut(11, 10), "m": lut(12, 11, fast=10), "b": flop(13, "0", enable=12)}
    found = estimate(netlist(tmp_path, cells), "xc7", NO_WIRES)
    assert found.fmax_mhz == pytest.approx(1000 / (CLOCK_TO_Q + 2 * LUT_I0 + SETUP_CE), rel=1e-6)


def test_wires_cost_by_their_fan_out(tmp_path: Path) -> None:
    cells = {"a": flop(10, "0"), **{f"b{k}": flop(20 + k, 10) for k in range(8)}}
    found = estimate(netlist(tmp_path, cells), "xc7", WireModel(base=0.5, slope=0.2))
    assert 1000 / found.fmax_mhz == pytest.approx(CLOCK_TO_Q + 0.5 + 0.2 * 3, rel=1e-6)


def test_the_slowest_registers_come_one_by_one(tmp_path: Path) -> None:
    cells = {"a": flop(10, "0"), "l": lut(11, 10), "b": flop(13, 11), "c": flop(14, 10)}
    names = {"slow": ([13], ""), "fast": ([14], "")}
    found = slowest(netlist(tmp_path, cells, names), "xc7", 5, NO_WIRES)
    assert [e.path[-1].net for e in found[:2]] == ["slow", "fast"]
    assert found[0].fmax_mhz < found[1].fmax_mhz


@pytest.mark.parametrize(
    "cells, family, reason",
    [
        ({"l": lut(11, 12), "m": lut(12, 11), "b": flop(13, 12)}, "xc7", "loop without a register"),
        ({"b": flop(13, 12)}, "ecp5", "no timing model for family 'ecp5'"),
    ],
)
def test_what_cannot_be_timed_is_refused(tmp_path: Path, cells: dict[str, Any], family: str, reason: str) -> None:
    with pytest.raises(SynthesisError, match=reason):
        estimate(netlist(tmp_path, cells), family)
