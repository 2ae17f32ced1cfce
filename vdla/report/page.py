"""The HTML page: one file with the pictures inside it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from vdla.report.exploration import change_text, moved_text
from vdla.report.table import how, main_stall

GEMM_COLOUR = "#2f7d4f"
STALL_COLOURS = (
    "#c8553d", "#e09f3e", "#5b7db1", "#8e6bb0", "#d4b483", "#7a8691", "#b3446c", "#4aa3a2", "#a9b665", "#d98cb3",
)  # fmt: skip


def page(document: Mapping[str, Any], roofline: bytes | None, timeline: bytes | None) -> str:
    """The page as text; pictures are PNG bytes, None where there is nothing to show."""
    causes = list(document["totals"]["stalls"])
    colours = {"gemm": GEMM_COLOUR}
    colours |= {cause: STALL_COLOURS[i % len(STALL_COLOURS)] for i, cause in enumerate(causes)}
    return _template("page.html").render(
        d=document,
        how=how,
        causes=causes,
        colours=colours,
        bars=[_bar(layer) for layer in document["layers"]],
        roofline=_embedded(roofline),
        timeline=_embedded(timeline),
    )


def exploration_page(document: Mapping[str, Any], picture: bytes | None, columns: list[str]) -> str:
    """The page of an exploration; `columns` are the parameters that differ between the rows."""
    return _template("exploration.html").render(
        d=document,
        columns=columns,
        main_stall=main_stall,
        change=change_text,
        moved=moved_text,
        picture=_embedded(picture),
    )


def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(name)


def _bar(layer: Mapping[str, Any]) -> list[tuple[str, int]]:
    """(cause, cycles) of a layer, the cycles with a product first; they add up to the layer's cycles."""
    if not layer["cycles"]:
        return []
    working = layer["cycles"] - sum(layer["stalls"].values())
    return [("gemm", working), *((cause, count) for cause, count in layer["stalls"].items() if count)]


def _embedded(picture: bytes | None) -> str | None:
    return None if picture is None else base64.b64encode(picture).decode()
