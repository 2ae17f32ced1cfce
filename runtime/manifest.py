"""manifest.json: the declared shape of an artifact, read with errors that name the place."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping
from typing import Any

from hw.config import Config
from hw.errors import ConfigError
from runtime.artifact import CpuStep, Step, TensorSpec, VdlaLayer, VdlaStep
from runtime.errors import ArtifactError
from runtime.version import KIT_VERSION

SCHEMA = "vdla.artifact/1"


class Node:
    """A value inside the manifest together with its path, for messages such as ``steps[2].n_instr: expected int``."""

    def __init__(self, value: object, path: str = "") -> None:
        self.value = value
        self.path = path

    def _wrong(self, expected: str) -> ArtifactError:
        got = reprlib.repr(self.value)
        return ArtifactError(f"manifest.json: {self.path or 'top level'}: expected {expected}, got {got}")

    def __getitem__(self, key: str) -> Node:
        """Member `key` of an object."""
        if not isinstance(self.value, Mapping):
            raise self._wrong("an object")
        if key not in self.value:
            raise ArtifactError(f"manifest.json: {self.path or 'top level'}: '{key}' is missing")
        return Node(self.value[key], f"{self.path}.{key}" if self.path else key)

    def __iter__(self) -> Iterator[Node]:
        """The members of a list."""
        if not isinstance(self.value, list):
            raise self._wrong("a list")
        return (Node(item, f"{self.path}[{i}]") for i, item in enumerate(self.value))

    def as_int(self) -> int:
        """A whole number, zero or more."""
        if isinstance(self.value, bool) or not isinstance(self.value, int) or self.value < 0:
            raise self._wrong("a whole number >= 0")
        return self.value

    def as_str(self) -> str:
        """A string."""
        if not isinstance(self.value, str):
            raise self._wrong("a string")
        return self.value

    def as_object(self) -> Mapping[str, Any]:
        """An object, as it is."""
        if not isinstance(self.value, Mapping):
            raise self._wrong("an object")
        return self.value

    def as_ints(self) -> tuple[int, ...]:
        """A list of whole numbers."""
        return tuple(item.as_int() for item in self)

    def as_strs(self) -> tuple[str, ...]:
        """A list of strings."""
        return tuple(item.as_str() for item in self)


def tensor_to_json(spec: TensorSpec) -> dict[str, object]:
    """Manifest entry of an input or output."""
    return {"name": spec.name, "shape": list(spec.shape), "dtype": spec.dtype, "offset": spec.offset}


def tensor_from_json(node: Node) -> TensorSpec:
    """Inverse of `tensor_to_json`."""
    return TensorSpec(node["name"].as_str(), node["shape"].as_ints(), node["dtype"].as_str(), node["offset"].as_int())


def step_to_json(step: Step) -> dict[str, object]:
    """Manifest entry of a step."""
    if isinstance(step, CpuStep):
        return {
            "device": "cpu",
            "symbol": step.symbol,
            "args": list(step.args),
            "layer": {"name": step.name, "op": step.op, "reason": step.reason, "nodes": list(step.nodes)},
        }
    return {
        "device": "vdla",
        "program_addr": step.program_addr,
        "n_instr": step.n_instr,
        "layers": [
            {
                "name": layer.name,
                "op": layer.op,
                "begin": layer.begin,
                "end": layer.end,
                "macs": layer.macs,
                "nodes": list(layer.nodes),
            }
            for layer in step.layers
        ],
    }


def step_from_json(node: Node) -> Step:
    """Inverse of `step_to_json`."""
    device = node["device"].as_str()
    if device == "cpu":
        layer = node["layer"]
        return CpuStep(
            symbol=node["symbol"].as_str(),
            args=node["args"].as_ints(),
            name=layer["name"].as_str(),
            op=layer["op"].as_str(),
            reason=layer["reason"].as_str(),
            nodes=layer["nodes"].as_strs(),
        )
    if device != "vdla":
        raise ArtifactError(f"manifest.json: {node.path}.device: no device '{device}'; known are vdla and cpu")
    layers = tuple(
        VdlaLayer(
            name=layer["name"].as_str(),
            op=layer["op"].as_str(),
            begin=layer["begin"].as_int(),
            end=layer["end"].as_int(),
            macs=layer["macs"].as_int(),
            nodes=layer["nodes"].as_strs(),
        )
        for layer in node["layers"]
    )
    return VdlaStep(node["program_addr"].as_int(), node["n_instr"].as_int(), layers)


def config_from_json(manifest: Node) -> Config:
    """The machine, after checking that it still means what it meant when the artifact was written.

    Raises:
        ArtifactError: for another schema or kit version, an illegal config or a fingerprint that does not match.
    """
    schema = manifest["schema"].as_str()
    if schema != SCHEMA:
        raise ArtifactError(f"manifest.json: schema '{schema}' is not '{SCHEMA}', which this kit ({KIT_VERSION}) reads")
    version = manifest["kit_version"].as_str()
    if version.split(".")[:2] != KIT_VERSION.split(".")[:2]:
        raise ArtifactError(f"the artifact was compiled by kit {version}, this is {KIT_VERSION}; compile it again")
    try:
        config = Config.from_dict(manifest["config"].as_object())
    except ConfigError as error:
        raise ArtifactError(f"manifest.json: config: {error}") from error
    recorded = manifest["config_fingerprint"].as_str()
    if recorded != config.fingerprint:
        raise ArtifactError(
            f"manifest.json: config_fingerprint is {recorded}, but the config in it has {config.fingerprint}; "
            f"compile the model again"
        )
    return config
