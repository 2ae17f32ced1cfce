"""The report of one run, and the document (report.json) everything else is rendered from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hw.config import Config
from runtime.artifact import Artifact
from runtime.executor import RunResult
from runtime.profile import LayerRecord, RunProfile

SCHEMA = "vdla.report/1"


@dataclass(frozen=True, eq=False)
class Report:
    """What one simulated inference gave and took.

    Attributes:
        outputs: name -> array, as the model declares them.
        profile: per-layer records and the instruction trace.
        compile_info: ``{"wall_s": seconds, "passes": [[name, seconds], ...]}`` as the artifact remembers it.
    """

    model: str
    config: Config
    sim: str
    outputs: dict[str, np.ndarray]
    profile: RunProfile
    compile_info: dict[str, Any]

    @staticmethod
    def of(artifact: Artifact, config: Config, result: RunResult) -> Report:
        """The report of `result`, a run of `artifact` on `config`."""
        compile_info = artifact.info.get("compile")
        return Report(
            model=artifact.model,
            config=config,
            sim=result.profile.sim,
            outputs=result.outputs,
            profile=result.profile,
            compile_info=compile_info if isinstance(compile_info, dict) else {},
        )

    @property
    def cycles(self) -> int | None:
        """Cycles of the whole inference; None in a functional simulation."""
        return self.profile.cycles

    @property
    def utilization(self) -> float | None:
        """Useful products over what the multipliers could have done in the time, 0..1."""
        return _utilization(self.profile.macs, self.cycles, self.config)

    @cached_property
    def document(self) -> dict[str, Any]:
        """The content of report.json, of plain Python values; the schema is schema.json beside this file."""
        profile, config = self.profile, self.config
        cycles = profile.cycles
        return {
            "schema": SCHEMA,
            "model": self.model,
            "config": {**config.to_dict(), "fingerprint": config.fingerprint},
            "sim": self.sim,
            "outputs": {name: _digest(array) for name, array in self.outputs.items()},
            "totals": {
                "cycles": cycles,
                "macs": profile.macs,
                "mac_floor_cycles": -(-profile.macs // config.macs_per_cycle),
                "utilization": self.utilization,
                "stalls": dict(profile.stalls),
                "busy": dict(profile.busy),
                "dram_read_bytes": profile.dram_read_bytes,
                "dram_write_bytes": profile.dram_write_bytes,
                "time_ms": None if cycles is None else cycles / config.clock_mhz / 1e3,
                "wall_s": profile.wall_s,
            },
            "notes": list(profile.notes),
            "layers": [_layer(layer, config) for layer in profile.layers],
            "compile": {
                "wall_s": float(self.compile_info.get("wall_s", 0.0)),
                "passes": [
                    {"name": str(name), "wall_s": float(seconds)}
                    for name, seconds in self.compile_info.get("passes", [])
                ],
            },
        }


def _utilization(macs: int, cycles: int | None, config: Config) -> float | None:
    if cycles is None:
        return None
    return macs / (cycles * config.macs_per_cycle) if cycles else 0.0


def _digest(array: np.ndarray) -> dict[str, Any]:
    content = np.ascontiguousarray(array).tobytes()
    return {
        "shape": list(array.shape),
        "dtype": str(array.dtype),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def _layer(layer: LayerRecord, config: Config) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": layer.name,
        "op": layer.op,
        "target": layer.target,
        "cycles": layer.cycles,
        "macs": layer.macs,
        "utilization": _utilization(layer.macs, layer.cycles, config),
        "stalls": dict(layer.stalls),
        "dram_read_bytes": layer.dram_read_bytes,
        "dram_write_bytes": layer.dram_write_bytes,
        "wall_s": layer.wall_s,
        "nodes": list(layer.nodes),
    }
    if layer.reason is not None:
        entry["reason"] = layer.reason
    return entry
