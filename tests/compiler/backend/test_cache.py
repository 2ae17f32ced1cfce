"""The cache of compiled objects: what it finds, and what it does not let through."""

from __future__ import annotations

from pathlib import Path

import pytest

from compiler import te
from compiler.backend.llvm import compile_functions
from compiler.backend.llvm.cache import VARIABLE, cached, fingerprint
from compiler.ir import PrimFunc
from compiler.lower import lower


def scaled(factor: float, *, vector: bool = False, dtype: str = "float32") -> PrimFunc:
    """B[i] = A[i] * factor."""
    a = te.placeholder((16,), dtype, "A")
    b = te.compute((16,), lambda i: a[i] * factor, "B")
    schedule = te.create_schedule(b)
    if vector:
        schedule[b].vectorize(b.op.axis[0])
    return lower(schedule, [a, b], "scale")


def test_code_is_told_apart_by_everything_but_names() -> None:
    plain = scaled(2.0)
    different = [scaled(2.5), scaled(2.0000005), scaled(2.0, vector=True), scaled(2.0, dtype="float64")]
    different.append(PrimFunc("other", plain.params, plain.body, plain.attrs))
    different.append(PrimFunc(plain.name, plain.params, plain.body, {**plain.attrs, "contract": False}))
    assert len({fingerprint(func) for func in (plain, *different)}) == 7
    assert fingerprint(scaled(2.0)) == fingerprint(plain)


def test_an_object_is_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    compiled: list[bytes] = []

    def compile_() -> bytes:
        compiled.append(b"object")
        return compiled[-1]

    for _ in range(3):
        assert cached([fingerprint(scaled(2.0))], "settings", compile_) == b"object"
    assert len(compiled) == 1
    cached([fingerprint(scaled(2.0))], "other settings", compile_)
    assert len(compiled) == 2


@pytest.mark.parametrize("damage", [lambda raw: raw[:-1], lambda raw: b"", lambda raw: raw[:40] + b"x" + raw[41:]])
def test_a_damaged_object_is_compiled_again(damage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    good = compile_functions([scaled(2.0)])
    (path,) = tmp_path.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert compile_functions([scaled(2.0)]) == good
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_without_a_folder_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.chdir(tmp_path)
    assert compile_functions([scaled(2.0)]) and not list(tmp_path.iterdir())
    monkeypatch.setenv(VARIABLE, "/proc/no/such/folder")
    assert compile_functions([scaled(2.0)])
