"""A build from what a user names - board, changes, flow, options - and what it came to as a document."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hw.area import estimate
from hw.config import Board, Config
from hw.config_checks import did_you_mean
from hw.synth.flow import Build, Flow, Option, Result, SynthesisError, flows
from hw.synth.parts import Part

SCHEMA = "vdla.synth/1"
DEFAULT_FLOW = "yosys"
PACKING_FAMILIES = ("xc7", "xcup")
"""Families whose DSP can make two 8-bit products at once."""


def find_flow(name: str) -> Flow:
    """The flow of that name. Raises SynthesisError naming the nearest one."""
    known = flows()
    if name not in known:
        raise SynthesisError(f"there is no flow '{name}'; {did_you_mean(name, known)}")
    return known[name]


def make_build(
    board: Board,
    config: Config,
    folder: Path,
    flow: Flow,
    *,
    packed: bool | None = None,
    options: Iterable[str] = (),
) -> Build:
    """The build of a machine for a board.

    Args:
        packed: two products of the multiplier array a DSP; None: where the part has too few DSPs otherwise.
        options: ``NAME=VALUE`` for options of the flow.

    Raises:
        ConfigError: if the board's file does not say what its FPGA is.
        SynthesisError: for a flow that does not know the part, an unknown option or a value that is not of its type.
    """
    part = Part.of(board)
    if part.family not in flow.families:
        able = [name for name, other in flows().items() if part.family in other.families]
        raise SynthesisError(
            f"flow '{flow.name}' is for {', '.join(flow.families)}; {board.name} has a {part.family} part"
            + (f", for which there is --flow {' or '.join(able)}" if able else "")
        )
    if packed is None:
        packed = part.family in PACKING_FAMILIES and estimate(config).dsp > part.limits.dsp
    return Build(board, config, part, folder, packed, _options(flow, options))


def document(build: Build, flow: Flow, result: Result) -> dict[str, Any]:
    """The content of synth.json, of plain Python values; docs/synth.md says what each key is."""
    excess = build.part.excess(result.used)
    return {
        "schema": SCHEMA,
        "flow": flow.name,
        "board": build.board.name,
        "part": build.part.name,
        "family": build.part.family,
        "config": {**build.config.to_dict(), "fingerprint": build.config.fingerprint},
        "packed": build.packed,
        "options": dict(build.options),
        "used": result.used.to_dict(),
        "limits": build.part.limits.to_dict(),
        "names": build.part.names,
        "fits": not excess,
        "excess": excess,
        "units": {unit: cost.to_dict() for unit, cost in result.units.items()},
        "fmax_mhz": result.fmax_mhz,
        "fmax_tool": result.fmax_tool,
        "critical_path": list(result.critical_path),
        "files": list(result.files),
        "notes": list(result.notes),
        **result.extra,
    }


def _options(flow: Flow, given: Iterable[str]) -> Mapping[str, Any]:
    values: dict[str, Any] = {name: option.default for name, option in flow.options.items()}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise SynthesisError(f"option '{text}' is not of the form NAME=VALUE")
        if name not in values:
            hint = did_you_mean(name, values) if values else "it has none"
            raise SynthesisError(f"flow '{flow.name}' has no option '{name}'; {hint}")
        values[name] = _value(name, value, flow.options[name])
    return values


def _value(name: str, text: str, option: Option) -> str | int | float | bool:
    kind = type(option.default)
    try:
        return {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError):
        word = {bool: "true or false", int: "a whole number", float: "a number"}[kind]
        raise SynthesisError(f"option {name}: '{text}' is not {word}; try {name}={option.default}") from None
