"""The kernels' language: compiled code does what Python does, and the cache holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sim.jit import F32, I8, I32, I64, U8, KernelError, build, f32, i32, i64, kernel, lane, total, unroll, where


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VDLA_CACHE_DIR", str(tmp_path))
    return tmp_path


@kernel
def collatz(c: Any, n: int) -> int:
    steps = 0
    while n != 1:
        if n % 2 == 0:
            n //= 2
        else:
            n = 3 * n + 1
        steps += 1
        if steps > c.limit:
            return -1
    return steps


@kernel
def arithmetic(c: Any, a: int, b: int, out: I64) -> int:
    out[0] = a // b
    out[1] = a % b
    out[2] = a >> 2
    out[3] = (a & 255) << 3 | 1
    out[4] = a ^ b
    out[5] = min(a, b, 3)
    out[6] = max(a, b)
    out[7] = -a if a < b and not (a == 5 or b == 7) else ~b
    out[8] = i64(i32(a * 1000003))
    return 0


@kernel
def vectors(c: Any, a: I8, u: U8, w: I32, x: F32) -> int:
    v = a[0 : 0 + c.lanes] * u[0 : 0 + c.lanes]
    w[0 : 0 + c.lanes] = where(v > 0, v, 0 - v)
    y = f32(v)
    for k in unroll(2):
        x[k] = lane(y, k) * f32(2)
    s = i64(0)
    for i in range(1, c.lanes, 2):
        if i == 5:
            continue
        s += w[i]
        if s > 1000000:
            break
    a[0 : 0 + c.lanes] = v
    return total(v) + s


@kernel
def twice(c: Any, n: int) -> int:
    return collatz(c, n) + collatz(c, n)


def test_integers_are_pythons() -> None:
    library = build([arithmetic], {})
    out = np.zeros(9, np.int64)
    for a in (-100, -7, -1, 0, 5, 6, 7, 1 << 40):
        for b in (-9, -2, 1, 3, 7, 1 << 33):
            library["arithmetic"](a, b, out)
            wrapped = (a * 1000003 + 2**31) % 2**32 - 2**31
            chosen = -a if a < b and not (a == 5 or b == 7) else ~b
            wanted = [a // b, a % b, a >> 2, (a & 255) << 3 | 1, a ^ b, min(a, b, 3), max(a, b), chosen, wrapped]
            assert out.tolist() == wanted


def test_control_flow_and_calls() -> None:
    library = build([collatz, twice], {"limit": 200})
    assert library["collatz"](27) == 111
    assert library["twice"](27) == 222
    assert build([collatz], {"limit": 100})["collatz"](27) == -1


def test_vectors() -> None:
    library = build([vectors], {"lanes": 8})
    rng = np.random.default_rng(0)
    a, u = rng.integers(-128, 128, 8, np.int8), rng.integers(0, 256, 8, np.uint8)
    w, x = np.zeros(8, np.int32), np.zeros(2, np.float32)
    product = a.astype(np.int32) * u
    result = library["vectors"](a, u, w, x)
    np.testing.assert_array_equal(w, np.abs(product))
    np.testing.assert_array_equal(a, product.astype(np.int8))
    np.testing.assert_array_equal(x, 2 * product[:2])
    assert result == product.sum() + w[[1, 3, 7]].sum()


def test_the_cache_is_used_and_checked(cache: Path) -> None:
    build([collatz], {"limit": 200})
    (entry,) = cache.glob("*.o")
    before = entry.stat().st_mtime_ns
    build([collatz], {"limit": 200})
    assert entry.stat().st_mtime_ns == before
    entry.write_bytes(entry.read_bytes()[:-1])
    assert build([collatz], {"limit": 200})["collatz"](6) == 8
    assert entry.stat().st_mtime_ns != before


def test_a_cache_that_cannot_be_written_does_not_matter(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = cache / "file"
    blocked.write_text("")
    monkeypatch.setenv("VDLA_CACHE_DIR", str(blocked))
    assert build([collatz], {"limit": 200})["collatz"](1) == 0


def test_misuse_is_refused() -> None:
    library = build([vectors], {"lanes": 8})
    with pytest.raises(KernelError, match="takes 4 arguments"):
        library["vectors"](1)
    arrays = [np.zeros(8, t) for t in (np.int8, np.uint8, np.int64, np.float32)]
    with pytest.raises(KernelError, match="contiguous int32 array"):
        library["vectors"](*arrays)
    with pytest.raises(KernelError, match="runs only after build"):
        collatz(None, 3)
