"""From an operator's sizes to its analysed program: what all operator families do alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar

from compiler import te
from compiler.lower import lower
from hw.config import Config
from vdla.target.emit import Emitter

SpecT = TypeVar("SpecT")
TileT = TypeVar("TileT")


@dataclass(frozen=True)
class Template(Generic[SpecT, TileT]):
    """A family of operators. Specs and tiles are hashable: a program is lowered once and kept.

    Attributes:
        build: (machine, spec, tile) -> the scheduled group and its arguments.
        choose_tile: (machine, spec, virtual threads) -> the tile that is estimated to be best. Raises CapacityError
            when none fits the buffers.
        label: spec -> name of the lowered function.
    """

    build: Callable[[Config, SpecT, TileT], tuple[te.Schedule, list[te.Tensor]]]
    choose_tile: Callable[[Config, SpecT, bool], TileT]
    label: Callable[[SpecT], str]

    def emitter(self, cfg: Config, spec: SpecT, virtual_threads: bool = True, tile: TileT | None = None) -> Emitter:
        """The analysed program of a group; without a tile (a tuned one), the tile is chosen by estimate."""
        return _emitter(self, cfg, spec, tile or _chosen(self, cfg, spec, virtual_threads))


@lru_cache(maxsize=1024)
def _chosen(template: Template[Any, Any], cfg: Config, spec: object, virtual_threads: bool) -> object:
    return template.choose_tile(cfg, spec, virtual_threads)


@lru_cache(maxsize=1024)
def _emitter(template: Template[Any, Any], cfg: Config, spec: object, tile: object) -> Emitter:
    schedule, args = template.build(cfg, spec, tile)
    return Emitter(lower(schedule, args, template.label(spec)), cfg)
