"""Tuned tiles for the compiler, from a tuning database."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from compiler.tune.database import Database, Key, Record
from compiler.tune.errors import DatabaseError, SpaceError
from hw.config import Config
from vdla.target.ops import add, conv2d, pool
from vdla.target.ops.common import Tile
from vdla.tune.templates import AnyTile, Spec, space_of, tile_of, workload
from vdla.tune.versions import cycles_version

TARGET = "vdla/cycle"
"""Records of an operator alone, in cycles."""

NETWORK = "vdla/network"
"""Records of the tile that an operator has in a tuned network: cost is the network's cycles."""


def machine_key(cfg: Config) -> str:
    """What cycles are valid for: the hardware's fingerprint and a digest of the memory's behaviour."""
    memory = json.dumps(asdict(cfg.memory), sort_keys=True)
    return f"{cfg.fingerprint}/{hashlib.sha256(memory.encode()).hexdigest()[:8]}"


def key_of(cfg: Config, spec: Spec) -> Key:
    """The database's key of an operator on a machine, as the sources are now."""
    return (workload(spec), TARGET, machine_key(cfg), cycles_version())


def open_database(path: str | Path) -> Database:
    """The database of a file.  Raises DatabaseError when there is no such file."""
    if not Path(path).is_file():
        raise DatabaseError(f"no tuning database {path}; `vdla tune` makes one")
    return Database(path)


class TunedTiles:
    """The best tile of each operator that a database knows (see :class:`vdla.target.target.Tiles`).

    A tile that was chosen inside a network (the latest one tuned) is preferred to the one that is best alone.  What was
    measured on another machine, or by another version (:mod:`vdla.tune.versions`), does not count.

    Attributes:
        found: workload -> tile, of the operators asked for so far.
        missing: workloads without a record.
        outdated: those of them that have records of another version.
    """

    def __init__(self, cfg: Config, database: Database) -> None:
        self._cfg, self._database = cfg, database
        self.found: dict[str, AnyTile] = {}
        self.missing: set[str] = set()
        self.outdated: set[str] = set()

    def conv_tile(self, spec: conv2d.ConvSpec) -> conv2d.ConvTile | None:
        """The best tile of a convolution or dense group."""
        tile = self._tile(spec)
        return tile if isinstance(tile, conv2d.ConvTile) else None

    def vector_tile(self, spec: pool.PoolSpec | add.AddSpec) -> Tile | None:
        """The best tile of a pooling group or an addition."""
        tile = self._tile(spec)
        return tile if isinstance(tile, Tile) else None

    def _tile(self, spec: Spec) -> AnyTile | None:
        name = workload(spec)
        if name not in self.found:
            record = self._record(spec)
            if record is None:
                self.missing.add(name)
                if self._database.of_other_versions(key_of(self._cfg, spec)):
                    self.outdated.add(name)
                return None
            try:
                point = space_of(self._cfg, spec).find(record.knobs)
            except SpaceError as error:
                raise DatabaseError(
                    f"{self._database.path}: the best record of {name} is not legal: {error}"
                ) from error
            self.found[name] = tile_of(point, self._cfg, spec)
        return self.found[name]

    def _record(self, spec: Spec) -> Record | None:
        name, _, machine, kit = key = key_of(self._cfg, spec)
        chosen = self._database.query(name, NETWORK, machine, kit)
        return max(chosen, key=lambda r: r.time) if chosen else self._database.best(key)


class SpecCollector:
    """Notes the operators that the compiler asks for, and knows no tile: how a model's operators are found."""

    def __init__(self) -> None:
        self.specs: dict[str, Spec] = {}
        self.asked: dict[str, int] = {}

    def conv_tile(self, spec: conv2d.ConvSpec) -> conv2d.ConvTile | None:
        """Note a convolution or dense group."""
        self._note(spec)
        return None

    def vector_tile(self, spec: pool.PoolSpec | add.AddSpec) -> Tile | None:
        """Note a pooling group or an addition."""
        self._note(spec)
        return None

    def _note(self, spec: Spec) -> None:
        name = workload(spec)
        self.specs.setdefault(name, spec)
        self.asked[name] = self.asked.get(name, 0) + 1


class ChosenTiles:
    """Tiles by workload, for a trial of some of them in a network."""

    def __init__(self, tiles: dict[str, AnyTile]) -> None:
        self._tiles = tiles

    def conv_tile(self, spec: conv2d.ConvSpec) -> conv2d.ConvTile | None:
        """The tile of a convolution or dense group, or None."""
        tile = self._tiles.get(workload(spec))
        return tile if isinstance(tile, conv2d.ConvTile) else None

    def vector_tile(self, spec: pool.PoolSpec | add.AddSpec) -> Tile | None:
        """The tile of a pooling group or an addition, or None."""
        tile = self._tiles.get(workload(spec))
        return tile if isinstance(tile, Tile) else None
