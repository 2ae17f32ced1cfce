"""The cocotb benches of single units: each against its own model, on Verilator, the small ones on Icarus as well."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.rtl.cocotb_runner import Simulator, run_bench
from tests.rtl.units.common import verilog_of

SMALL_UNITS: list[tuple[str, dict[str, Any]]] = [
    ("queue", {"depth": 3}),
    ("queue", {"depth": 8}),
    ("tokens", {"depth": 1}),
    ("tokens", {"depth": 63}),
    ("in_flight", {"latency": 10}),
    ("read_port", {}),
]
"""Benches that run on both simulators, and their parameters."""
LARGE_UNITS: list[tuple[str, dict[str, Any]]] = [
    ("control", {}),
    ("fetch", {"machine": 1}),
    ("fetch", {"machine": 0, "bus_bits": 512}),
    ("load", {"machine": 0}),
    ("load", {"machine": 2}),
    ("store", {"machine": 0}),
    ("store", {"machine": 2}),
    ("sequencer", {"machine": 1}),
    ("gemm", {"machine": 1}),
    ("gemm", {"machine": 2, "packed": True}),
    ("vector", {"machine": 1}),
    ("vector", {"machine": 2}),
]
BOTH: tuple[Simulator, ...] = ("verilator", "icarus")


def check(bench: str, parameters: dict[str, Any], simulator: Simulator, folder: Path) -> None:
    module = f"units.cocotb_{bench}"
    verilog = verilog_of(import_module(f"tests.rtl.{module}").unit(parameters))
    outcomes = run_bench(module, verilog, folder, simulator, parameters)
    assert outcomes and not any(outcomes.values()), outcomes


def name(value: Any) -> str | None:
    return ",".join(f"{k}={v}" for k, v in value.items()) or "default" if isinstance(value, dict) else None


@pytest.mark.parametrize("simulator", BOTH)
@pytest.mark.parametrize("bench, parameters", SMALL_UNITS, ids=name)
def test_small_unit(bench: str, parameters: dict[str, Any], simulator: Simulator, tmp_path: Path) -> None:
    check(bench, parameters, simulator, tmp_path)


@pytest.mark.parametrize("bench, parameters", LARGE_UNITS, ids=name)
def test_unit(bench: str, parameters: dict[str, Any], tmp_path: Path) -> None:
    check(bench, parameters, "verilator", tmp_path)
