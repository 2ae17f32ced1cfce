"""Artifacts: written, read back, refused when damaged or for another machine."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hw.config import Config
from runtime.artifact import Artifact, Segment, TensorSpec, VdlaLayer, VdlaStep
from runtime.errors import ArtifactError
from runtime.executor import Executor
from runtime.version import KIT_VERSION
from tests import handmade


@pytest.fixture(params=["model.vdla", "model_folder"])
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The handmade artifact on disk, as a zip and as a folder."""
    path = tmp_path / request.param
    handmade.artifact().save(path)
    return path


def files(path: Path) -> dict[str, bytes]:
    if path.is_dir():
        return {p.name: p.read_bytes() for p in path.iterdir()}
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewrite(path: Path, changed: dict[str, bytes | None]) -> None:
    """Replaces files of a saved artifact; None removes one."""
    content = {**files(path), **changed}
    kept = {name: data for name, data in content.items() if data is not None}
    if path.is_dir():
        for old in path.iterdir():
            old.unlink()
        for name, data in kept.items():
            (path / name).write_bytes(data)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in kept.items():
                archive.writestr(name, data)


def edit_manifest(path: Path, **changes: object) -> None:
    manifest = json.loads(files(path)["manifest.json"])
    rewrite(path, {"manifest.json": json.dumps({**manifest, **changes}).encode()})


def test_round_trip_keeps_everything(saved: Path) -> None:
    original, loaded = handmade.artifact(), Artifact.load(saved)
    for name in ("model", "config", "arena_bytes", "inputs", "outputs", "steps", "info"):
        assert getattr(loaded, name) == getattr(original, name), name
    assert [(s.name, s.offset) for s in loaded.segments] == [(s.name, s.offset) for s in original.segments]
    assert all(np.array_equal(a.data, b.data) for a, b in zip(loaded.segments, original.segments, strict=True))
    x = handmade.example_input()
    assert np.array_equal(loaded.run(x)["y"], handmade.expected(x))


def test_files_are_what_a_person_expects(saved: Path) -> None:
    content = files(saved)
    assert set(content) == {"manifest.json", "constants.bin", "cpu.o", "program0.asm"}
    manifest = json.loads(content["manifest.json"])
    assert manifest["schema"] == "vdla.artifact/1"
    assert manifest["kit_version"] == KIT_VERSION
    assert manifest["config_fingerprint"] == Config.load("tiny").fingerprint
    listing = content["program0.asm"].decode().splitlines()
    assert listing[0] == "# fc (dense), instructions 0..7"
    assert [line.split()[0] for line in listing if not line.startswith("#")] == (
        ["load"] * 4 + ["gemm", "requant", "store", "sync", "load", "alu", "alu", "store"]
    )


def test_saving_twice_gives_the_same_file(tmp_path: Path) -> None:
    for name in ("a.vdla", "b.vdla"):
        handmade.artifact().save(tmp_path / name)
    assert (tmp_path / "a.vdla").read_bytes() == (tmp_path / "b.vdla").read_bytes()


def test_saving_replaces_and_leaves_no_temporary_files(saved: Path) -> None:
    replace(handmade.artifact(), model="second").save(saved)
    assert Artifact.load(saved).model == "second"
    assert list(saved.parent.iterdir()) == [saved]


def test_saving_refuses_a_folder_with_other_content(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("diary")
    with pytest.raises(ArtifactError, match="holds something else"):
        handmade.artifact().save(tmp_path / "letters")
    assert (tmp_path / "letters" / "dear.txt").read_text() == "diary"


def test_saving_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="cannot write"):
        handmade.artifact().save(tmp_path / "file" / "model.vdla")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"absent\.vdla: no such file"):
        Artifact.load(tmp_path / "absent.vdla")


def test_not_an_artifact(tmp_path: Path) -> None:
    path = tmp_path / "model.vdla"
    path.write_bytes(b"an ONNX file, perhaps")
    with pytest.raises(ArtifactError, match="is not an artifact"):
        Artifact.load(path)


@pytest.mark.parametrize("name", ["manifest.json", "constants.bin", "cpu.o"])
def test_missing_part(saved: Path, name: str) -> None:
    rewrite(saved, {name: None})
    with pytest.raises(ArtifactError, match=f"is not an artifact: .*{name}"):
        Artifact.load(saved)


@pytest.mark.parametrize("name", ["constants.bin", "cpu.o"])
def test_damaged_part(saved: Path, name: str) -> None:
    data = bytearray(files(saved)[name])
    data[len(data) // 2] ^= 1
    rewrite(saved, {name: bytes(data)})
    with pytest.raises(ArtifactError, match=f"{name} is damaged"):
        Artifact.load(saved)


def test_manifest_that_is_not_json(saved: Path) -> None:
    rewrite(saved, {"manifest.json": b"{"})
    with pytest.raises(ArtifactError, match=r"manifest\.json is not JSON"):
        Artifact.load(saved)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": "vdla.artifact/9"}, "schema 'vdla.artifact/9' is not 'vdla.artifact/1'"),
        ({"kit_version": "99.0.0"}, "compiled by kit 99.0.0.*compile it again"),
        ({"config_fingerprint": "0" * 16}, "config_fingerprint is 0000000000000000, but"),
        ({"config": {"vdla": {"block_in": 5}}}, r"config: vdla\.block_in"),
        ({"arena_bytes": "many"}, "arena_bytes: expected a whole number >= 0, got 'many'"),
        ({"arena_bytes": 100}, "outside the arena of 100 bytes"),
        ({"steps": [{"device": "tpu"}]}, r"steps\[0\]\.device: no device 'tpu'"),
        ({"steps": [{"device": "vdla", "program_addr": 0}]}, r"steps\[0\]: 'layers' is missing"),
        ({"inputs": 3}, "inputs: expected a list, got 3"),
    ],
)
def test_bad_manifest_names_the_place(saved: Path, changes: dict[str, object], message: str) -> None:
    edit_manifest(saved, **changes)
    with pytest.raises(ArtifactError, match=message):
        Artifact.load(saved)


def test_cpu_code_for_another_processor(saved: Path) -> None:
    edit_manifest(saved, cpu={"triple": "sparc-sun-solaris", "features": []})
    with pytest.raises(ArtifactError, match="CPU code is for sparc-sun-solaris"):
        Executor(Artifact.load(saved))


def test_cpu_code_that_needs_a_missing_feature(saved: Path) -> None:
    manifest = json.loads(files(saved)["manifest.json"])
    edit_manifest(saved, cpu={**manifest["cpu"], "features": ["no-such-unit"]})
    with pytest.raises(ArtifactError, match="needs no-such-unit"):
        Executor(Artifact.load(saved))


def test_cpu_code_without_the_kernel(saved: Path) -> None:
    manifest = json.loads(files(saved)["manifest.json"])
    manifest["steps"][1]["symbol"] = "absent"
    edit_manifest(saved, steps=manifest["steps"])
    with pytest.raises(ArtifactError, match=r"cpu\.o cannot be linked: .*absent"):
        Executor(Artifact.load(saved))


def test_another_machine_is_refused_naming_what_differs() -> None:
    other = Config.load("tiny").with_(block_out=8, name="wide")
    with pytest.raises(ArtifactError, match=r"'tiny' \(\w{16}\) .* 'wide' \(\w{16}\): block_out 4 -> 8; compile"):
        Executor(handmade.artifact(), other)


def test_another_memory_and_clock_are_the_same_machine() -> None:
    config = Config.load("tiny").override(["memory.read_latency=99", "vdla.clock_mhz=50"])
    x = handmade.example_input()
    assert np.array_equal(Executor(handmade.artifact(), config).run(x).outputs["y"], handmade.expected(x))


def test_parts_that_contradict_each_other_are_refused() -> None:
    good = handmade.artifact()
    with pytest.raises(ArtifactError, match="input 'x' occupies bytes .* outside the arena"):
        replace(good, inputs=(TensorSpec("x", (3, 4), "int8", 1 << 20),))
    with pytest.raises(ArtifactError, match="dtype float16, not one of"):
        replace(good, inputs=(TensorSpec("x", (3, 4), "float16", 0),))
    with pytest.raises(ArtifactError, match="not aligned to 64"):
        replace(good, outputs=(TensorSpec("y", (3, 4), "int8", 3),))
    with pytest.raises(ArtifactError, match="segment 'big' occupies"):
        replace(good, segments=(Segment("big", 0, np.zeros(1 << 20, np.uint8)),))
    with pytest.raises(ArtifactError, match="calls 'dequantize' on the CPU, but there is no CPU code"):
        replace(good, cpu_code=None)
    with pytest.raises(ArtifactError, match="layers cover 7 of 12 instructions"):
        replace(good, steps=(VdlaStep(handmade.PROGRAM, 12, (VdlaLayer("fc", "dense", 0, 7),)),))
    with pytest.raises(ArtifactError, match=r"layer 'b' has instructions 8\.\.12"):
        layers = (VdlaLayer("a", "dense", 0, 7), VdlaLayer("b", "dense", 8, 12))
        replace(good, steps=(VdlaStep(handmade.PROGRAM, 12, layers),))
