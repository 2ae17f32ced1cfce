"""Versions of records: they change with what a cost follows from and with nothing else, and old records are a start."""

from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import vdla
from compiler.sources import source_digest
from compiler.tune.database import Database, Record
from compiler.tune.declaration import declare
from compiler.tune.outdated import COUNT, warm_start
from compiler.tune.space import Knobs
from vdla.cli import run_cli
from vdla.tune.lookup import NETWORK, TARGET
from vdla.tune.versions import CYCLES, KERNELS, ROOT, version_of

PACKAGES = ("compiler", "hw", "runtime", "sim", "vdla")
SMALL = "conv2d:ic=16,h=8,w=8,oc=32,k=3,pad=1"
MACHINE = ("--set", "vdla.block_in=8", "--set", "vdla.block_out=8")


# ------------------------------------------------------------------------------------------------ what is in it


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kit's sources, copied."""
    folder = tmp_path_factory.mktemp("kit")
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__", "*.yaml", "*.onnx", "*.npy")
        shutil.copytree(ROOT / package, folder / package, ignore=ignored)
    return folder


@pytest.fixture
def versions(kit: Path) -> Iterator[Callable[[], tuple[str, str]]]:
    """Reads the versions of kernels and of cycles of the copy."""

    def read() -> tuple[str, str]:
        source_digest.cache_clear()
        return version_of(KERNELS, kit), version_of(CYCLES, kit)

    yield read
    source_digest.cache_clear()


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("compiler/backend/cpu/winograd.py", (True, False)),
        ("compiler/backend/llvm/codegen.py", (True, False)),
        ("compiler/ops/compute/convolution.py", (True, False)),
        ("runtime/thread_pool.ll", (True, False)),
        ("compiler/lower/unroll.py", (True, True)),
        ("compiler/te/stage.py", (True, True)),
        ("vdla/target/ops/conv2d.py", (False, True)),
        ("sim/cycle/memory.py", (False, True)),
        ("hw/timing.py", (False, True)),
        ("compiler/tune/generic.py", (True, False)),
        ("compiler/tune/search/genetic.py", (False, False)),
        ("compiler/tune/cost_model.py", (False, False)),
        ("compiler/frontend/onnx_ops.py", (False, False)),
        ("compiler/graph/passes/__init__.py", (False, False)),
        ("vdla/target/graph_passes.py", (False, False)),
        ("vdla/cli/tune.py", (False, False)),
        ("vdla/__init__.py", (False, False)),
        ("hw/rtl/gemm.py", (False, False)),
    ],
)
def test_what_changes_a_version(
    name: str, changed: tuple[bool, bool], kit: Path, versions: Callable[[], tuple[str, str]]
) -> None:
    before, path = versions(), kit / name
    content = path.read_text()
    path.write_text(content + "# touched\n")
    now = versions()
    assert tuple(a != b for a, b in zip(before, now, strict=True)) == changed
    path.write_text(content)
    assert versions() == before


def test_a_file_that_is_new_or_renamed_counts(kit: Path, versions: Callable[[], tuple[str, str]]) -> None:
    before, path = versions(), kit / "compiler" / "backend" / "cpu" / "another.py"
    path.write_text("")
    added = versions()
    moved = path.rename(path.with_name("yet_another.py"))
    assert len({before[0], added[0], versions()[0]}) == 3
    moved.unlink()


# Imported by what lowers or measures, and yet nothing that a cost follows from.
WITHOUT_EFFECT = (
    "compiler/__init__.py", "compiler/errors.py", "compiler/sources.py", "compiler/target.py",
    *(f"compiler/tune/{name}.py" for name in ("__init__", "declaration", "errors", "measure", "space", "walk")),
    "compiler/graph/", "compiler/ops/",  # what an operator is: the workload says it
    "hw/__init__.py", "hw/errors.py", "hw/config_checks.py",
    "runtime/__init__.py", "runtime/errors.py", "runtime/tiles.py",
    "sim/__init__.py", "sim/functional.py", "sim/kernels.py", "sim/state.py",  # the bits
    "sim/jit.py", "sim/jit_codegen.py",  # how fast it simulates
    "vdla/target/__init__.py", "vdla/target/errors.py",
    "vdla/tune/templates.py",  # which tiles are tried
)  # fmt: skip


@pytest.mark.parametrize(
    ("places", "entries"),
    [
        (KERNELS, ("compiler.backend.cpu.target", "compiler.tune.timing", "runtime.thread_pool")),
        (CYCLES, ("vdla.tune.simulate",)),
    ],
)
def test_nothing_that_is_imported_is_forgotten(places: tuple[str, ...], entries: tuple[str, ...]) -> None:
    left = [
        name
        for name in sorted(_imported(entries))
        if not any(Path(name).is_relative_to(place) for place in places) and not name.startswith(WITHOUT_EFFECT)
    ]
    assert not left, "either a cost follows from it (vdla/tune/versions.py) or it is to be said here that none does"
    assert all((ROOT / place).exists() for place in places)


def _imported(entries: tuple[str, ...]) -> set[str]:
    """Files of the kit's packages that modules import, and so on."""
    found: set[str] = set()
    left = list(entries)
    while left:
        path = ROOT / Path(*left.pop().split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        name = str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else ""
        if not path.is_file() or name in found or name.partition("/")[0] not in PACKAGES:
            continue
        found.add(name)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                left += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                left += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found


# ------------------------------------------------------------------------------------------------ a database of several


def tune(path: Path, trials: int, *options: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    command = ["tune", SMALL, *MACHINE, "--db", str(path), "--trials", str(trials), "--search", "random", *options]
    assert run_cli([*command, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def relabelled(path: Path, version: str) -> list[Record]:
    """The records of a file, written anew as those of another version."""
    records = [replace(record, kit=version) for record in Database(path)]
    path.unlink()
    Database(path).append(records)
    return records


def test_the_best_of_another_version_are_measured_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "t.jsonl"
    first = tune(path, 20, capsys=capsys)
    assert first["of_another_version"] == 0 and len(first["version"]) == 12
    assert {record.kit for record in Database(path)} == {first["version"]}
    old = relabelled(path, "0.1.0")
    again = tune(path, 9, "--seed", "7", capsys=capsys)
    assert again["of_another_version"] == 20 and again["operators"][0]["measured"] == 9
    database = Database(path)
    assert len(database) == 29 and {record.kit for record in database} == {"0.1.0", first["version"]}
    default, *tried = (record.point for record in database.query(target=TARGET, kit=first["version"]))
    cheapest = [record.point for record in sorted(old, key=lambda r: (r.cost, r.time))][:COUNT]
    expected = [point for point in cheapest if point != default]
    assert default == old[0].point and tried[: len(expected)] == expected
    assert again["operators"][0]["best_cycles"] == first["operators"][0]["best_cycles"]
    resumed = tune(path, 9, "--seed", "7", capsys=capsys)
    assert resumed["operators"][0]["measured"] == 0
    assert resumed["operators"][0]["curve"] == again["operators"][0]["curve"]
    assert run_cli(["tune", SMALL, *MACHINE, "--db", str(path), "--trials", "9", "--search", "random"]) == 0
    assert f"of version {first['version']}; of another version: 20, the best" in capsys.readouterr().out


def test_the_order_of_a_warm_start(tmp_path: Path) -> None:
    def template(knobs: Knobs) -> None:
        knobs.choice("x", tuple(range(9)))
        knobs.require("not eight", lambda at: at["x"] != 8)

    def record(x: int, cost: float | None, version: str, time: float, target: str = "t") -> Record:
        return Record("w", target, "m", version, {"x": x}, cost, "cycles", time=time)

    database = Database(tmp_path / "t.jsonl")
    database.append(
        [
            record(0, 1.0, "oldest", 1.0),
            record(1, 5.0, "older", 2.0),
            record(2, 3.0, "older", 3.0),
            record(3, None, "older", 4.0),
            record(8, 0.5, "older", 5.0),
            record(99, 0.5, "older", 5.0),
            record(2, 9.0, "oldest", 1.0, "taken"),
            record(4, 9.0, "older", 6.0, "taken"),
            record(5, 0.1, "now", 7.0),
            replace(record(6, 0.1, "older", 7.0), machine="another"),
        ]
    )
    space = declare(template)
    key = ("w", "t", "m", "now")
    found = warm_start(database, key, space, "taken")
    assert [space.values(point)["x"] for point in found] == [4, 2, 1, 0]
    assert warm_start(database, key, space, "taken", 2) == found[:2]


def test_compiling_says_what_it_does_not_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "t.jsonl"
    assert run_cli(["tune", "mlp", *MACHINE, "--db", str(path), "--trials", "2"]) == 0
    capsys.readouterr()
    compilation = ["compile", "mlp", *MACHINE, "--db", str(path), "-o", str(tmp_path / "m.vdla")]
    assert run_cli(compilation) == 0
    now = capsys.readouterr().out
    assert "tuned: 2 of 3 operators" in now and "another version" not in now
    assert {record.target for record in relabelled(path, "0123456789ab")} == {TARGET, NETWORK}
    assert run_cli(compilation) == 0
    said = capsys.readouterr().out
    assert "tuned: 0 of 3 operators" in said and "2 more have one that was measured by another version" in said
    assert run_cli(["run", "mlp", *MACHINE, "--db", str(path)]) == 0
    assert "2 more have one that was measured by another version" in capsys.readouterr().out


def test_deploying_a_kernel_says_what_it_does_not_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, output = tmp_path / "t.jsonl", str(tmp_path / "m.o")
    assert run_cli(["tune", "mlp", "--target", "cpu", "--db", str(path), "--trials", "1"]) == 0
    compilation = ["compile", "mlp", "--target", "cpu", "--db", str(path), "-o", output]
    capsys.readouterr()
    assert run_cli(compilation) == 0
    now = capsys.readouterr().out
    assert "tuned: " in now and "tuned: 0" not in now and "another version" not in now
    relabelled(path, "0.1.0")
    assert run_cli(compilation) == 0
    assert "tuned: 0 of" in (said := capsys.readouterr().out) and "measured by another version" in said
    tuning: Any = vdla.compile("mlp", target="cpu", tiles=path).info["tuning"]
    assert tuning["outdated"] == tuning["untuned"] and not tuning["tuned"]
