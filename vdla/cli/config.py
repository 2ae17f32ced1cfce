"""``vdla config``: boards, parameters and what follows from them."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from hw.config import Board, Config, MemoryConfig, boards
from vdla.cli.common import json_option, override, print_json, stdout
from vdla.report import print_line

BUFFERS = ("uop", "inp", "wgt", "acc", "out", "aux")


@click.group("config")
def config_group() -> None:
    """List, show and check machine configurations."""


@config_group.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """List the boards that come with the kit."""
    configs = [Config.load(name) for name in boards()]
    if as_json:
        print_json([document(config) for config in configs])
        return
    table = Table()
    for heading in ("board", "batch x in x out", "clock", "bus", "on-chip buffers", "fingerprint"):
        table.add_column(heading)
    for config in configs:
        on_chip = sum(getattr(config, f"{kind}_buffer") for kind in BUFFERS)
        table.add_row(
            config.name,
            f"{config.batch} x {config.block_in} x {config.block_out}",
            f"{config.clock_mhz:g} MHz",
            f"{config.bus_bits} bits, {config.axi}",
            f"{on_chip / 1024:g} KiB",
            config.fingerprint,
        )
    stdout().print(table)


@config_group.command("show")
@click.argument("name", metavar="BOARD_OR_YAML")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change one parameter. May be repeated.")
@json_option
def show_command(name: str, settings: tuple[str, ...], as_json: bool) -> None:
    """Show every parameter, what is derived from them, and the fingerprint."""
    board = Board.load(name)
    config = override(board.config, settings)
    if as_json:
        print_json({**document(config), "area": area(config)})
        return
    console = stdout()
    table = Table(title=f"{config.name}, fingerprint {config.fingerprint}", title_justify="left")
    table.add_column("parameter")
    table.add_column("value", justify="right")
    table.add_column("meaning", overflow="fold")
    for parameter in fields(Config):
        if parameter.name not in ("name", "memory"):
            value = getattr(config, parameter.name)
            table.add_row(f"vdla.{parameter.name}", _text(value), parameter.metadata["doc"])
    for parameter in fields(MemoryConfig):
        value = getattr(config.memory, parameter.name)
        table.add_row(f"memory.{parameter.name}", _text(value), parameter.metadata["doc"])
    console.print(table)
    for key, value in derived(config).items():
        print_line(console, f"{key}: {value:,}")
    for line in area_lines(board, config):
        print_line(console, line)


@config_group.command("check")
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
@json_option
def check_command(path: Path, as_json: bool) -> None:
    """Check a configuration file; exit code 0 means it is legal."""
    config = Board.load(path).config
    if as_json:
        print_json({"legal": True, **document(config)})
    else:
        click.echo(f"{path}: legal, fingerprint {config.fingerprint}")


def document(config: Config) -> dict[str, Any]:
    """A configuration with what follows from it, of plain Python values."""
    return {**config.to_dict(), "fingerprint": config.fingerprint, "derived": derived(config)}


def derived(config: Config) -> dict[str, int]:
    """What follows from the parameters: depths in vectors, widths in bits, rates a cycle."""
    values = {"macs_per_cycle": config.macs_per_cycle, "bus_bytes": config.bus_bytes}
    for kind in BUFFERS:
        values[f"{kind}_vector_bytes"] = getattr(config, f"{kind}_vector_bytes")
        values[f"{kind}_depth"] = getattr(config, f"{kind}_depth")
    for width in ("inp_index", "wgt_index", "acc_index", "out_index", "aux_index", "uop_index", "sram_address"):
        values[f"{width}_bits"] = getattr(config, f"{width}_bits")
    values["param_vectors"] = config.param_vectors
    values["uop_bytes"] = config.uop_bytes
    values["instruction_bytes"] = config.instruction_bytes
    return values


def area(config: Config) -> dict[str, dict[str, float]]:
    """Estimated cost on a Xilinx part, with one product a DSP (``plain``) and with two (``packed``)."""
    # The model stands on the RTL's own shapes, and Amaranth takes a while to import.
    from hw.area import estimate

    return {name: estimate(config, packed).to_dict() for name, packed in (("plain", False), ("packed", True))}


def area_lines(board: Board, config: Config) -> list[str]:
    """The estimated cost, against the limits of the board's part if it has one that the estimate is for."""
    from hw.synth.build import PACKING_FAMILIES
    from hw.synth.parts import BRAM_NAMES, Part, Resources

    lines = []
    for name, cost in area(config).items():
        counts = f"{cost['lut']:,} LUT, {cost['ff']:,} FF, {cost['dsp']:,} DSP, {cost['bram']:,} {BRAM_NAMES['xc7']}"
        verdict = ""
        if board.facts.get("family") in PACKING_FAMILIES:
            part = Part.of(board)
            excess = part.excess(Resources(**cost))
            verdict = f": does not fit, {'; '.join(excess)}" if excess else f": fits {part.name}"
        lines.append(
            f"area, estimated, {'two products' if name == 'packed' else 'one product'} a DSP: {counts}{verdict}"
        )
    return lines


def _text(value: object) -> str:
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
