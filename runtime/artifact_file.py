"""Artifacts on disk: a zip file (or a folder) that a person can open.

``manifest.json``   schema, kit version, config and fingerprint, inputs, outputs, segments, steps
``constants.bin``   the constant segments, one after the other
``program<i>.asm``  disassembly of step i's program, for reading only
``cpu.o``           the CPU kernels, one relocatable object

Both forms are written under a temporary name and renamed, so a path holds a complete artifact or none.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from runtime.artifact import Artifact, CpuCode, Segment, VdlaStep
from runtime.errors import ArtifactError
from runtime.manifest import (
    SCHEMA,
    Node,
    config_from_json,
    step_from_json,
    step_to_json,
    tensor_from_json,
    tensor_to_json,
)
from runtime.version import KIT_VERSION

MANIFEST = "manifest.json"
CONSTANTS = "constants.bin"
CPU_OBJECT = "cpu.o"


def save(artifact: Artifact, path: Path) -> None:
    """Writes the artifact: a zip if `path` ends in ``.vdla`` or ``.zip``, else a folder.

    Raises:
        ArtifactError: when the place cannot be written, or is a folder that holds something else.
    """
    files = _to_files(artifact)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".vdla", ".zip"):
            _save_zip(files, path)
        else:
            _save_folder(files, path)
    except OSError as error:
        raise ArtifactError(f"cannot write {path}: {error.strerror or error}") from error


def load(path: Path) -> Artifact:
    """Reads an artifact and checks everything that can be checked without running it.

    Raises:
        ArtifactError: when it is missing, damaged, of another schema or kit, or contradicts itself.
    """
    try:
        if path.is_dir():
            return _from_files(lambda name: (path / name).read_bytes())
        with zipfile.ZipFile(path) as archive:
            return _from_files(archive.read)
    except FileNotFoundError as error:
        missing = Path(error.filename).name
        raise ArtifactError(
            f"{path}: no such file" if not path.exists() else f"{path} is not an artifact: {missing} is missing"
        ) from error
    except zipfile.BadZipFile as error:
        raise ArtifactError(f"{path} is not an artifact: {error}") from error
    except KeyError as error:
        raise ArtifactError(f"{path} is not an artifact: {error.args[0]}") from error
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror or error}") from error


def _to_files(artifact: Artifact) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    segments: list[dict[str, object]] = []
    at = 0
    for segment in artifact.segments:
        segments.append(
            {"name": segment.name, "offset": segment.offset, "nbytes": segment.data.size, "file_offset": at}
        )
        at += segment.data.size
    files[CONSTANTS] = b"".join(segment.data.tobytes() for segment in artifact.segments)
    cpu: dict[str, object] | None = None
    if artifact.cpu_code is not None:
        files[CPU_OBJECT] = artifact.cpu_code.image
        cpu = {"triple": artifact.cpu_code.triple, "features": list(artifact.cpu_code.features)}
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    for index, step in enumerate(artifact.steps):
        if isinstance(step, VdlaStep):
            files[f"program{index}.asm"] = artifact.disassembly(step).encode()
    manifest = {
        "schema": SCHEMA,
        "kit_version": KIT_VERSION,
        "model": artifact.model,
        "config": artifact.config.to_dict(),
        "config_fingerprint": artifact.config.fingerprint,
        "arena_bytes": artifact.arena_bytes,
        "inputs": [tensor_to_json(spec) for spec in artifact.inputs],
        "outputs": [tensor_to_json(spec) for spec in artifact.outputs],
        "segments": segments,
        "steps": [step_to_json(step) for step in artifact.steps],
        "cpu": cpu,
        "sha256": hashes,
        "info": dict(artifact.info),
    }
    return {MANIFEST: (json.dumps(manifest, indent=1) + "\n").encode(), **files}


def _save_zip(files: dict[str, bytes], path: Path) -> None:
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream, zipfile.ZipFile(stream, "w") as archive:
            for name, content in files.items():
                # Weights hardly compress; storing them keeps loading at the speed of the disk.
                kind = zipfile.ZIP_DEFLATED if name.endswith((".json", ".asm")) else zipfile.ZIP_STORED
                archive.writestr(zipfile.ZipInfo(name), content, kind)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _save_folder(files: dict[str, bytes], path: Path) -> None:
    if path.is_dir() and any(path.iterdir()) and not (path / MANIFEST).is_file():
        raise ArtifactError(f"{path} is a folder that holds something else; give a new name or one ending in .vdla")
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        for name, content in files.items():
            (temporary / name).write_bytes(content)
        os.chmod(temporary, 0o755)
        if path.is_dir():
            shutil.rmtree(path)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _from_files(read: Callable[[str], bytes]) -> Artifact:
    try:
        manifest = Node(json.loads(read(MANIFEST)))
    except ValueError as error:
        raise ArtifactError(f"manifest.json is not JSON: {error}") from error
    config = config_from_json(manifest)
    hashes = manifest["sha256"]

    def checked(name: str) -> bytes:
        content = read(name)
        if hashlib.sha256(content).hexdigest() != hashes[name].as_str():
            raise ArtifactError(f"{name} is damaged: its SHA-256 is not the one in manifest.json")
        return content

    constants = np.frombuffer(checked(CONSTANTS), np.uint8)
    segments: list[Segment] = []
    for node in manifest["segments"]:
        begin, nbytes = node["file_offset"].as_int(), node["nbytes"].as_int()
        if begin + nbytes > constants.size:
            raise ArtifactError(f"manifest.json: {node.path} reaches past the end of {CONSTANTS}")
        segments.append(Segment(node["name"].as_str(), node["offset"].as_int(), constants[begin : begin + nbytes]))
    cpu_code = None
    if manifest["cpu"].value is not None:
        cpu = manifest["cpu"]
        cpu_code = CpuCode(checked(CPU_OBJECT), cpu["triple"].as_str(), cpu["features"].as_strs())
    return Artifact(
        model=manifest["model"].as_str(),
        config=config,
        arena_bytes=manifest["arena_bytes"].as_int(),
        inputs=tuple(tensor_from_json(node) for node in manifest["inputs"]),
        outputs=tuple(tensor_from_json(node) for node in manifest["outputs"]),
        segments=tuple(segments),
        steps=tuple(step_from_json(node) for node in manifest["steps"]),
        cpu_code=cpu_code,
        info=dict(manifest["info"].as_object()),
    )
